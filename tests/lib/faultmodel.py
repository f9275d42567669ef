# SPDX-License-Identifier: Apache-2.0
"""The application of powermodel.py, on stores that fail under it.

What is acknowledged stays, whatever dies: the machine lives, so that only what
the kernel keeps back of contents (cache=writeback, a mapping) waits for its
fsync. An error that the application is told of leaves each block, name and
attribute old or new; which one, it looks up at once, and where the stores are
bound to be equal it stays like that.

Cells of contents and sizes are lazy: with cache=writeback only an fsync settles
them. They are hazy when an error was told meanwhile: the kernel forgets then
what it could not write, and an fsync that follows is a success.
"""

import ctypes
import errno
import mmap
import os
import signal
import stat
import time
import warnings

import powermodel
import powerverdict
from powermodel import BLOCK, BLOCKS, SIZE_MAX, ZERO, Cell, Node
from powermodel import stamp

EXCHANGE, ZERO_RANGE = 2, 16
KEEP_SIZE, PUNCH_HOLE = 1, 2
AT_FDCWD = -100
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV, errno.ENOENT,
        errno.EIO, errno.EINTR, errno.ECANCELED)
SCRATCH = "x"
PAUSE = 0.01
libc = powermodel.libc
# The child of write_mapped() makes a few system calls and is gone.
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)


def check(result):
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Link(Node):
    """A symlink: its number is its group, too."""

    def __init__(self, target):
        super().__init__()
        self.target = target
        self.blocks = []


class World(powermodel.World):
    def __init__(self, root, threads, through):
        super().__init__(root, threads)
        # A write is with the stores when it has returned.
        self.through = through
        # What the application may be told now (None: anything), and whether
        # the stores are bound to be equal after it.
        self.may = ()
        self.strict = True
        # The daemon is killed: nothing more counts.
        self.dead = False
        self.told = {}

    def tolerates(self, error):
        return self.may is None or error.errno in self.may

    def count(self, error):
        name = errno.errorcode.get(error.errno, str(error.errno))
        with self.lock:
            self.told[name] = self.told.get(name, 0) + 1


class Found(powerverdict.Found):
    """Errors are errors here."""

    def __init__(self, path, st):
        super().__init__(path, st)
        if self.note is None:
            try:
                self.note = os.getxattr(path, "user.note")
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise


def found_link(path, st):
    found = powerverdict.Found.__new__(powerverdict.Found)
    found.path, found.st = path, st
    return found


class Verdict(powerverdict.Verdict):
    """Symlinks, too; and what scratch steps leave is nobody's."""

    kind = Found

    def is_ours(self, entry):
        return (not entry.name.startswith(SCRATCH) and
                super().is_ours(entry))

    def match(self, cell, path, serial):
        st = os.lstat(path)
        if not stat.S_ISLNK(st.st_mode):
            self.drop_cache(path, st)
            return super().match(cell, path, serial)
        for node in cell.allowed():
            if isinstance(node, Link) and node.serial == st.st_gid:
                if os.readlink(path) != node.target:
                    self.say(f"{path}: leads to {os.readlink(path)}, "
                             f"not to {node.target}")
                self.where.setdefault(node.serial, []).append(
                    found_link(path, st))
                return node
        self.say(f"{path}: symlink {st.st_gid} should not be here")
        return None

    def drop_cache(self, path, st):
        """What the kernel keeps of pages that could not be written is not
        what the stores have."""
        if stat.S_ISREG(st.st_mode):
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def one_dir(self, serial, path, ids):
        if serial != self.w.top.serial:
            return super().one_dir(serial, path, ids)
        scratch = {n for n in os.listdir(path) if n.startswith(SCRATCH)}
        names = self.w.dirs[serial][1]
        for name in scratch:
            names[name] = Cell(None)
        try:
            return self.top_dir(serial, path, ids, scratch)
        finally:
            for name in scratch:
                del names[name]

    def top_dir(self, serial, path, ids, scratch):
        self.result[serial] = {}
        names = self.w.dirs[serial][1]
        there = set(os.listdir(path)) - scratch - {".seqmirror"}
        for name in there - names.keys():
            self.say(f"{path}/{name}: never was")
        for name, cell in names.items():
            if name in scratch:
                continue
            full = os.path.join(path, name)
            if name in there:
                self.result[serial][name] = self.match(cell, full,
                                                       ids.get(full))
            elif None not in cell.allowed():
                self.say(f"{full}: gone")

    def follow(self):
        for node in self.w.all_nodes():
            for cell in node.cells():
                cell.hazy = False
        links = {s for s, g in self.where.items() if not hasattr(g[0], "data")}
        groups = self.where
        self.where = {s: g for s, g in groups.items() if s not in links}
        super().follow()
        self.where = groups


