# SPDX-License-Identifier: Apache-2.0
"""An unmounted store against its own map, with no code of the program.

Names and identities in the map are those of the tree, mapped ranges are what
SEEK_DATA and SEEK_HOLE say (a preallocated range may also be mapped without
data), nothing is left of intents, and nothing that changed since an earlier
look kept a number from before it.
"""

import os
import shutil
import sqlite3
import stat
import tempfile
import zlib

import treecmp

BLOCK = treecmp.BLOCK
ROOT, LIMBO = 1, 2
ZERO = zlib.crc32(bytes(BLOCK))
KINDS = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFLNK, 4: stat.S_IFIFO,
         5: stat.S_IFSOCK, 6: stat.S_IFCHR, 7: stat.S_IFBLK}
DURABLE = "durable_seq"


class Map:
    """The rows of one store's map, read from a copy of it."""

    def __init__(self, store):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("meta.db", "meta.db-wal"):
                path = os.path.join(store, ".seqmirror", name)
                if os.path.exists(path):
                    shutil.copy(path, folder)
            db = sqlite3.connect(os.path.join(folder, "meta.db"))
            self.integrity = db.execute("PRAGMA integrity_check").fetchall()
            self.nodes = {row[0]: row[1:] for row in db.execute(
                "SELECT id, kind, backing_ino, attr_seq, seq FROM node")}
            self.dentries = {}
            self.names_of = {}
            self.cookies = {}
            for parent, name, node, seq, cookie in db.execute(
                    "SELECT parent, name, node, seq, cookie FROM dentry"):
                self.cookies[parent, name] = cookie
                self.dentries.setdefault(parent, {})[name] = (node, seq)
                self.names_of.setdefault(node, []).append((parent, name))
            self.extents = {}
            for node, start, end, seq in db.execute(
                    "SELECT node, start, end, seq FROM extent"
                    " ORDER BY node, start"):
                self.extents.setdefault(node, []).append((start, end, seq))
            self.intents = db.execute("SELECT * FROM intent").fetchall()
            self.volume = dict(db.execute("SELECT key, value FROM volume"))
            own = self.volume.get("store_uuid")
            row = db.execute("SELECT durable_seq FROM store WHERE uuid = ?",
                             (own,)).fetchone()
            self.durable_seq = int(self.volume.get(DURABLE) or (
                row[0] if row else 0))
            db.close()

    def mapped(self, node):
        return treecmp.union(
            [(s, e) for s, e, _ in self.extents.get(node, [])], [])

    def seq_at(self, node, offset):
        for start, end, seq in self.extents.get(node, []):
            if start <= offset < end:
                return seq
        return None


