# SPDX-License-Identifier: Apache-2.0
"""What stores that are rotated stand for; knows nothing of the program.

A Tree is a whole tree as an application sees it, and never changes. Each
acknowledged call makes a new one, a Commit, whose parent is the one before;
stores that part have commits on two branches. A commit is soft where nobody
was promised anything: what a crash may have done, found by the next mount.
Of two stores the commits tell who is behind, and what is a fork.
"""

import collections
import os
import stat

import treecmp

BLOCK = 4096
ROOT = 0
FILE_BLOCKS = 6
NAMES = "abcdefgh"
XATTRS = ("user.v", "user.w")

# data: of a file its bytes, of a symlink its target. mtime: None if not known.
Object = collections.namedtuple("Object", "kind mode xattrs data mtime")


class Tree:
    def __init__(self, names, objects):
        self.names = names      # path: number; the root is "."
        self.objects = objects  # number: Object

    @staticmethod
    def empty(mode):
        return Tree({".": ROOT}, {ROOT: Object("dir", mode, (), None, None)})

    def at(self, path):
        return self.objects[self.names[path]]

    def paths(self, *kinds):
        return [p for p in sorted(self.names) if self.at(p).kind in kinds]

    def listing(self):
        """{number of a directory: {name: number}}"""
        found = {self.names[p]: {} for p in self.paths("dir")}
        for path, number in self.names.items():
            if path != ".":
                above = os.path.dirname(path) or "."
                found[self.names[above]][os.path.basename(path)] = number
        return found

    def given(self, names=None, **change):
        """A new one: other names, or objects by number (n123=Object)."""
        objects = dict(self.objects)
        objects.update({int(k[1:]): v for k, v in change.items()})
        names = dict(self.names) if names is None else names
        used = set(names.values())
        return Tree(names, {n: o for n, o in objects.items() if n in used})

    def changed(self, path, **fields):
        number = self.names[path]
        return self.given(**{f"n{number}":
                             self.objects[number]._replace(**fields)})

    def lacks(self, old):
        """(nodes, bytes) that differ for sure when @old is to become this."""
        nodes = size = 0
        here, there = self.listing(), old.listing()
        for number, one in self.objects.items():
            other = old.objects.get(number)
            if other and None in (one.mtime, other.mtime):
                other = other._replace(mtime=one.mtime)
            if one != other or here.get(number) != there.get(number):
                nodes += 1
            if one.kind == "file":
                size += self.new_bytes(one.data, other.data if other else b"")
        return nodes, size

    @staticmethod
    def new_bytes(new, old):
        size = 0
        for at in range(0, len(new), BLOCK):
            block = new[at:at + BLOCK]
            # What was cut off need not be copied, nor zeros at the end.
            before = old[at:at + len(block)].ljust(len(block), b"\0")
            if block != before and block.strip(b"\0"):
                size += len(block)
        return size


def xattrs_of(path):
    return tuple((n, os.getxattr(path, n, follow_symlinks=False))
                 for n in XATTRS
                 if n in os.listxattr(path, follow_symlinks=False))


