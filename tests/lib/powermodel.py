# SPDX-License-Identifier: Apache-2.0
"""An application that keeps account of what a power loss may take from it.

Worker threads write, sync, make, rename, link and remove below a mount. Of
everything that can be found again (a block of a file, its size, its mode, an
attribute, what a name leads to) a Cell remembers the values since the last
one that was synced: after a power loss any of these may be there, and nothing
else. A value is noted before the call that brings it about; fsync makes sure
of what had returned before it was called.

	files and names	in directories that one thread changes and all may sync
	the shared file	each thread changes blocks of its own

Each block written names its file, its place and a number that is never used
again, so a block that comes from anywhere else is recognised. A file's group
is its number here, from its birth.
"""

import ctypes
import errno
import os
import struct
import threading
import time

BLOCK = 4096
BLOCKS = 24
SIZE_MAX = BLOCK * BLOCKS
FILES_MAX = 10
DIRS = 3
ZERO = bytes(BLOCK)
KEEP_SIZE, PUNCH_HOLE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


class Cell:
    """The values that may be found: the last synced one, and all since."""

    lazy = hazy = False  # see faultmodel.py

    def __init__(self, value):
        self.values = [value]
        self.low = 0
        self.acked = 0

    def issue(self, value):
        self.values.append(value)
        return len(self.values) - 1

    def last(self):
        return self.values[-1]

    def settle(self, index):
        self.low = max(self.low, index)

    def allowed(self):
        return self.values[self.low:]

    def reset(self, value):
        self.__init__(value)


class Node:
    """A file, or a directory that stays (dirs have an id in an xattr)."""

    serials = 0

    def __init__(self, is_dir=False):
        Node.serials += 1
        self.serial = Node.serials
        self.is_dir = is_dir
        self.size = Cell(0)
        self.mode = Cell(0o755 if is_dir else 0o644)
        self.note = Cell(None)
        self.blocks = [] if is_dir else [Cell(ZERO) for _ in range(BLOCKS)]
        for cell in [self.size] + self.blocks:
            cell.lazy = True
        # Synced under a name, and no removal asked for since.
        self.kept = False

    def cells(self):
        return [self.size, self.mode, self.note] + self.blocks

    def content(self):
        return b"".join(c.last() for c in self.blocks)[:self.size.last()]


MAGIC = 0x6E71727374757677


