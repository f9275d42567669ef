#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an ordinary program does to files, one small case each.

usage: ops.py DIRECTORY [CASE...]

Each case works in an empty directory of its own below DIRECTORY and asserts
what POSIX and Linux promise. Run on any Linux filesystem it must pass; cases
that need root are left out for others. Exit status 0 if all passed.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import socket
import stat
import sys
import traceback

BLOCK = 4096
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE = 1, 2, 8, 16
NOREPLACE, EXCHANGE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)
CASES = []


def case(function):
    CASES.append(function)
    return function


def root_case(function):
    if os.geteuid() == 0:
        CASES.append(function)
    return function


def check(result):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fallocate(fd, mode, offset, length):
    check(libc.fallocate(fd, mode, ctypes.c_int64(offset),
                         ctypes.c_int64(length)))


def renameat2(old, new, flags):
    check(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new),
                         flags))


def fails(codes, function, *args, **kwargs):
    """It must fail with this code, or one of these."""
    codes = codes if isinstance(codes, tuple) else (codes,)
    wanted = " or ".join(errno.errorcode[c] for c in codes)
    try:
        function(*args, **kwargs)
    except OSError as error:
        have = errno.errorcode[error.errno]
        assert error.errno in codes, f"{have}, not {wanted}"
        return
    raise AssertionError(f"no error, not {wanted}")


def put(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def holes(fd, size):
    """[(start, end)] of data."""
    out, pos = [], 0
    while pos < size:
        try:
            start = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            break
        pos = os.lseek(fd, start, os.SEEK_HOLE)
        out.append((start, pos))
    return out


@case
def create_read_write():
    put("f", b"hello")
    assert get("f") == b"hello"
    fails(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL)
    fails(errno.ENOENT, os.open, "missing", os.O_RDONLY)
    fails(errno.ENOTDIR, os.open, "f/x", os.O_RDONLY)
    fd = os.open("f", os.O_RDWR)
    os.pwrite(fd, b"J", 0)
    assert os.pread(fd, 100, 0) == b"Jello"
    os.pwrite(fd, b"end", 10_000)
    assert os.fstat(fd).st_size == 10_003
    assert os.pread(fd, 10_003, 0) == b"Jello" + bytes(9995) + b"end"
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)


@case
def large_file():
    part = bytes(range(256)) * 4096
    with open("f", "wb") as file:
        for i in range(20):
            file.write(bytes([i]) + part[1:])
    with open("f", "rb") as file:
        for i in range(20):
            assert file.read(len(part)) == bytes([i]) + part[1:]
        assert file.read(1) == b""


@case
def truncate_on_open():
    put("f", b"x" * 9000)
    fd = os.open("f", os.O_WRONLY | os.O_TRUNC)
    assert os.fstat(fd).st_size == 0
    os.write(fd, b"ab")
    os.close(fd)
    assert get("f") == b"ab"
    for i in range(50):
        put("f", b"%d" % i)
        assert get("f") == b"%d" % i


@case
def append():
    put("f", b"one")
    fd = os.open("f", os.O_WRONLY | os.O_APPEND)
    other = os.open("f", os.O_WRONLY | os.O_APPEND)
    for i in range(100):
        os.write(fd if i % 2 else other, b"%02d" % i)
    os.close(fd)
    os.close(other)
    assert get("f") == b"one" + b"".join(b"%02d" % i for i in range(100))


@case
def direct_io():
    fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buf = mmap.mmap(-1, 4 * BLOCK)
    buf.write(b"d" * 4 * BLOCK)
    assert os.writev(fd, [buf]) == 4 * BLOCK
    os.close(fd)
    assert get("f") == b"d" * 4 * BLOCK
    put("f", b"e" * BLOCK, os.O_WRONLY)
    fd = os.open("f", os.O_RDONLY | os.O_DIRECT)
    assert os.preadv(fd, [buf], 0) == 4 * BLOCK
    assert buf[:BLOCK + 1] == b"e" * BLOCK + b"d"
    os.close(fd)