def one_differs(path, full, st, want):
    """What is wrong with the object at a path, or None."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(st.st_mode))
    if kind != want.kind:
        return f"{path}: {kind}, not {want.kind}"
    if kind == "link":
        data = os.readlink(full)
        return None if data == want.data else f"{path}: leads to {data}"
    if stat.S_IMODE(st.st_mode) != want.mode:
        return f"{path}: mode {st.st_mode:o}, not {want.mode:o}"
    if want.mtime is not None and st.st_mtime_ns != want.mtime:
        return f"{path}: mtime {st.st_mtime_ns}, not {want.mtime}"
    have = xattrs_of(full)
    if have != want.xattrs:
        return f"{path}: {have}, not {want.xattrs}"
    if kind != "file":
        return None
    with open(full, "rb") as file:
        data = file.read()
    if data == want.data:
        return None
    if len(data) != len(want.data):
        return f"{path}: {len(data)} bytes, not {len(want.data)}"
    at = next(i for i, (x, y) in enumerate(zip(data, want.data)) if x != y)
    return (f"{path}: at {at} {data[at:at + 12]!r}, not "
            f"{want.data[at:at + 12]!r}")


def differences(tree, root):
    """Of what lies at @root from @tree, as lines."""
    found = {os.fsdecode(p): st for p, st in
             treecmp.walk(os.fsencode(root)).items()}
    wrong = [f"{p}: there, and should not be"
             for p in sorted(found.keys() - tree.names.keys())]
    wrong += [f"{p}: not there" for p in
              sorted(tree.names.keys() - found.keys())]
    inodes = {}
    for path in sorted(found.keys() & tree.names.keys()):
        text = one_differs(path, os.path.join(root, path), found[path],
                           tree.at(path))
        if text:
            wrong.append(text)
        number = tree.names[path]
        if inodes.setdefault(number, found[path].st_ino) != found[path].st_ino:
            wrong.append(f"{path}: not a link to what it was")
    return wrong


# ---- commits ----

class Commit:
    count = 0

    def __init__(self, parent, tree, soft=False, what=""):
        self.parent = parent
        self.tree = tree
        self.soft = soft
        self.what = what
        self.depth = parent.depth + 1 if parent else 0
        Commit.count += 1
        self.number = Commit.count

    def __repr__(self):
        return f"c{self.number}{'~' if self.soft else ''}"


def parted(a, b):
    """([commits of a alone], [of b alone]), newest first."""
    only = ([], [])
    while a is not b:
        side = 0 if a.depth >= b.depth else 1
        if side == 0:
            only[0].append(a)
            a = a.parent
        else:
            only[1].append(b)
            b = b.parent
    return only


def has(commit, older):
    """Is @older in the past of @commit, or it?"""
    return not parted(commit, older)[1]


SAME, BEHIND, AHEAD, FORK, EITHER = "same", "behind", "ahead", "fork", "either"


def relation(a, b):
    """What @a is towards @b."""
    mine, yours = parted(a, b)
    if not mine and not yours:
        return SAME
    if not mine:
        return BEHIND
    if not yours:
        return AHEAD
    if all(c.soft for c in mine) or all(c.soft for c in yours):
        return EITHER
    return FORK


# ---- what an application does, call by call ----

class Application:
    """next() gives (tree afterwards, what it is called, a function that does
    it below a root). Whatever is written was never written before."""

    def __init__(self, rng):
        self.rng = rng
        self.serial = 0

    def version(self, size):
        self.serial += 1
        text = f"v{self.serial}.".encode()
        return (text * (size // len(text) + 1))[:size]

    def new_path(self, tree):
        where = self.rng.choice(tree.paths("dir"))
        if where.count("/") > 2:
            where = "."
        name = self.rng.choice(NAMES) + self.rng.choice("12")
        return name if where == "." else f"{where}/{name}"

    def next(self, tree):
        while True:
            kind = self.rng.choices(*zip(*self.KINDS))[0]
            step = getattr(self, "do_" + kind)(tree)
            if step:
                return step[0], f"{kind} {step[1]}", step[2]

    def do_create(self, tree):
        path = self.new_path(tree)
        if path in tree.names or len(tree.names) > 25:
            return None
        self.serial += 1
        names = dict(tree.names, **{path: self.serial})
        after = tree.given(names, **{
            f"n{self.serial}": Object("file", 0o644, (), b"", None)})

        def act(root):
            os.close(os.open(os.path.join(root, path),
                             os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        return self.touched(after, path), path, act

    def do_mkdir(self, tree):
        path = self.new_path(tree)
        if path in tree.names or len(tree.paths("dir")) > 5:
            return None
        self.serial += 1
        names = dict(tree.names, **{path: self.serial})
        after = tree.given(names, **{
            f"n{self.serial}": Object("dir", 0o755, (), None, None)})
        return (self.touched(after, path), path,
                lambda root: os.mkdir(os.path.join(root, path), 0o755))

    def do_symlink(self, tree):
        path = self.new_path(tree)
        if path in tree.names:
            return None
        self.serial += 1
        to = f"to{self.serial}"
        names = dict(tree.names, **{path: self.serial})
        after = tree.given(names, **{
            f"n{self.serial}": Object("link", 0o777, (), to, None)})
        return (self.touched(after, path), path,
                lambda root: os.symlink(to, os.path.join(root, path)))

    def do_link(self, tree):
        path = self.new_path(tree)
        files = tree.paths("file")
        if path in tree.names or not files:
            return None
        old = self.rng.choice(files)
        after = tree.given(dict(tree.names, **{path: tree.names[old]}))
        return (self.touched(after, path), f"{old} {path}",
                lambda root: os.link(os.path.join(root, old),
                                     os.path.join(root, path)))

    def touched(self, tree, *paths):
        """What has got or lost a name has another time."""
        for path in paths:
            tree = tree.changed(os.path.dirname(path) or ".", mtime=None)
        return tree

    def do_write(self, tree):
        """Within one block, so that it is done or not."""
        files = tree.paths("file")
        if not files:
            return None
        path = self.rng.choice(files)
        old = tree.at(path).data
        block = self.rng.randrange(FILE_BLOCKS) if self.rng.random() < 0.6 \
            else 0
        start = 0 if self.rng.random() < 0.7 else self.rng.randrange(2000)
        new = self.version(self.rng.choice((BLOCK - start, 100, 2000)))
        at = block * BLOCK + start
        data = old.ljust(at, b"\0")
        data = data[:at] + new + data[at + len(new):]

        def act(root):
            fd = os.open(os.path.join(root, path), os.O_WRONLY)
            try:
                os.pwrite(fd, new, at)
                os.fsync(fd)
            finally:
                os.close(fd)
        return (tree.changed(path, data=data, mtime=None),
                f"{path} {at}+{len(new)}", act)

    def do_truncate(self, tree):
        files = tree.paths("file")
        if not files:
            return None
        path = self.rng.choice(files)
        size = self.rng.choice((0, 1000, BLOCK, 2 * BLOCK + 5))
        old = tree.at(path).data
        if len(old) == size:
            return None
        return (tree.changed(path, data=old[:size].ljust(size, b"\0"),
                             mtime=None), f"{path} {size}",
                lambda root: os.truncate(os.path.join(root, path), size))

    def do_chmod(self, tree):
        path = self.rng.choice(tree.paths("file", "dir"))
        mode = self.rng.choice((0o600, 0o640, 0o755, 0o700))
        if path == "." or tree.at(path).mode == mode:
            return None
        return (tree.changed(path, mode=mode), f"{path} {mode:o}",
                lambda root: os.chmod(os.path.join(root, path), mode))

    def do_utime(self, tree):
        path = self.rng.choice(tree.paths("file", "dir"))
        self.serial += 1
        when = (10 ** 9 + self.serial) * 10 ** 9 + self.serial
        return (tree.changed(path, mtime=when), path,
                lambda root: os.utime(os.path.join(root, path),
                                      ns=(when, when)))

    def do_xattr(self, tree):
        path = self.rng.choice(tree.paths("file", "dir"))
        name = self.rng.choice(XATTRS)
        have = dict(tree.at(path).xattrs)
        if name in have and self.rng.random() < 0.4:
            del have[name]

            def act(root):
                os.removexattr(os.path.join(root, path), name)
        else:
            have[name] = value = self.version(12)

            def act(root):
                os.setxattr(os.path.join(root, path), name, value)
        return (tree.changed(path, xattrs=tuple(sorted(have.items()))),
                f"{path} {name}", act)

    def do_unlink(self, tree):
        paths = tree.paths("file", "link")
        if not paths:
            return None
        path = self.rng.choice(paths)
        names = {p: n for p, n in tree.names.items() if p != path}
        return (self.touched(tree, path).given(names), path,
                lambda root: os.unlink(os.path.join(root, path)))

    def do_rmdir(self, tree):
        empty = [p for p in tree.paths("dir") if p != "." and
                 not any(q.startswith(p + "/") for q in tree.names)]
        if not empty:
            return None
        path = self.rng.choice(empty)
        names = {p: n for p, n in tree.names.items() if p != path}
        return (self.touched(tree, path).given(names), path,
                lambda root: os.rmdir(os.path.join(root, path)))

    def do_rename(self, tree):
        """Onto nothing, or a file onto a file."""
        old = self.rng.choice(sorted(tree.names))
        files = tree.paths("file")
        new = self.new_path(tree)
        if files and self.rng.random() < 0.3:
            new = self.rng.choice(files)
        if old == "." or new == old or new.startswith(old + "/"):
            return None
        if new in tree.names and (tree.at(new).kind != "file" or
                                  tree.at(old).kind != "file" or
                                  tree.names[old] == tree.names[new]):
            return None
        names = {}
        for path, number in tree.names.items():
            if path == old or path.startswith(old + "/"):
                names[new + path[len(old):]] = number
            elif path != new:
                names[path] = number
        after = self.touched(tree, old, new).given(names)
        # ".." of a directory that moved: its time is the filesystem's affair.
        if tree.at(old).kind == "dir":
            after = after.changed(new, mtime=None)
        return (after, f"{old} {new}",
                lambda root: os.rename(os.path.join(root, old),
                                       os.path.join(root, new)))

    KINDS = [("create", 5), ("mkdir", 2), ("symlink", 1), ("link", 1),
             ("write", 9), ("truncate", 2), ("chmod", 1), ("utime", 1),
             ("xattr", 2), ("unlink", 2), ("rmdir", 1), ("rename", 3)]