class Look(Verdict):
    """What one thread's directories hold now, after an error."""

    def __init__(self, worker):
        super().__init__(worker.w, worker.w.root)
        self.worker = worker
        self.own = {node.serial for _, node in worker.dirs}

    def is_ours(self, entry):
        # The other thread's move.
        return entry.name.startswith(f"t{self.worker.number}d")

    def expected(self, found):
        for serial in self.own - found.keys():
            self.say(f"directory {serial} is gone")
        return {s: p for s, p in found.items() if s in self.own}

    def run(self):
        self.result = {}
        self.paths = self.find_dirs()
        for serial, path in self.paths.items():
            self.one_dir(serial, path, {})
        return self.complaints

    def settle(self, cell, value, strict):
        if strict and not (cell.lazy and not self.w.through):
            cell.reset(value)
        elif cell.last() != value:
            cell.acked = cell.issue(value)
        else:
            cell.acked = len(cell.values) - 1
        if cell.lazy and not self.w.through and len(cell.allowed()) > 1:
            cell.hazy = True

    def take(self, node, found, strict):
        if isinstance(node, Link):
            return
        self.settle(node.size, found.st.st_size, strict)
        self.settle(node.mode, stat.S_IMODE(found.st.st_mode), strict)
        self.settle(node.note, found.note, strict)
        data = found.data.ljust(SIZE_MAX, b"\0")
        for index, cell in enumerate(node.blocks):
            self.settle(cell, data[index * BLOCK:(index + 1) * BLOCK], strict)

    def follow(self, strict):
        nodes = {n.serial: n for n in self.w.all_nodes()}
        for serial, group in self.where.items():
            self.take(nodes[serial], group[0], strict)
        for serial in self.paths:
            for name, cell in self.w.dirs[serial][1].items():
                self.settle(cell, self.result[serial].get(name), strict)
        self.top(strict)

    def top(self, strict):
        there = {os.path.basename(p): s for s, p in self.paths.items()}
        nodes = {s: self.w.dirs[s][0] for s in self.own}
        prefix = f"t{self.worker.number}d"
        with self.w.lock:
            names = [(n, c) for n, c in
                     self.w.dirs[self.w.top.serial][1].items()
                     if n.startswith(prefix)]
        for name, cell in names:
            self.settle(cell, nodes.get(there.get(name)), strict)
        self.worker.dirs = [(n, nodes[s]) for n, s in there.items()]


