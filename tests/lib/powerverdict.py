# SPDX-License-Identifier: Apache-2.0
"""What is there after a power loss, against what powermodel.py remembers."""

import os
import stat

from powermodel import BLOCK, SIZE_MAX, ZERO, describe, fits


class Found:
    """A file as it lies in a tree."""

    def __init__(self, path, st):
        self.path = path
        self.st = st
        with open(path, "rb") as file:
            self.data = file.read()
        try:
            self.note = os.getxattr(path, "user.note")
        except OSError:
            self.note = None

    def may_end_here(self, node):
        """Un-synced pages are written in any order, and each may make the
        file end behind it for a while."""
        size, sizes = self.st.st_size, node.size.allowed()
        if size in sizes:
            return True
        return (min(sizes) < size < max(sizes) and size % BLOCK == 0 and
                len(node.blocks[size // BLOCK - 1].allowed()) > 1)

    def wrong(self, node):
        """Why this cannot be that file; None if it can."""
        if not self.may_end_here(node):
            return (f"size {self.st.st_size}, "
                    f"not one of {sorted(set(node.size.allowed()))}")
        if stat.S_IMODE(self.st.st_mode) not in node.mode.allowed():
            return f"mode {self.st.st_mode:o}"
        if self.note not in node.note.allowed():
            return f"note {self.note}, not one of {node.note.allowed()}"
        for index, cell in enumerate(node.blocks):
            data = self.data[index * BLOCK:(index + 1) * BLOCK]
            if not data and ZERO in cell.allowed():
                continue
            if not data or not any(fits(v, data) for v in cell.allowed()):
                return (f"block {index} is {describe(data.ljust(32, bytes(1)))}"
                        f", allowed: "
                        f"{[describe(v) for v in cell.allowed()][:6]}")
        return None

    def take(self, node):
        """From now on it is like this."""
        node.size.reset(self.st.st_size)
        node.mode.reset(stat.S_IMODE(self.st.st_mode))
        node.note.reset(self.note)
        data = self.data.ljust(SIZE_MAX, b"\0")
        for index, cell in enumerate(node.blocks):
            cell.reset(data[index * BLOCK:(index + 1) * BLOCK])


class Verdict:
    """A tree against the account; afterwards the account follows the tree."""
    kind = Found

    def __init__(self, world, root):
        self.w = world
        self.root = root
        self.complaints = []
        self.where = {}

    def say(self, text):
        self.complaints.append(text)

    def is_ours(self, entry):
        """A directory with an id."""
        return (entry.name != ".seqmirror" and
                entry.is_dir(follow_symlinks=False))

    def find_dirs(self):
        """{serial: path} of the directories, by their ids."""
        found = {self.w.top.serial: self.root}
        for entry in os.scandir(self.root):
            if not self.is_ours(entry):
                continue
            serial = int(os.getxattr(entry.path, "user.id"))
            if serial in found:
                self.say(f"directory {serial} is there twice")
            found[serial] = entry.path
        return self.expected(found)

    def expected(self, found):
        """Those of them that are judged; none may be gone."""
        for serial in self.w.dirs:
            if serial not in found:
                self.say(f"directory {serial} is gone")
        return found

    def match(self, cell, path, serial):
        """Which of the values of this name it is."""
        st = os.lstat(path)
        is_dir = stat.S_ISDIR(st.st_mode)
        for node in cell.allowed():
            if node is None or node.is_dir != is_dir or node.serial != (
                    serial if is_dir else st.st_gid):
                continue
            if not is_dir:
                found = self.kind(path, st)
                why = found.wrong(node)
                if why:
                    self.say(f"{path}: file {node.serial}: {why}")
                self.where.setdefault(node.serial, []).append(found)
            return node
        self.say(f"{path}: {serial if is_dir else st.st_gid} should not be "
                 f"here")
        return None

    def one_dir(self, serial, path, ids):
        names = self.w.dirs[serial][1]
        there = set(os.listdir(path))
        for name in there - names.keys():
            if not (serial == self.w.top.serial and name == ".seqmirror"):
                self.say(f"{path}/{name}: never was")
        self.result[serial] = {}
        for name, cell in names.items():
            if name in there:
                full = os.path.join(path, name)
                self.result[serial][name] = self.match(cell, full,
                                                       ids.get(full))
            elif None not in cell.allowed():
                nodes = [n.serial for n in cell.allowed()]
                self.say(f"{path}/{name}: gone, was synced as {nodes}")

    def kept(self):
        """What was synced under a name and never removed is somewhere."""
        for node in self.w.all_nodes():
            if node.kept and not node.is_dir and node.serial not in self.where:
                self.say(f"file {node.serial} is gone")

    def links(self):
        for serial, group in self.where.items():
            if len({f.st.st_ino for f in group}) > 1:
                self.say(f"file {serial} became several: "
                         f"{[f.path for f in group]}")

    def run(self):
        self.result = {}
        dirs = self.find_dirs()
        ids = {path: serial for serial, path in dirs.items()}
        for serial, path in dirs.items():
            if serial in self.w.dirs:
                self.one_dir(serial, path, ids)
        self.kept()
        if not self.complaints:
            self.links()
        return self.complaints

    def follow(self):
        """To be called when there was no complaint."""
        nodes = {n.serial: n for n in self.w.all_nodes()}
        for serial, group in self.where.items():
            group[0].take(nodes[serial])
        for serial, (_, names) in self.w.dirs.items():
            for name in list(names):
                value = self.result[serial].get(name)
                if value is None:
                    del names[name]
                else:
                    names[name].reset(value)
        self.w.settle_all()


class Exact(Verdict):
    """Nothing at all may be missing: no crash, or one of a store alone."""

    def run(self):
        for node in self.w.all_nodes():
            for cell in node.cells():
                cell.settle(len(cell.values) - 1)
        for _, names in self.w.dirs.values():
            for cell in names.values():
                cell.settle(len(cell.values) - 1)
        return super().run()