@case
def memory_map():
    put("f", bytes(3 * BLOCK))
    fd = os.open("f", os.O_RDWR)
    shared = mmap.mmap(fd, 3 * BLOCK)
    shared[BLOCK:BLOCK + 5] = b"world"
    assert os.pread(fd, 5, BLOCK) == b"world"
    shared.flush()
    os.pwrite(fd, b"W", BLOCK)
    assert shared[BLOCK:BLOCK + 5] == b"World"
    shared.close()
    private = mmap.mmap(fd, BLOCK, mmap.MAP_PRIVATE)
    private[0] = 1
    private.close()
    os.close(fd)
    assert get("f")[:BLOCK + 5] == bytes(BLOCK) + b"World"


@case
def truncate():
    put("f", b"x" * 10_000)
    os.truncate("f", 5000)
    assert get("f") == b"x" * 5000
    os.truncate("f", 9000)
    assert get("f") == b"x" * 5000 + bytes(4000)
    os.truncate("f", 1 << 40)
    assert os.stat("f").st_size == 1 << 40
    os.truncate("f", 0)
    assert get("f") == b"" and os.stat("f").st_size == 0
    fails(errno.EISDIR, os.truncate, ".", 0)


@case
def seek_without_sync():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 20)
    os.pwrite(fd, b"x" * BLOCK, 64 * BLOCK)
    assert holes(fd, 1 << 20) == [(64 * BLOCK, 65 * BLOCK)]
    os.pwrite(fd, b"y" * BLOCK, 128 * BLOCK)
    assert holes(fd, 1 << 20) == [(64 * BLOCK, 65 * BLOCK),
                                  (128 * BLOCK, 129 * BLOCK)]
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    assert os.lseek(fd, 64 * BLOCK, os.SEEK_HOLE) == 65 * BLOCK
    fails(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 200 * BLOCK, os.SEEK_DATA)
    os.close(fd)


@case
def punch():
    put("f", b"x" * 16 * BLOCK)
    fd = os.open("f", os.O_RDWR)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4 * BLOCK, 4 * BLOCK)
    assert holes(fd, 16 * BLOCK) == [(0, 4 * BLOCK), (8 * BLOCK, 16 * BLOCK)]
    assert os.fstat(fd).st_size == 16 * BLOCK
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100, 50)
    want = bytearray(b"x" * 16 * BLOCK)
    want[4 * BLOCK:8 * BLOCK] = bytes(4 * BLOCK)
    want[100:150] = bytes(50)
    assert get("f") == want
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 15 * BLOCK, 1 << 30)
    want[15 * BLOCK:] = bytes(BLOCK)
    assert get("f") == want
    os.close(fd)


@case
def allocate():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    fallocate(fd, 0, 0, 8 * BLOCK)
    assert os.fstat(fd).st_size == 8 * BLOCK
    assert os.pread(fd, 8 * BLOCK, 0) == bytes(8 * BLOCK)
    fallocate(fd, KEEP_SIZE, 8 * BLOCK, 8 * BLOCK)
    assert os.fstat(fd).st_size == 8 * BLOCK
    os.pwrite(fd, b"z", 3)
    fallocate(fd, 0, 0, BLOCK)
    assert os.pread(fd, 4, 0) == b"\0\0\0z"
    try:
        fallocate(fd, COLLAPSE, 0, BLOCK)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.EINVAL)
    os.close(fd)


@case
def zero_range():
    put("f", b"x" * 8 * BLOCK)
    fd = os.open("f", os.O_RDWR)
    fallocate(fd, ZERO_RANGE, BLOCK + 7, 2 * BLOCK)
    want = b"x" * (BLOCK + 7) + bytes(2 * BLOCK)
    want += b"x" * (8 * BLOCK - len(want))
    assert get("f") == want
    fallocate(fd, ZERO_RANGE, 7 * BLOCK, 4 * BLOCK)
    assert os.fstat(fd).st_size == 11 * BLOCK
    fallocate(fd, ZERO_RANGE | KEEP_SIZE, 11 * BLOCK, BLOCK)
    assert os.fstat(fd).st_size == 11 * BLOCK
    assert get("f") == want[:7 * BLOCK] + bytes(4 * BLOCK)
    os.close(fd)