class Worker(powermodel.Worker):
    def __init__(self, world, number, rng, stop):
        super().__init__(world, number, rng, stop, steady=True)
        self.beat = 0.0
        self.busy = ""
        self.last_words = []

    # ---- the account ----

    def change(self, cells, function, *args):
        marks = [(cell, cell.issue(value)) for cell, value in cells]
        self.tell(function, args)
        result = function(*args)
        if function is os.pwrite:
            while result < len(args[1]):  # it was cut: why?
                result += os.pwrite(args[0], args[1][result:],
                                    args[2] + result)
        for cell, index in marks:
            cell.acked = index
            if not cell.lazy or self.w.through:
                cell.settle(index)
        self.w.acked += 1
        return result

    def sync(self, cells, names, function, *args):
        super().sync([c for c in cells if not c.hazy], names, function, *args)

    def on_error(self, name, error):
        """Is it one that may come? Then what is the case now?"""
        self.w.log.append((0.0, self.about, f"  {name}: told", str(error)))
        if self.w.dead and error.errno in GONE:
            self.stop.wait()
            return
        self.w.count(error)
        if not self.w.tolerates(error):
            raise error
        self.look()

    def look(self):
        # The kernel may know a moment longer what was told to be undone: what
        # follows is the daemon's answer.
        if not self.w.through:
            for cell in self.w.shared.cells():
                cell.hazy = cell.lazy
        look = Look(self)
        try:
            wrong = look.run()
            if not wrong:
                look.follow(self.w.strict)
        except OSError as error:
            if self.w.dead:
                self.stop.wait()
                return
            if not self.w.tolerates(error):
                raise
            # Nobody answers: what is the case is known at the end.
            self.w.log.append((0.0, 0, "cannot look", str(error)))
            self.stop.wait()
            return
        if wrong:
            raise AssertionError("after an error: " + "; ".join(wrong[:5]))
        self.stop.wait(PAUSE)

    # ---- choosing ----

    def some_file(self):
        files = [f for f in self.files() if not isinstance(f[3].last(), Link)]
        if not files:
            return None
        _, dname, name, cell = self.rng.choice(files)
        node = cell.last()
        self.about = node.serial
        return node, self.fd_of(node, self.w.path(dname, name))

    def free_name(self):
        """(path, entry) of a name that is not there."""
        dname, _, names = self.some_dir()
        name = f"f{self.rng.randrange(9)}"
        cell = names.setdefault(name, Cell(None))
        return self.w.path(dname, name), cell

    def unsure(self):
        """What could not be written back is perhaps not what was read last:
        nothing is done then that depends on it."""
        return not self.w.through and self.w.may != ()

    # ---- steps ----

    def step_write(self):
        if not self.unsure():
            return super().step_write()
        found = self.some_file()
        if found:
            self.write_to(*found, self.rng.randrange(BLOCKS) * BLOCK, BLOCK)
        return None

    def step_append(self):
        if not self.unsure():
            super().step_append()

    def step_truncate(self):
        if not self.unsure():
            super().step_truncate()

    def step_check(self):
        found = self.some_file()
        if not found:
            return
        data = read_all(found[1])
        # Cut short when the daemon dies in the middle of it.
        if data == found[0].content() or self.w.dead:
            return
        if not self.unsure():
            raise AssertionError(
                f"read of file {found[0].serial} is not what was written")
        self.look()

    def step_exchange(self):
        files = self.files()
        if len(files) < 2:
            return
        one, two = self.rng.sample(files, 2)
        a, b = one[3].last(), two[3].last()
        self.about = a.serial
        if a is b:
            return
        self.change([(one[3], b), (two[3], a)], exchange,
                    self.w.path(one[1], one[2]), self.w.path(two[1], two[2]))

    def step_symlink(self):
        path, cell = self.free_name()
        if cell.last() is not None or len(self.files()) > 10:
            return
        node = Link("to" * self.rng.choice([1, 20, 100]))
        self.about = node.serial
        self.change([(cell, node)], make_link, path, node)

    def step_nameless(self):
        """A file that is removed, written and read, as temporary ones are."""
        files = [f for f in self.files() if not isinstance(f[3].last(), Link)]
        if not files:
            return
        _, dname, name, cell = self.rng.choice(files)
        node = cell.last()
        fd = self.fd_of(node, self.w.path(dname, name))
        self.about = node.serial
        self.lose(node)
        self.change([(cell, None)], os.unlink, self.w.path(dname, name))
        block = self.rng.randrange(BLOCKS)
        self.write_to(node, fd, block * BLOCK, BLOCK)
        self.sync(node.cells(), [], os.fsync, fd)
        data = os.pread(fd, BLOCK, block * BLOCK)
        if data != node.blocks[block].last():
            raise AssertionError("a file without a name is not what was "
                                 "written")

    def step_copy(self):
        one, two = self.some_file(), self.some_file()
        if self.unsure() or not one or not two or one[0] is two[0]:
            return
        blocks = one[0].size.last() // BLOCK
        if not blocks:
            return
        first = self.rng.randrange(blocks)
        count = self.rng.randrange(1, blocks - first + 1)
        cells = [(two[0].blocks[b], one[0].blocks[b].last())
                 for b in range(first, first + count)]
        if (first + count) * BLOCK > two[0].size.last():
            cells.append((two[0].size, (first + count) * BLOCK))
        self.change(cells, copy_range, one[1], two[1], first * BLOCK,
                    count * BLOCK)

    def step_map(self):
        """Contents through a mapping."""
        found = self.some_file()
        if not found or found[0].size.last() < BLOCK:
            return
        node, fd = found
        block = self.rng.randrange(node.size.last() // BLOCK)
        value = stamp(node, block, self.w.next_version())
        self.change([(node.blocks[block], value)], write_mapped, fd,
                    block * BLOCK, value)

    def step_direct(self):
        files = [f for f in self.files() if not isinstance(f[3].last(), Link)]
        if not files:
            return
        _, dname, name, cell = self.rng.choice(files)
        node = cell.last()
        self.about = node.serial
        block = self.rng.randrange(BLOCKS)
        value = stamp(node, block, self.w.next_version())
        fd = os.open(self.w.path(dname, name), os.O_RDWR | os.O_DIRECT)
        try:
            cells = [(node.blocks[block], value)]
            if (block + 1) * BLOCK > node.size.last():
                cells.append((node.size, (block + 1) * BLOCK))
            self.change(cells, write_direct, fd, value, block * BLOCK)
        finally:
            os.close(fd)

    def step_zero(self):
        found = self.some_file()
        if not found:
            return
        first = self.rng.randrange(BLOCKS)
        count = self.rng.randrange(1, BLOCKS - first + 1)
        cells = [(c, ZERO) for c in found[0].blocks[first:first + count]]
        self.change(cells, fallocate, found[1], ZERO_RANGE | KEEP_SIZE,
                    first * BLOCK, count * BLOCK)

    def step_allocate(self):
        found = self.some_file()
        if found:
            first = self.rng.randrange(BLOCKS)
            self.change([], fallocate, found[1], KEEP_SIZE, first * BLOCK,
                        (BLOCKS - first) * BLOCK)

    def step_note(self):
        if self.rng.random() < 0.7:
            return super().step_note()
        found = self.some_file()
        if found and found[0].note.last() is not None:
            self.change([(found[0].note, None)], os.removexattr, found[1],
                        "user.note")
        return None

    def step_scratch(self):
        """Whatever may be done to names, of which no account is kept."""
        rng = self.rng
        top = self.w.path(f"{SCRATCH}{self.number}")
        path, other = (os.path.join(top, f"{c}{rng.randrange(4)}")
                       for c in "dd")
        self.about = 0
        function, args = rng.choice([
            (os.mkdir, (top,)), (os.mkdir, (path,)), (os.mkdir, (path,)),
            (os.rmdir, (path,)), (os.rename, (path, other)),
            (exchange, (path, other)),
            (os.mknod, (path, stat.S_IFIFO | 0o600)),
            (os.mkdir, (os.path.join(path, "d0"),)),
            (os.rename, (os.path.join(path, "d0"), other)),
            (os.rmdir, (os.path.join(path, "d0"),)),
            (os.unlink, (path,)), (os.chmod, (path, rng.choice([
                0o700, 0o755]))), (os.mknod, (path, 0o600))])
        self.tell(function, args)
        try:
            function(*args)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR,
                                   errno.ENOTEMPTY, errno.EISDIR,
                                   errno.EINVAL):
                raise

    STEPS = powermodel.Worker.STEPS + [
        ("exchange", 4), ("symlink", 4), ("nameless", 4), ("copy", 5),
        ("map", 5), ("direct", 5), ("zero", 3), ("allocate", 2),
        ("scratch", 12)]
    NAMES = [n for n, _ in STEPS]
    WEIGHTS = [w for _, w in STEPS]

    def run(self):
        try:
            while not self.stop.is_set():
                name = self.rng.choices(self.NAMES, self.WEIGHTS)[0]
                self.busy = name
                self.beat_now()
                try:
                    getattr(self, "step_" + name)()
                except OSError as error:
                    self.on_error(name, error)
                self.steps += 1
        except Exception as error:
            self.error = f"{name}: {type(error).__name__}: {error}"
        finally:
            self.busy = "close"
            for fd in self.fds.values():
                try:
                    os.close(fd)
                except OSError:
                    pass
            self.busy = ""

    def beat_now(self):
        self.beat = time.monotonic()


