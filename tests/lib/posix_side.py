# SPDX-License-Identifier: Apache-2.0
"""One side of a comparison: calls are made and what they gave is written down.

A case is a function of one argument, a Side. Attributes of it are the
functions of `os` and those below; each call is recorded with its result or the
name of its errno, in words that do not depend on where it was made. Two sides
that behave alike have equal records.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import pickle
import stat
import struct
import time

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
UNSHARE = 64
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
# Without writeback caching the kernel does not tell the daemon of a chown(2) that
# names neither owner nor group (mount.seqmirror(8), CAVEATS).
CHOWN_OF_NONE = "writethrough" not in os.environ.get("OPTIONS", "")
TICK = 0.012  # longer than a step of the clock that files are stamped with

USER, OTHER, GROUP, EXTRA = 12001, 12002, 12011, 12050

libc = ctypes.CDLL(None, use_errno=True)
i64 = ctypes.c_int64


def check(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def name_of(path):
    return os.fsencode(path)


# ---- calls that `os` has not ----

def fallocate(fd, mode, offset, length):
    check(libc.fallocate(fd, mode, i64(offset), i64(length)))


def renameat2(old, new, flags):
    check(libc.renameat2(AT_FDCWD, name_of(old), AT_FDCWD, name_of(new),
                         flags))


def utimensat(path, times, flags=0):
    """times: ((s, ns), (s, ns)) or None; path None: the descriptor alone."""
    buf = None
    if times is not None:
        buf = struct.pack("=qqqq", *times[0], *times[1])
    check(libc.utimensat(AT_FDCWD, name_of(path), buf, flags))


def futimens(fd, times):
    buf = struct.pack("=qqqq", *times[0], *times[1]) if times else None
    check(libc.futimens(fd, buf))


def linkat(old_fd, old, new, flags):
    check(libc.linkat(old_fd, name_of(old), AT_FDCWD, name_of(new), flags))


def link_fd(fd, new):
    """As programs name an unlinked file that they hold open."""
    check(libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD,
                      name_of(new), 0x400))


def faccessat(path, mode, flags):
    check(libc.faccessat(AT_FDCWD, name_of(path), mode, flags))


def truncate64(path, size):
    check(libc.truncate(name_of(path), i64(size)))


def readlink_len(path):
    return len(os.readlink(path))


def raw_lseek(fd, offset, whence):
    libc.lseek.restype = i64
    return check(libc.lseek(fd, i64(offset), whence))


def sync_file_range(fd, offset, length, flags):
    check(libc.sync_file_range(fd, i64(offset), i64(length), flags))


def posix_fallocate(fd, offset, length):
    os.posix_fallocate(fd, offset, length)


def syncfs(fd):
    check(libc.syncfs(fd))


def getxattr_len(path, name, size):
    """With a buffer of this size: what ERANGE is about."""
    buf = ctypes.create_string_buffer(max(size, 1))
    return check(libc.lgetxattr(name_of(path), name_of(name), buf, size))


def listxattr_len(path, size):
    buf = ctypes.create_string_buffer(max(size, 1))
    return check(libc.llistxattr(name_of(path), buf, size))


def lsetxattr(path, name, value, flags=0):
    os.setxattr(path, name, value, flags, follow_symlinks=False)


def lgetxattr(path, name):
    return os.getxattr(path, name, follow_symlinks=False)


def llistxattr(path):
    return sorted(os.listxattr(path, follow_symlinks=False))


def lremovexattr(path, name):
    os.removexattr(path, name, follow_symlinks=False)


def slurp(path):
    with open(path, "rb") as file:
        return file.read()


def spit(path, data, mode=0o644, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, flags, mode)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def data_map(fd):
    """[(start, end)] of what SEEK_DATA and SEEK_HOLE call data."""
    out, pos, size = [], 0, os.fstat(fd).st_size
    while pos < size:
        try:
            start = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        pos = os.lseek(fd, start, os.SEEK_HOLE)
        out.append((start, pos))
    return out


def lock(fd, command, kind, start, length, whence=0):
    """fcntl locks; the answer of F_GETLK without the process."""
    buf = struct.pack("=hhxxxxqqixxxx", kind, whence, start, length, 0)
    have = fcntl.fcntl(fd, command, buf)
    return struct.unpack("=hhxxxxqqixxxx", have)[:4]


def lease(fd, kind):
    return fcntl.fcntl(fd, 1024, kind)


def get_lease(fd):
    return fcntl.fcntl(fd, 1025)


def flock(fd, kind):
    fcntl.flock(fd, kind)


def execute(path):
    """Run a program in a child: its status, or the errno of the exec."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 2)
        try:
            os.execv(path, [path])
        except OSError as error:
            os.write(write_end, b"%d" % error.errno)
        os._exit(99)
    os.close(write_end)
    code = os.read(read_end, 10)
    os.close(read_end)
    status = os.waitpid(pid, 0)[1]
    if code:
        raise OSError(int(code), "exec")
    return os.waitstatus_to_exitcode(status)


OWN = {name: thing for name, thing in globals().items() if callable(thing)}


# ---- the record ----

def shape(st):
    out = [oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid]
    if stat.S_ISDIR(st.st_mode):
        return out
    out.append(st.st_size)
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        out.append(st.st_rdev)
    return out