@case
def copy_range():
    data = os.urandom(300_000)
    put("f", data)
    source = os.open("f", os.O_RDONLY)
    target = os.open("g", os.O_RDWR | os.O_CREAT)
    done = 0
    while done < len(data):
        count = os.copy_file_range(source, target, len(data) - done,
                                   done, done)
        assert count > 0
        done += count
    assert get("g") == data
    assert os.copy_file_range(source, target, 10, len(data), 0) == 0
    assert os.copy_file_range(source, target, 1000, 5000, 100) == 1000
    assert get("g") == data[:100] + data[5000:6000] + data[1100:]
    os.close(source)
    os.close(target)
    shutil.copyfile("f", "h")
    assert get("h") == data


@case
def rename():
    put("a", b"a")
    put("b", b"b")
    number = os.stat("a").st_ino
    os.rename("a", "b")
    assert get("b") == b"a" and not os.path.exists("a")
    assert os.stat("b").st_ino == number
    os.mkdir("d")
    os.mkdir("e")
    put("d/x", b"x")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rename, "e", "d")
    os.rename("d", "e")
    assert os.listdir("e") == ["x"]
    fails(errno.EINVAL, os.rename, "e", "e/below")
    fails(errno.EISDIR, os.rename, "b", "e")
    fails(errno.ENOTDIR, os.rename, "e", "b")
    fails(errno.ENOENT, os.rename, "none", "b")
    os.rename("e/x", "y")
    assert os.listdir("e") == [] and get("y") == b"x"


@case
def rename_flags():
    put("a", b"a")
    os.mkdir("d")
    put("d/x", b"x")
    fails(errno.EEXIST, renameat2, "a", "d", NOREPLACE)
    renameat2("a", "c", NOREPLACE)
    renameat2("c", "d", EXCHANGE)
    assert get("d") == b"a" and os.listdir("c") == ["x"]
    fails(errno.ENOENT, renameat2, "d", "none", EXCHANGE)


@case
def hard_links():
    put("a", b"one")
    os.link("a", "b")
    assert os.stat("a").st_nlink == 2
    assert os.stat("a").st_ino == os.stat("b").st_ino
    put("b", b"two")
    assert get("a") == b"two"
    os.rename("a", "b")
    assert sorted(os.listdir(".")) == ["a", "b"]
    os.unlink("a")
    assert os.stat("b").st_nlink == 1 and get("b") == b"two"
    os.mkdir("d")
    fails(errno.EPERM, os.link, "d", "e")
    os.link("b", "d/b")
    assert os.stat("b").st_nlink == 2
    os.symlink("b", "l")
    os.link("l", "m", follow_symlinks=False)
    assert os.readlink("m") == "b" and os.lstat("l").st_nlink == 2


@case
def symlinks():
    os.symlink("target", "l")
    assert os.readlink("l") == "target"
    fails(errno.ENOENT, os.stat, "l")
    put("target", b"t")
    assert get("l") == b"t"
    fails(errno.EEXIST, os.symlink, "x", "l")
    # XFS takes no more than 1,023 bytes.
    os.symlink("x" * 1023, "long")
    assert os.readlink("long") == "x" * 1023
    os.symlink("loop", "loop")
    fails(errno.ELOOP, os.stat, "loop")
    os.unlink("l")
    assert get("target") == b"t"