def read_all(fd):
    """A read ends early before what cannot be read: the next one says so."""
    data = b""
    while True:
        more = os.pread(fd, SIZE_MAX + 1 - len(data), len(data))
        if not more:
            return data
        data += more


def exchange(one, two):
    check(libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD,
                         os.fsencode(two), EXCHANGE))


def make_link(path, node):
    libc.setfsgid(node.serial)
    try:
        os.symlink(node.target, path)
    finally:
        libc.setfsgid(0)


def copy_range(source, target, start, length):
    end = start + length
    while start < end:
        done = os.copy_file_range(source, target, end - start, start, start)
        if not done:
            raise AssertionError(f"the source ends at {start}, not {end}")
        start += done


def write_mapped(fd, offset, value):
    """In a child: a page that nobody can read is a signal."""
    child = os.fork()
    if child == 0:
        code = errno.EIO
        try:
            shared = mmap.mmap(fd, len(value), offset=offset)
            shared[:] = value
            shared.flush()
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        code = errno.EIO if code == -signal.SIGBUS else code
        raise OSError(code, f"mapping: {os.strerror(abs(code))}")


def write_direct(fd, value, offset):
    buf = mmap.mmap(-1, len(value))
    buf.write(value)
    done = os.pwritev(fd, [buf], offset)
    if done != len(value):
        raise OSError(errno.EIO, f"short write: {done}")


def fallocate(fd, mode, offset, length):
    check(libc.fallocate(fd, mode, ctypes.c_int64(offset),
                         ctypes.c_int64(length)))