def stamp(node, block, version):
    return struct.pack("<QIIQQ", MAGIC, node.serial, block, version,
                       ~version & (1 << 64) - 1) * (BLOCK // 32)


class Tail:
    """A block in which its file ended, after @end bytes, before the file was
    extended: until that is synced a btrfs may show there what lies on its disk
    behind the cut, which was the file's own."""

    def __init__(self, node, block, value, end):
        self.value = value
        self.end = end
        self.head = struct.pack("<QII", MAGIC, node.serial, block)

    def fits(self, data):
        return data[:self.end] == self.value[:len(data)][:self.end] and all(
            at % 32 >= 16 or data[at] in (0, self.head[at % 32])
            for at in range(self.end, len(data)))

    def __str__(self):
        return f"{describe(self.value)} and old bytes from {self.end} on"


def fits(value, data):
    """Is that what was read of the block, up to the file's end?"""
    if isinstance(value, Tail):
        return value.fits(data)
    return value[:len(data)] == data


def describe(data):
    """What a block of unknown origin seems to be."""
    if isinstance(data, Tail):
        return str(data)
    if data.strip(b"\0") == b"":
        return "zeros"
    magic, serial, block, version, _ = struct.unpack("<QIIQQ", data[:32])
    if magic != MAGIC:
        return f"garbage {data[:16].hex()}"
    whole = data == data[:32] * (BLOCK // 32)
    return (f"{'' if whole else 'part of '}file {serial} block {block} "
            f"version {version}")


def create(path, node):
    """A new file whose group is the node's number."""
    libc.setfsgid(node.serial)
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    finally:
        libc.setfsgid(0)


class World:
    """All that is below one directory of the mount."""

    def __init__(self, root, threads, shows_tails=False):
        self.root = root
        # One of the stores is a btrfs: see Tail.
        self.shows_tails = shows_tails
        self.device_below = os.stat(os.path.dirname(root)).st_dev
        self.lock = threading.Lock()
        self.version = 0
        self.threads = threads
        # Directories: serial -> (Node, {name: Cell of Node or None})
        self.dirs = {}
        self.nodes = {}
        self.shared = None
        self.top = Node(is_dir=True)
        self.dirs[self.top.serial] = (self.top, {})
        self.synced = 0
        self.acked = 0
        # What was done to which file, for people: forgotten with each run.
        self.log = []

    # ---- set up ----

    def path(self, *names):
        return os.path.join(self.root, *names)

    def populate(self):
        """Everything that is there from the beginning, and synced."""
        self.shared = self.make_file(self.top, "shared", self.root)
        for t in range(self.threads):
            for d in range(DIRS):
                node = Node(is_dir=True)
                path = self.path(f"t{t}d{d}")
                os.mkdir(path)
                os.setxattr(path, "user.id", str(node.serial).encode())
                self.dirs[node.serial] = (node, {})
                self.bind(self.top, f"t{t}d{d}", node)
        self.settle_all()

    def make_file(self, parent, name, where):
        node = Node()
        os.close(create(os.path.join(where, name), node))
        self.bind(parent, name, node)
        return node

    def bind(self, parent, name, node):
        names = self.dirs[parent.serial][1]
        names.setdefault(name, Cell(None)).reset(node)

    def settle_all(self):
        """All is known to be as the last values say."""
        for node in self.all_nodes():
            for cell in node.cells():
                cell.reset(cell.last())
            node.kept = False
        for _, names in self.dirs.values():
            for name in [n for n, c in names.items() if c.last() is None]:
                del names[name]
            for cell in names.values():
                cell.reset(cell.last())
                cell.last().kept = True

    def all_nodes(self):
        seen = {}
        for node, names in self.dirs.values():
            seen[node.serial] = node
            for cell in names.values():
                for value in cell.values:
                    if value is not None:
                        seen[value.serial] = value
        return list(seen.values())

    def next_version(self):
        with self.lock:
            self.version += 1
            return self.version


class Worker(threading.Thread):
    """One thread of the application."""

    def __init__(self, world, number, rng, stop, steady):
        super().__init__(daemon=True)
        self.w = world
        self.number = number
        self.rng = rng
        self.stop = stop
        # No error is to be seen: the daemon lives on.
        self.steady = steady
        self.error = None
        self.steps = 0
        self.serial = 0
        self.about = 0  # the file that is being worked on
        self.fds = {}
        self.dirs = [(name, cell.last()) for name, cell in
                     world.dirs[world.top.serial][1].items()
                     if name.startswith(f"t{number}d") and cell.last()]

    # ---- the account ----

    def change(self, cells, function, *args):
        """Note what will be, do it, note that it returned."""
        marks = [(cell, cell.issue(value)) for cell, value in cells]
        self.tell(function, args)
        result = function(*args)
        for cell, index in marks:
            cell.acked = index
        self.w.acked += 1
        return result

    def tell(self, function, args):
        words = [str(a.serial if isinstance(a, Node) else a)[-40:]
                 for a in args if not isinstance(a, bytes)]
        self.w.log.append((time.monotonic(), self.about, function.__name__,
                           " ".join(words)))

    def sync(self, cells, names, function, *args):
        marks = [(c, c.acked) for c in cells]
        name_marks = [(c, c.acked) for c in names]
        self.tell(function, args)
        function(*args)
        for cell, index in marks + name_marks:
            cell.settle(index)
        for cell, _ in name_marks:
            if cell.last() is not None:
                cell.last().kept = True
        self.w.synced += 1

    # ---- choosing ----

    def some_dir(self):
        name, node = self.rng.choice(self.dirs)
        return name, node, self.w.dirs[node.serial][1]

    def files(self):
        """[(directory, its name, entry)] of all that are there now."""
        out = []
        for dname, dnode in self.dirs:
            for name, cell in self.w.dirs[dnode.serial][1].items():
                if cell.last() is not None and not cell.last().is_dir:
                    out.append((dnode, dname, name, cell))
        return out

    def fd_of(self, node, path):
        if node.serial not in self.fds:
            self.fds[node.serial] = os.open(path, os.O_RDWR)
        return self.fds[node.serial]

    def some_file(self):
        files = self.files()
        if not files:
            return None
        _, dname, name, cell = self.rng.choice(files)
        node = cell.last()
        self.about = node.serial
        return node, self.fd_of(node, self.w.path(dname, name))

    def mine(self, blocks):
        """Of the shared file: every n-th block is this thread's."""
        return [b for b in blocks if b % self.w.threads == self.number]

    def tails(self, node):
        """What may show where the file ends now, while it is extended."""
        block, end = divmod(node.size.last(), BLOCK)
        if not self.w.shows_tails or not end:
            return []
        cell = node.blocks[block]
        return [(cell, Tail(node, block, v, end)) for v in cell.allowed()
                if not isinstance(v, Tail)] + [(cell, cell.last())]

    # ---- steps ----

    def write_to(self, node, fd, start, length):
        """[start, start+length) in bytes; anything of a block."""
        new = {}
        for block in range(start // BLOCK, -(-(start + length) // BLOCK)):
            data = bytearray(node.blocks[block].last())
            fresh = stamp(node, block, self.w.next_version())
            low = max(start, block * BLOCK) - block * BLOCK
            high = min(start + length, (block + 1) * BLOCK) - block * BLOCK
            data[low:high] = fresh[low:high]
            new[block] = bytes(data)
        first = min(new)
        whole = b"".join(new[b] for b in sorted(new))
        piece = whole[start - first * BLOCK:start + length - first * BLOCK]
        cells = [(node.blocks[b], v) for b, v in new.items()]
        if start + length > node.size.last():
            cells = self.tails(node) + cells
            cells.append((node.size, start + length))
        self.change(cells, os.pwrite, fd, piece, start)

    def step_write(self):
        found = self.some_file()
        if not found:
            return self.step_create()
        node, fd = found
        rng = self.rng
        block = rng.randrange(BLOCKS)
        if rng.random() < 0.7:
            count = min(rng.choice([1, 1, 1, 2, 4]), BLOCKS - block)
            self.write_to(node, fd, block * BLOCK, count * BLOCK)
        else:
            start = block * BLOCK + rng.randrange(BLOCK)
            length = min(rng.randrange(1, 6000), SIZE_MAX - start)
            self.write_to(node, fd, start, length)

    def step_append(self):
        found = self.some_file()
        if found and found[0].size.last() < SIZE_MAX - 9000:
            self.write_to(*found, found[0].size.last(),
                          self.rng.randrange(1, 9000))

    def step_shared(self):
        node = self.w.shared
        fd = self.fd_of(node, self.w.path("shared"))
        block = self.rng.choice(self.mine(range(BLOCKS)))
        value = stamp(node, block, self.w.next_version())
        with self.w.lock:
            mark = node.blocks[block].issue(value)
            end = (block + 1) * BLOCK
            if end > max(node.size.values):
                node.size.issue(end)
        os.pwrite(fd, value, block * BLOCK)
        node.blocks[block].acked = mark
        self.w.acked += 1

    def step_sync_shared(self):
        """The size is settled by nobody: others may be extending it."""
        node = self.w.shared
        fd = self.fd_of(node, self.w.path("shared"))
        with self.w.lock:
            cells = list(node.blocks)
        self.sync(cells, [], self.rng.choice([os.fsync, os.fdatasync]), fd)

    def step_fsync(self):
        found = self.some_file()
        if not found:
            return
        node, fd = found
        # The journals below commit a new name with its file.
        names = [cell for _, _, _, cell in self.files()
                 if cell.last() is node]
        if self.rng.random() < 0.5:
            self.sync(node.cells(), names, os.fsync, fd)
        else:
            self.sync([node.size] + node.blocks, [], os.fdatasync, fd)

    def step_fsync_dir(self):
        dname, dnode, names = self.some_dir()
        fd = os.open(self.w.path(dname), os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync([dnode.mode], list(names.values()), os.fsync, fd)
        finally:
            os.close(fd)

    def step_fsync_top(self):
        with self.w.lock:
            names = [c for n, c in
                     self.w.dirs[self.w.top.serial][1].items()
                     if n.startswith(f"t{self.number}d")]
        fd = os.open(self.w.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The path alone may be there without the mount, to be synced.
            if os.fstat(fd).st_dev == self.w.device_below:
                raise OSError(errno.ENOTCONN, "not mounted")
            self.sync([], names, os.fsync, fd)
        finally:
            os.close(fd)

    def step_create(self):
        if len(self.files()) >= FILES_MAX:
            return self.step_unlink()
        dname, dnode, names = self.some_dir()
        self.serial += 1
        name = f"f{self.rng.randrange(9)}"
        cell = names.setdefault(name, Cell(None))
        if cell.last() is not None:
            return None
        node = Node()
        self.about = node.serial
        path = self.w.path(dname, name)
        fd = self.change([(cell, node)], create, path, node)
        self.fds[node.serial] = fd
        return None

    def lose(self, node):
        """A name of it is about to go."""
        if node is not None:
            node.kept = False

    def step_unlink(self):
        files = self.files()
        if not files:
            return
        _, dname, name, cell = self.rng.choice(files)
        self.lose(cell.last())
        self.about = cell.last().serial
        self.change([(cell, None)], os.unlink, self.w.path(dname, name))

    def step_rename(self):
        files = self.files()
        if not files:
            return
        _, dname, name, cell = self.rng.choice(files)
        to_dname, _, names = self.some_dir()
        to_name = f"f{self.rng.randrange(9)}"
        to_cell = names.setdefault(to_name, Cell(None))
        node = cell.last()
        self.about = node.serial
        if to_cell is cell or to_cell.last() is node:
            return
        self.lose(to_cell.last())
        self.change([(to_cell, node), (cell, None)], os.rename,
                    self.w.path(dname, name), self.w.path(to_dname, to_name))

    def step_link(self):
        files = self.files()
        dname, _, names = self.some_dir()
        name = f"f{self.rng.randrange(9)}"
        cell = names.setdefault(name, Cell(None))
        if not files or cell.last() is not None:
            return
        _, from_dname, from_name, from_cell = self.rng.choice(files)
        self.about = from_cell.last().serial
        self.change([(cell, from_cell.last())], os.link,
                    self.w.path(from_dname, from_name),
                    self.w.path(dname, name))

    def step_rename_dir(self):
        """To another name of its own, or into another and back later."""
        top = self.w.dirs[self.w.top.serial][1]
        at = self.rng.randrange(len(self.dirs))
        name, node = self.dirs[at]
        to = f"t{self.number}d{self.rng.randrange(DIRS + 3)}"
        with self.w.lock:
            to_cell = top.setdefault(to, Cell(None))
        if to_cell.last() is not None:
            return
        self.change([(to_cell, node), (top[name], None)], os.rename,
                    self.w.path(name), self.w.path(to))
        self.dirs[at] = (to, node)

    def step_truncate(self):
        found = self.some_file()
        if not found:
            return
        node, fd = found
        size = self.rng.randrange(SIZE_MAX)
        if self.rng.random() < 0.5:
            size = size // BLOCK * BLOCK
        cells = self.tails(node) if size > node.size.last() else []
        cells.append((node.size, size))
        for block, cell in enumerate(node.blocks):
            keep = min(max(size - block * BLOCK, 0), BLOCK)
            data = cell.last()[:keep].ljust(BLOCK, b"\0")
            if data != cell.last():
                cells.append((cell, data))
        self.change(cells, os.ftruncate, fd, size)

    def step_punch(self):
        found = self.some_file()
        if not found:
            return
        node, fd = found
        first = self.rng.randrange(BLOCKS)
        count = self.rng.randrange(1, BLOCKS - first + 1)
        cells = [(c, ZERO) for c in node.blocks[first:first + count]]
        self.change(cells, punch, fd, first * BLOCK, count * BLOCK)

    def step_chmod(self):
        found = self.some_file()
        if found:
            mode = self.rng.choice([0o600, 0o640, 0o644, 0o666, 0o755])
            self.change([(found[0].mode, mode)], os.fchmod, found[1], mode)

    def step_note(self):
        found = self.some_file()
        if found:
            value = str(self.w.next_version()).encode()
            self.change([(found[0].note, value)], os.setxattr, found[1],
                        "user.note", value)

    def step_check(self):
        """Whatever happens below, the application reads what it wrote."""
        found = self.some_file()
        if found:
            data = os.pread(found[1], SIZE_MAX + 1, 0)
            want = found[0].content()
            # Cut short when the daemon dies in the middle of it.
            if data != (want if self.steady else want[:len(data)]):
                raise AssertionError(
                    f"read of file {found[0].serial} is not what was written")

    STEPS = [("write", 30), ("append", 8), ("shared", 12), ("sync_shared", 2),
             ("fsync", 5), ("fsync_dir", 2), ("fsync_top", 1), ("create", 10), ("unlink", 4),
             ("rename", 8), ("link", 3), ("rename_dir", 2), ("truncate", 4),
             ("punch", 4), ("chmod", 3), ("note", 3), ("check", 4)]
    NAMES = [n for n, _ in STEPS]
    WEIGHTS = [w for _, w in STEPS]

    def run(self):
        try:
            while not self.stop.is_set():
                name = self.rng.choices(self.NAMES, self.WEIGHTS)[0]
                getattr(self, "step_" + name)()
                self.steps += 1
        except OSError as error:
            if self.steady or error.errno not in (
                    errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV,
                    errno.EIO, errno.ENOENT, errno.EROFS, errno.EUCLEAN,
                    errno.ECANCELED):
                self.error = f"{name}: {error}"
        except Exception as error:
            self.error = f"{name}: {type(error).__name__}: {error}"
        finally:
            for fd in self.fds.values():
                try:
                    os.close(fd)
                except OSError:
                    pass


def punch(fd, start, length):
    if libc.fallocate(fd, KEEP_SIZE | PUNCH_HOLE, ctypes.c_int64(start),
                      ctypes.c_int64(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
