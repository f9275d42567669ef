# SPDX-License-Identifier: Apache-2.0
"""Random operations of an application, done on a mount and on a plain
directory at once; both must answer alike.

Remembers what a crash of the daemon may take back: for each file, all
versions of each block and all sizes since the file was last made durable.
Names and attributes are never taken back.
"""

import ctypes
import errno
import mmap
import os
import random
import shutil
import stat
import zlib

BLOCK = 4096
FILE_BLOCKS = 64
FILE_MAX = FILE_BLOCKS * BLOCK
ENTRIES_MAX = 120
ZERO = zlib.crc32(bytes(BLOCK))
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
libc = ctypes.CDLL(None, use_errno=True)


class Mismatch(Exception):
    pass


def call(function, *args):
    if function(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fallocate(fd, mode, offset, length):
    call(libc.fallocate, fd, mode, ctypes.c_int64(offset),
         ctypes.c_int64(length))


def read_all(fd):
    return os.pread(fd, FILE_MAX * 2, 0)


def block_sums(data):
    """One checksum per block, to the end of the largest file."""
    out = []
    for start in range(0, FILE_MAX, BLOCK):
        block = data[start:start + BLOCK]
        out.append(zlib.crc32(block.ljust(BLOCK, b"\0")) if block else ZERO)
    return out


class Versions:
    """What a file may hold after a crash."""

    def __init__(self, data):
        self.sizes = {len(data)}
        self.blocks = [{c} for c in block_sums(data)]

    def add(self, data):
        self.sizes.add(len(data))
        for have, checksum in zip(self.blocks, block_sums(data)):
            have.add(checksum)

    def allow(self, data):
        if len(data) not in self.sizes:
            return f"size {len(data)}, not one of {sorted(self.sizes)}"
        for i, checksum in enumerate(block_sums(data)):
            # A block is cut where the file ends.
            cut = len(data) < (i + 1) * BLOCK and len(self.sizes) > 1
            if checksum not in self.blocks[i] and not cut:
                return f"block {i} was never like that since the last fsync"
        return None


class Tree:
    """The two directories, and what is known of both."""

    def __init__(self, mount, plain, rng, log):
        self.roots = (mount, plain)
        self.plain = plain
        self.rng = rng
        self.log = log
        self.versions = {}
        self.open_pairs = []
        self.serial = 0
        self.preallocates = True

    # ---- choosing ----

    def scan(self):
        self.files, self.dirs, self.others = [], [b""], []
        todo = [b""]
        while todo:
            below = todo.pop()
            for entry in os.scandir(os.path.join(self.plain, below)):
                path = os.path.join(below, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    self.dirs.append(path)
                    todo.append(path)
                elif entry.is_file(follow_symlinks=False):
                    self.files.append(path)
                else:
                    self.others.append(path)
        for names in (self.files, self.dirs, self.others):
            names.sort()

    def full(self):
        return len(self.files) + len(self.dirs) + len(
            self.others) > ENTRIES_MAX

    def new_name(self):
        rng = self.rng
        self.serial += 1
        if rng.random() < 0.15:
            tail = bytes(rng.choice(b"\n\t \xff\x80%$\"'*A\xc3\xa4")
                         for _ in range(rng.randrange(1, 12)))
        elif rng.random() < 0.05:
            tail = b"n" * 240
        else:
            tail = b""
        # Names come back: reuse is where mistakes show.
        number = rng.randrange(12) if rng.random() < 0.5 else self.serial
        return os.path.join(rng.choice(self.dirs), b"%d" % number + tail)

    def any_file(self):
        return self.rng.choice(self.files)

    def any_path(self):
        return self.rng.choice(self.files + self.dirs[1:] + self.others)

    def span(self):
        """An offset and a length, aligned or not."""
        rng = self.rng
        start = rng.randrange(FILE_MAX - 1)
        length = min(rng.choice([1, 100, BLOCK, 3 * BLOCK, 20 * BLOCK]),
                     FILE_MAX - start)
        if rng.random() < 0.5:
            start = start // BLOCK * BLOCK
            length = min(-(-length // BLOCK) * BLOCK, FILE_MAX - start)
        return start, length

    # ---- doing ----

    def both(self, what, function, *paths):
        """function(*full paths), in both trees; answers must be alike."""
        answers = []
        for root in self.roots:
            full = [os.path.join(root, p) for p in paths]
            try:
                answers.append((0, function(*full)))
            except OSError as error:
                code = error.errno
                if code == errno.EEXIST and what.startswith("r"):
                    code = errno.ENOTEMPTY
                answers.append((code, None))
        code, answer = answers[1]
        self.log(f"{what} {[os.fsdecode(p) for p in paths]}"
                 + (f" = {errno.errorcode[code]}" if code else ""))
        if answers[0] != answers[1]:
            have, want = (errno.errorcode.get(c, "ok") + " " + repr(a)[:300]
                          for c, a in answers)
            raise Mismatch(f"{what} {paths}: mount: {have} plain: {want}")
        return code == 0, answer

    def with_fd(self, what, path, flags, function):
        def run(full):
            fd = os.open(full, flags, 0o644)
            try:
                return function(fd)
            finally:
                os.close(fd)
        return self.both(what, run, path)

    def data_op(self, what, path, flags, function):
        self.with_fd(what, path, flags, function)
        self.changed(path)

    # ---- what a crash may take back ----

    def plain_data(self, path):
        fd = os.open(os.path.join(self.plain, path), os.O_RDONLY)
        try:
            return os.fstat(fd).st_ino, read_all(fd)
        finally:
            os.close(fd)

    def changed(self, path):
        try:
            number, data = self.plain_data(path)
        except OSError:
            return
        if number in self.versions:
            self.versions[number].add(data)
        else:
            self.versions[number] = Versions(data)

    def durable(self, path):
        number, data = self.plain_data(path)
        self.versions[number] = Versions(data)

    def all_durable(self):
        self.versions = {}
        self.scan()
        for path in self.files:
            self.durable(path)

    def close_pairs(self):
        for pair in self.open_pairs:
            for fd in pair:
                try:
                    os.close(fd)
                except OSError:
                    pass
        self.open_pairs = []


# ---- the kinds ----

def create(t):
    path, data = t.new_name(), t.rng.randbytes(t.rng.randrange(20_000))
    ok, _ = t.with_fd("create", path, os.O_WRONLY | os.O_CREAT | os.O_EXCL,
                      lambda fd: os.write(fd, data))
    if ok:
        number, _ = t.plain_data(path)
        t.versions[number] = Versions(b"")
        t.changed(path)


def write(t):
    start, length = t.span()
    data = t.rng.randbytes(length) if t.rng.random() < 0.9 else bytes(length)
    t.data_op(f"write {start}+{length}", t.any_file(), os.O_WRONLY,
              lambda fd: os.pwrite(fd, data, start))


def append(t):
    path = t.any_file()
    data = t.rng.randbytes(t.rng.randrange(5000))
    if os.stat(os.path.join(t.plain, path)).st_size + 5000 < FILE_MAX:
        t.data_op(f"append {len(data)}", path, os.O_WRONLY | os.O_APPEND,
                  lambda fd: os.write(fd, data))


def write_direct(t):
    start = t.rng.randrange(FILE_BLOCKS - 4) * BLOCK
    data = t.rng.randbytes(t.rng.randrange(1, 5) * BLOCK)

    def run(fd):
        buf = mmap.mmap(-1, len(data))
        buf.write(data)
        return os.pwritev(fd, [buf], start)
    t.data_op(f"write_direct {start}+{len(data)}", t.any_file(),
              os.O_WRONLY | os.O_DIRECT, run)


def write_mapped(t):
    path = t.any_file()
    size = os.stat(os.path.join(t.plain, path)).st_size
    if not size:
        return
    start = t.rng.randrange(size)
    data = t.rng.randbytes(min(5000, size - start))

    def run(fd):
        with mmap.mmap(fd, size) as view:
            view[start:start + len(data)] = data
    t.data_op(f"write_mapped {start}+{len(data)}", path, os.O_RDWR, run)


def write_synced(t):
    start, length = t.span()
    data = t.rng.randbytes(length)
    t.data_op(f"write_synced {start}+{length}", t.any_file(),
              os.O_WRONLY | os.O_DSYNC, lambda fd: os.pwrite(fd, data, start))


def rewrite(t):
    path, data = t.any_file(), t.rng.randbytes(t.rng.randrange(9000))
    t.data_op(f"rewrite {len(data)}", path, os.O_WRONLY | os.O_TRUNC,
              lambda fd: os.write(fd, data))
    # The length of nothing was seen on the way.
    number, _ = t.plain_data(path)
    t.versions[number].add(b"")


def shrink(t):
    path = t.any_file()
    size = os.stat(os.path.join(t.plain, path)).st_size
    length = t.rng.randrange(size + 1)
    t.both(f"truncate {length}", lambda p: os.truncate(p, length), path)
    t.changed(path)


def grow(t):
    path = t.any_file()
    size = os.stat(os.path.join(t.plain, path)).st_size
    length = t.rng.randrange(min(size, FILE_MAX), FILE_MAX + 1)
    t.both(f"truncate {length}", lambda p: os.truncate(p, length), path)
    t.changed(path)


def allocation(name, mode):
    def run(t):
        start, length = t.span()
        t.data_op(f"{name} {start}+{length}", t.any_file(), os.O_RDWR,
                  lambda fd: fallocate(fd, mode, start, length))
    run.__name__ = name
    return run


allocate = allocation("allocate", 0)
allocate_keep = allocation("allocate_keep", KEEP_SIZE)
zero_range = allocation("zero_range", ZERO_RANGE)
punch = allocation("punch", PUNCH_HOLE | KEEP_SIZE)


def copy_range(t):
    source, target = t.any_file(), t.any_file()
    start, length = t.span()
    to = t.rng.randrange(FILE_MAX - length + 1)

    def run(one, two):
        fds = [os.open(one, os.O_RDONLY), os.open(two, os.O_RDWR)]
        done = 0
        try:
            if os.path.samefile(one, two) and abs(to - start) < length:
                return 0
            while done < length:
                count = os.copy_file_range(*fds, length - done, start + done,
                                           to + done)
                if count == 0:
                    break
                done += count
        finally:
            for fd in fds:
                os.close(fd)
        return done
    t.both(f"copy_range {start}+{length} to {to}", run, source, target)
    t.changed(target)


def fsync(t):
    path = t.any_file()
    ok, _ = t.with_fd("fsync", path, os.O_RDONLY, os.fsync)
    if ok:
        t.durable(path)


def fdatasync(t):
    path = t.any_file()
    ok, _ = t.with_fd("fdatasync", path, os.O_RDWR, os.fdatasync)
    if ok:
        t.durable(path)


def fsync_dir(t):
    t.with_fd("fsync_dir", t.rng.choice(t.dirs), os.O_RDONLY, os.fsync)


def mkdir(t):
    t.both("mkdir", os.mkdir, t.new_name())


def rmdir(t):
    t.both("rmdir", os.rmdir, t.rng.choice(t.dirs[1:] or [b"none"]))


def remove_tree(t):
    if len(t.dirs) > 8:
        t.both("remove_tree", shutil.rmtree, t.rng.choice(t.dirs[1:]))


def unlink(t):
    t.both("unlink", os.unlink, t.any_path())


def rename(t):
    old = t.any_path()
    new = t.new_name() if t.rng.random() < 0.7 else t.any_path()
    t.both("rename", os.rename, old, new)


def rename_dir(t):
    if len(t.dirs) > 1:
        new = t.new_name() if t.rng.random() < 0.7 else t.rng.choice(
            t.dirs[1:])
        t.both("rename_dir", os.rename, t.rng.choice(t.dirs[1:]), new)


def renameat2(flags):
    return lambda a, b: call(libc.renameat2, -100, a, -100, b, flags)


def exchange(t):
    t.both("r exchange", renameat2(EXCHANGE), t.any_path(), t.any_path())


def rename_noreplace(t):
    t.both("r noreplace", renameat2(NOREPLACE), t.any_path(), t.new_name())


def whiteout(t):
    new = t.new_name() if t.rng.random() < 0.7 else t.any_path()
    t.both("r whiteout", renameat2(WHITEOUT), t.any_path(), new)


def link(t):
    t.both("link", lambda a, b: os.link(a, b, follow_symlinks=False),
           t.rng.choice(t.files + t.others), t.new_name())


def symlink(t):
    target = t.rng.choice([b"short", b"x" * 100, b"t" * 1000])
    t.both("symlink", lambda p: os.symlink(target, p), t.new_name())


def special(t):
    mode = t.rng.choice([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])
    t.both("special", lambda p: os.mknod(p, mode | 0o640, os.makedev(1, 3)),
           t.new_name())


def chmod(t):
    mode = t.rng.randrange(0o1000) | 0o400
    t.both("chmod", lambda p: os.chmod(p, mode),
           t.rng.choice(t.files + t.dirs))


def chown(t):
    uid, gid = t.rng.randrange(3000), t.rng.randrange(3000)
    t.both("chown", lambda p: os.lchown(p, uid, gid), t.any_path())


def utimens(t):
    when = t.rng.randrange(1 << 60)

    def run(path):
        os.utime(path, ns=(when, when), follow_symlinks=False)
        return os.lstat(path).st_mtime_ns
    t.both("utimens", run, t.any_path())


def setxattr(t):
    name = f"user.x{t.rng.randrange(4)}"
    value = t.rng.randbytes(t.rng.randrange(200))
    t.both("setxattr", lambda p: os.setxattr(p, name, value),
           t.rng.choice(t.files + t.dirs))


def removexattr(t):
    name = f"user.x{t.rng.randrange(4)}"
    t.both("removexattr", lambda p: os.removexattr(p, name),
           t.rng.choice(t.files + t.dirs))


def read(t):
    t.with_fd("read", t.any_file(), os.O_RDONLY, read_all)


def list_dir(t):
    t.both("list", lambda p: sorted(os.listdir(p)), t.rng.choice(t.dirs))


def status(t):
    def run(path):
        st = os.lstat(path)
        size = 0 if stat.S_ISDIR(st.st_mode) else st.st_size
        links = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink
        return st.st_mode, st.st_uid, st.st_gid, size, links
    t.both("status", run, t.any_path())


def seek(t):
    """Whatever holds anything is data, at every moment."""
    path = t.any_file()
    _, data = t.plain_data(path)
    fd = os.open(os.path.join(t.roots[0], path), os.O_RDONLY)
    try:
        pos = 0
        while pos < len(data):
            try:
                start = os.lseek(fd, pos, os.SEEK_DATA)
            except OSError:
                start = len(data)
            if data[pos:start].strip(b"\0"):
                raise Mismatch(f"data in what SEEK_DATA skips: {path}")
            if start >= len(data):
                break
            pos = os.lseek(fd, start, os.SEEK_HOLE)
    finally:
        os.close(fd)


def open_unlinked(t):
    path = t.any_file()
    pair = []
    for root in t.roots:
        pair.append(os.open(os.path.join(root, path), os.O_RDWR))
    t.open_pairs.append(pair)
    t.both("unlink open", os.unlink, path)


def use_unlinked(t):
    if not t.open_pairs:
        return
    pair = t.rng.choice(t.open_pairs)
    data, start = t.rng.randbytes(3000), t.rng.randrange(50_000)
    answers = []
    for fd in pair:
        os.pwrite(fd, data, start)
        answers.append(read_all(fd))
        os.fsync(fd)
    if answers[0] != answers[1]:
        raise Mismatch("an open file without a name differs")
    # It may have other names.
    t.scan()
    number = os.fstat(pair[1]).st_ino
    if number in t.versions:
        t.versions[number] = Versions(answers[1])
    if len(t.open_pairs) > 4:
        for fd in t.open_pairs.pop(0):
            os.close(fd)


KINDS = [
    (create, 12), (write, 16), (append, 6), (write_direct, 4),
    (write_mapped, 4), (write_synced, 2), (rewrite, 3), (shrink, 4),
    (grow, 3), (allocate, 2), (allocate_keep, 1), (punch, 6),
    (zero_range, 2), (copy_range, 3), (fsync, 6),
    (fdatasync, 2), (fsync_dir, 1), (mkdir, 6), (rmdir, 3),
    (remove_tree, 1), (unlink, 7), (rename, 7), (rename_dir, 4),
    (exchange, 4), (rename_noreplace, 2), (whiteout, 2), (link, 5), (symlink, 3),
    (special, 2), (chmod, 3), (chown, 2), (utimens, 3), (setxattr, 3),
    (removexattr, 2), (read, 5), (list_dir, 3), (status, 4), (seek, 4),
    (open_unlinked, 2), (use_unlinked, 2),
]
KIND_FUNCTIONS = [k for k, _ in KINDS]
KIND_WEIGHTS = [w for _, w in KINDS]
PREALLOCATING = {allocate, allocate_keep, zero_range}
GROWING = {create, mkdir, link, symlink, special}


def step(t):
    """One random operation."""
    t.scan()
    if not t.files:
        create(t)
        return
    kind = t.rng.choices(KIND_FUNCTIONS, KIND_WEIGHTS)[0]
    if kind in PREALLOCATING and not t.preallocates:
        kind = write
    if kind in GROWING and t.full():
        kind = remove_tree if t.rng.random() < 0.3 else unlink
    kind(t)


def main():
    """Two plain directories: the operations themselves are at fault then."""
    import sys
    rng = random.Random(int(sys.argv[3]))
    t = Tree(os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), rng,
             lambda text: None)
    for _ in range(int(sys.argv[4])):
        step(t)


if __name__ == "__main__":
    main()