@case
def directories():
    os.makedirs("a/b/c")
    fails(errno.EEXIST, os.mkdir, "a")
    fails(errno.ENOTEMPTY, os.rmdir, "a")
    fails(errno.EISDIR, os.unlink, "a")
    put("f", b"")
    fails(errno.ENOTDIR, os.rmdir, "f")
    assert os.stat("a").st_nlink == 3
    os.rmdir("a/b/c")
    os.rmdir("a/b")
    os.rmdir("a")
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    for i in range(3000):
        os.mknod(f"n{i}")
    names = set()
    for entry in os.scandir("."):
        assert entry.name not in names
        assert entry.inode() == os.lstat(entry.name).st_ino
        names.add(entry.name)
    assert len(names) == 3001
    # Removing while listing leaves nothing out.
    for entry in os.scandir("."):
        os.unlink(entry.name)
    assert os.listdir(".") == []


@case
def special_files():
    os.mkfifo("p", 0o640)
    assert stat.S_ISFIFO(os.lstat("p").st_mode)
    reader = os.open("p", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open("p", os.O_WRONLY)
    os.write(writer, b"through")
    assert os.read(reader, 10) == b"through"
    os.close(reader)
    os.close(writer)
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")
    assert stat.S_ISSOCK(os.lstat("s").st_mode)
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("s")
    client.close()
    server.close()
    os.rename("p", "q")
    os.unlink("s")
    assert os.listdir(".") == ["q"]


@root_case
def devices():
    os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    st = os.lstat("null")
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 3)
    os.mknod("blk", stat.S_IFBLK | 0o600, os.makedev(7, 1))
    assert os.lstat("blk").st_rdev == os.makedev(7, 1)


@case
def modes():
    put("f", b"")
    for mode in (0o600, 0o755, 0o4755, 0o2755, 0o000, 0o644):
        os.chmod("f", mode)
        assert stat.S_IMODE(os.stat("f").st_mode) == mode
    os.umask(0o027)
    put("u", b"", mode=0o666)
    os.mkdir("d", 0o777)
    os.umask(0o022)
    assert stat.S_IMODE(os.stat("u").st_mode) == 0o640
    assert stat.S_IMODE(os.stat("d").st_mode) == 0o750


@root_case
def owners():
    put("f", b"x")
    os.chown("f", 1234, 4321)
    st = os.stat("f")
    assert (st.st_uid, st.st_gid) == (1234, 4321)
    os.chmod("f", 0o6755)
    os.chown("f", 1235, -1)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o755
    os.symlink("f", "l")
    os.lchown("l", 77, 78)
    assert os.lstat("l").st_uid == 77 and os.stat("f").st_uid == 1235


@root_case
def other_user():
    os.chmod(".", 0o777)
    os.mkdir("group")
    os.chown("group", -1, 4321)
    os.chmod("group", 0o2777)
    put("suid", b"x")
    os.chmod("suid", 0o4777)
    put("closed", b"x", mode=0o600)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(1000)
            os.setuid(1000)
            put("mine", b"m")
            put("group/g", b"g")
            put("suid", b"y", os.O_WRONLY)
            fails(errno.EACCES, os.open, "closed", os.O_RDONLY)
            fails(errno.EPERM, os.chown, "mine", 0, 0)
            fails(errno.EPERM, os.chmod, "suid", 0o777)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert (os.stat("mine").st_uid, os.stat("mine").st_gid) == (1000, 1000)
    assert os.stat("group/g").st_gid == 4321
    assert stat.S_IMODE(os.stat("suid").st_mode) == 0o777


@case
def times():
    put("f", b"x")
    os.utime("f", ns=(1_000_000_007, 1_500_000_000_123_456_789))
    st = os.stat("f")
    assert st.st_mtime_ns == 1_500_000_000_123_456_789
    assert st.st_atime_ns == 1_000_000_007
    before = os.stat("f").st_ctime_ns
    put("f", b"y", os.O_WRONLY)
    assert os.stat("f").st_mtime_ns > 1_500_000_000_123_456_789
    assert os.stat("f").st_ctime_ns >= before
    os.symlink("f", "l")
    os.utime("l", ns=(5, 6), follow_symlinks=False)
    assert os.lstat("l").st_mtime_ns == 6
    os.mkdir("d")
    os.utime("d", ns=(5, 6))
    put("d/x", b"")
    assert os.stat("d").st_mtime_ns > 6
    fd = os.open("f", os.O_RDWR)
    os.write(fd, b"late")
    os.utime(fd, ns=(7, 8))
    os.close(fd)
    assert os.stat("f").st_mtime_ns == 8