class StoreCheck:
    """@exact: nothing was ever preallocated, so that the map has no range
    without data (a resync does not pass on what is only preallocated). ext4
    allocates whole pages, also where its blocks are smaller and less was
    written: one of the stores has blocks then; @others: the places of those.
    """

    def __init__(self, store, exact=True, others=(), may_keep=False):
        self.exact = exact
        self.may_keep = may_keep    # something in found/
        self.others = [os.fsencode(other) for other in others]
        self.store = os.fsencode(store)
        self.map = Map(store)
        self.complaints = []
        self.seen = {}

    def say(self, text):
        self.complaints.append(text)

    def rows(self):
        m = self.map
        if m.integrity != [("ok",)]:
            self.say(f"integrity check: {m.integrity[:3]}")
        if m.intents:
            self.say(f"{len(m.intents)} intents left: {m.intents[:3]}")
        for parent, names in m.dentries.items():
            if parent not in m.nodes or m.nodes[parent][0] != 2:
                self.say(f"entries in {parent}, which is no directory")
            for name, (node, _) in names.items():
                if node not in m.nodes:
                    self.say(f"{name} in {parent} is node {node}, "
                             "which is not there")
        for node, (kind, _, attr_seq, seq) in m.nodes.items():
            names = len(m.names_of.get(node, []))
            if node in (ROOT, LIMBO):
                continue
            if names == 0 or (kind == 2 and names > 1):
                self.say(f"node {node} of kind {kind} has {names} names")
            if attr_seq > seq:
                self.say(f"node {node}: attr_seq {attr_seq} > seq {seq}")
        for node, rows in m.extents.items():
            if node not in m.nodes or m.nodes[node][0] != 1:
                self.say(f"extents of {node}, which is no file")
            for one, two in zip(rows, rows[1:]):
                if one[1] > two[0]:
                    self.say(f"extents of {node} overlap: {one} {two}")

    def tree(self):
        todo = [(ROOT, b"")]
        while todo:
            node, path = todo.pop()
            entries = {e.name: e.stat(follow_symlinks=False) for e in
                       os.scandir(os.path.join(self.store, path))
                       if path or e.name not in treecmp.PRIVATE}
            rows = self.map.dentries.get(node, {})
            for name in entries.keys() ^ rows.keys():
                where = "tree" if name in entries else "map"
                self.say(f"{os.path.join(path, name)}: in the {where} only")
            for name in entries.keys() & rows.keys():
                child = rows[name][0]
                full = os.path.join(path, name)
                self.object(child, full, entries[name])
                if stat.S_ISDIR(entries[name].st_mode):
                    todo.append((child, full))
        limbo = os.path.join(self.store, b".seqmirror", b"limbo")
        if os.listdir(limbo):
            self.say(f"limbo holds {os.listdir(limbo)}")
        found = os.path.join(self.store, b".seqmirror", b"found")
        if not self.may_keep and os.path.isdir(found) and os.listdir(found):
            self.say(f"found/ holds {os.listdir(found)}")

    def object(self, node, path, st):
        row = self.map.nodes.get(node)
        if row is None:
            return
        if KINDS[row[0]] != stat.S_IFMT(st.st_mode):
            self.say(f"{path}: kind {row[0]}, mode {st.st_mode:o}")
            return
        # 0: not known yet; the map finds it by its path.
        if row[1] % (1 << 64) not in (0, st.st_ino):
            self.say(f"{path}: backing_ino {row[1]}, inode {st.st_ino}")
        if node in self.seen:
            return
        blocks = {}
        if stat.S_ISREG(st.st_mode):
            blocks = self.data(node, path, st.st_size)
        # Times are left out: they follow writes.
        size = st.st_size if stat.S_ISREG(st.st_mode) else 0
        self.seen[node] = ((st.st_mode, st.st_uid, st.st_gid, size), blocks)

    def zeros(self, fd, start, end):
        """Some filesystems map blocks of zeros by themselves (xfs where the
        others have a hole, btrfs the rest of what was the last block when the
        file is extended): nothing that the map says of contents is wrong."""
        if self.exact:
            return False
        return not os.pread(fd, end - start, start).strip(b"\0")

    def unallocated(self, path, ranges):
        for store in [self.store] + self.others:
            with open(os.path.join(store, path), "rb") as file:
                allocated = treecmp.fiemap(file.fileno())
            if allocated is not None:
                ranges = treecmp.subtract(ranges, treecmp.blocks(allocated))
        return ranges

    def data(self, node, path, size):
        fd = os.open(os.path.join(self.store, path), os.O_RDONLY)
        try:
            treecmp.settle(fd)
            data = treecmp.blocks(treecmp.seek_map(fd, size))
            mapped = self.map.mapped(node)
            missing = [r for r in treecmp.subtract(data, mapped)
                       if not self.zeros(fd, *r)]
            if missing:
                self.say(f"{path}: data that the map calls a hole: "
                         + treecmp.ranges_text(missing))
            extra = treecmp.subtract(mapped, data)
            if extra and self.exact:
                extra = self.unallocated(path, extra)
            if extra and self.exact:
                self.say(f"{path}: mapped without blocks: "
                         + treecmp.ranges_text(extra))
            return {offset: zlib.crc32(os.pread(fd, BLOCK, offset)
                                       .ljust(BLOCK, b"\0"))
                    for start, end in data
                    for offset in range(start, end, BLOCK)}
        finally:
            os.close(fd)

    def since(self, earlier):
        """Whatever differs from an earlier look has a number above it."""
        low = earlier.map.durable_seq
        for node, (attrs, blocks) in self.seen.items():
            row = self.map.nodes[node]
            if node not in earlier.seen:
                if row[3] <= low:
                    self.say(f"new node {node} has seq {row[3]} <= {low}")
                continue
            old_attrs, old_blocks = earlier.seen[node]
            if attrs != old_attrs and row[3] <= low:
                self.say(f"node {node} changed, seq {row[3]} <= {low}")
            if attrs[:3] != old_attrs[:3] and row[2] <= low:
                self.say(f"node {node}: attr_seq {row[2]} <= {low}")
            for offset, checksum in blocks.items():
                if old_blocks.get(offset, ZERO) != checksum:
                    seq = self.map.seq_at(node, offset)
                    # Unmapped, where a store keeps a block of zeros (btrfs).
                    if seq is None and checksum == ZERO:
                        seq = row[3]
                    if seq is None or seq <= low:
                        self.say(f"node {node} at {offset} changed, "
                                 f"seq {seq} <= {low}")
            gone = [o for o, c in old_blocks.items()
                    if c != ZERO and o not in blocks]
            if gone and row[3] <= low:
                self.say(f"node {node} was unmapped, seq {row[3]} <= {low}")
        for parent, names in self.map.dentries.items():
            old = earlier.map.dentries.get(parent, {})
            for name, (node, seq) in names.items():
                if old.get(name, (None,))[0] != node and seq <= low:
                    self.say(f"entry {name} of {parent} is new, "
                             f"seq {seq} <= {low}")
            if old.keys() - names.keys() and self.map.nodes[parent][3] <= low:
                self.say(f"directory {parent} lost a name, seq "
                         f"{self.map.nodes[parent][3]} <= {low}")

    def same_map(self, other):
        """Both maps name the same nodes and map the same ranges."""
        a, b = self.map, other.map
        names = [{p: {n: v[0] for n, v in e.items()}
                  for p, e in m.dentries.items() if e} for m in (a, b)]
        if names[0] != names[1]:
            self.say("the maps of two stores have different entries")
        elif a.cookies != b.cookies:
            self.say("the maps of two stores have different cookies: "
                     f"{list(a.cookies.items() ^ b.cookies.items())[:4]}")
        for node in a.extents.keys() | b.extents.keys():
            if a.mapped(node) != b.mapped(node):
                self.say(f"the maps differ in what node {node} has mapped: "
                         f"{a.mapped(node)[:4]} {b.mapped(node)[:4]}")

    def run(self):
        self.rows()
        self.tree()
        return self.complaints