def plain(function, value):
    if function in ("open", "dup", "open_handle"):
        return "opened"
    if isinstance(value, os.stat_result):
        return shape(value)
    if isinstance(value, os.statvfs_result):
        return [value.f_namemax, value.f_bsize, value.f_frsize]
    if isinstance(value, (bytes, bytearray)) and len(value) > 100:
        return f"{len(value)} bytes, {hashlib.md5(value).hexdigest()}"
    if isinstance(value, list) and value and isinstance(value[0],
                                                        (str, bytes)):
        value = sorted(value)
        if len(value) > 100:
            value = plain("", repr(value).encode())
    return value


def words(value):
    text = repr(value)
    return text if len(text) < 70 else text[:50] + f"...({len(text)})"


class Side:
    def __init__(self, root=None):
        self.root = root or os.getcwd()
        self.lines = []
        self.prefix = ""

    def note(self, label, value=None):
        self.lines.append(f"{self.prefix}{label}: {value!r}")

    def call(self, function, *args, **kwargs):
        """Returns what it gave, or None if it failed."""
        name = function if isinstance(function, str) else function.__name__
        function = OWN.get(name) or getattr(os, name, None) or function
        shown = [words(a) if not self.is_fd(name, a) else "fd" for a in args]
        shown += [f"{k}={v}" for k, v in kwargs.items()
                  if not k.endswith("dir_fd")]
        label = f"{name}({', '.join(shown)})"
        try:
            value = function(*args, **kwargs)
        except OSError as error:
            self.note(label, errno.errorcode.get(error.errno, error.errno))
            return None
        except (ValueError, OverflowError) as error:
            self.note(label, type(error).__name__)
            return None
        self.note(label, plain(name, value))
        return value

    @staticmethod
    def is_fd(name, value):
        return (isinstance(value, int) and not isinstance(value, bool) and
                name in ("close", "read", "write", "pread", "pwrite", "fstat",
                         "fsync", "lseek", "raw_lseek", "data_map", "lock",
                         "flock", "lease", "get_lease", "link_fd", "fchmod",
                         "fchown", "futimens", "fdatasync", "fchdir",
                         "ftruncate", "copy_file_range", "sendfile",
                         "linkat", "fallocate", "preadv", "pwritev",
                         "sync_file_range", "syncfs") and 2 < value < 100)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    def look(self, path):
        """lstat, and the contents of what has some."""
        st = self.call("lstat", path)
        if st and stat.S_ISREG(st.st_mode) and st.st_size < 1 << 24:
            self.call("slurp", path)
        elif st and stat.S_ISLNK(st.st_mode):
            self.call("readlink", path)

    def moves(self, path, function, *args, **kwargs):
        """A call, and which times of @path it moved."""
        before = os.lstat(path)
        time.sleep(TICK)
        value = self.call(function, *args, **kwargs)
        try:
            after = os.lstat(path)
        except OSError as error:
            self.note(f"  then {path}", errno.errorcode[error.errno])
            return value
        moved = [f"{t}time" for t in "mc"
                 if getattr(before, f"st_{t}time_ns") !=
                 getattr(after, f"st_{t}time_ns")]
        back = [f"{t}time back" for t in "mc"
                if getattr(before, f"st_{t}time_ns") >
                getattr(after, f"st_{t}time_ns")]
        self.note(f"  moved of {path}", moved + back)
        self.note("  then", shape(after))
        return value

    def times(self, path, what="am"):
        st = os.lstat(path)
        self.note(f"times of {path}",
                  [getattr(st, f"st_{t}time_ns") for t in what])

    def tree(self, top="."):
        """Everything below, links told apart by who shares a number."""
        numbers, out = {}, []
        for path in walk(top):
            st = os.lstat(path)
            number = numbers.setdefault(st.st_ino, len(numbers))
            what = ""
            if stat.S_ISREG(st.st_mode) and st.st_size < 1 << 24:
                try:
                    what = plain("", slurp(path))
                except PermissionError:
                    what = "closed"
            elif stat.S_ISLNK(st.st_mode):
                what = os.readlink(path)
            out.append((path, number, shape(st), what))
        self.note("tree", out)

    def inside(self, label, function, *args):
        """@function(side, *args) in a child, its record joined to this."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            self.lines = []
            self.prefix = f"{self.prefix}{label}: "
            try:
                function(self, *args)
            except BaseException as error:
                self.note("raised", f"{type(error).__name__}: {error}")
            with os.fdopen(write_end, "wb") as pipe:
                pickle.dump(self.lines, pipe)
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            data = pipe.read()
        status = os.waitpid(pid, 0)[1]
        if data:
            self.lines += pickle.loads(data)
        if status:
            self.note(f"{label} ended", os.waitstatus_to_exitcode(status))

    def as_user(self, function, *args, uid=USER, gid=GROUP, groups=()):
        def become(side):
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            function(side, *args)

        self.inside(f"uid {uid} gid {gid}", become)


def walk(top):
    todo = [os.fsencode(top)]
    while todo:
        here = todo.pop()
        try:
            names = sorted(os.listdir(here))
        except PermissionError:
            continue
        for name in names:
            path = os.path.join(here, name)
            yield path
            if stat.S_ISDIR(os.lstat(path).st_mode):
                todo.append(path)