@case
def attributes():
    put("f", b"")
    os.setxattr("f", "user.one", b"1")
    os.setxattr("f", "user.bytes", bytes(range(256)))
    os.setxattr("f", "user.empty", b"")
    assert os.getxattr("f", "user.bytes") == bytes(range(256))
    assert os.getxattr("f", "user.empty") == b""
    have = [n for n in os.listxattr("f") if n.startswith("user.")]
    assert sorted(have) == ["user.bytes", "user.empty", "user.one"]
    fails(errno.EEXIST, os.setxattr, "f", "user.one", b"", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, "f", "user.x", b"", os.XATTR_REPLACE)
    os.removexattr("f", "user.one")
    fails(errno.ENODATA, os.getxattr, "f", "user.one")
    fails(errno.ENODATA, os.removexattr, "f", "user.one")
    os.mkdir("d")
    os.setxattr("d", "user.dir", b"d")
    assert os.getxattr("d", "user.dir") == b"d"
    if os.geteuid() == 0:
        os.setxattr("f", "trusted.t", b"t")
        assert os.getxattr("f", "trusted.t") == b"t"


@case
def open_unlinked():
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before")
    os.unlink("f")
    put("f", b"another")
    os.pwrite(fd, b"after!", 0)
    assert os.pread(fd, 10, 0) == b"after!"
    assert os.fstat(fd).st_nlink == 0
    os.ftruncate(fd, 3)
    os.fchmod(fd, 0o600)
    os.fsync(fd)
    assert os.fstat(fd).st_size == 3
    assert get("f") == b"another"
    os.close(fd)
    put("g", b"old")
    old = os.open("g", os.O_RDONLY)
    put("h", b"new")
    os.rename("h", "g")
    assert os.read(old, 10) == b"old" and get("g") == b"new"
    os.close(old)


@case
def names_of_any_bytes():
    names = [bytes([b]) * 3 for b in range(1, 256)
             if b not in (ord("/"), ord("."))]
    names += [b"n" * 255, b"-rf", b" ", b"...", b"\xff\xfe", "ÄÖ".encode(),
              b"a\nb", b"%s%n", b"A", b"a", b".hidden"]
    os.mkdir(b"d")
    for name in names:
        put(b"d/" + name, name)
    assert sorted(os.listdir(b"d")) == sorted(names)
    for name in names:
        assert get(b"d/" + name) == name
        os.rename(b"d/" + name, b"moved")
        os.rename(b"moved", b"d/" + name)
    fails(errno.ENAMETOOLONG, os.open, b"n" * 256, os.O_CREAT)


@case
def locks():
    put("f", b"x" * 100)
    one = os.open("f", os.O_RDWR)
    two = os.open("f", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    fails(errno.EAGAIN, fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_UN)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fails(errno.EAGAIN, fcntl.lockf, two,
                  fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
            fcntl.lockf(two, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(one)
    os.close(two)


@case
def statfs():
    vfs = os.statvfs(".")
    assert vfs.f_blocks > 0 and 0 < vfs.f_bavail <= vfs.f_blocks
    assert vfs.f_namemax == 255


def main():
    os.chdir(sys.argv[1])
    wanted = sys.argv[2:]
    failed = 0
    for function in CASES:
        name = function.__name__
        if wanted and name not in wanted:
            continue
        os.mkdir(name)
        os.chdir(name)
        try:
            function()
        except (AssertionError, OSError):
            traceback.print_exc()
            print(f"failed: {name}", flush=True)
            failed += 1
        os.umask(0o022)
        os.chdir("..")
    print(f"{failed} cases failed" if failed else "all cases passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
