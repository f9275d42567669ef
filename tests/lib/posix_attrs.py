# SPDX-License-Identifier: Apache-2.0
"""Attributes: times, modes, owners, extended attributes, ACLs."""

import ctypes
import errno
import os
import stat
import struct

from posix_side import (CHOWN_OF_NONE, KEEP_SIZE, PUNCH_HOLE, UTIME_NOW,
                        UTIME_OMIT, ZERO_RANGE, Side, spit)
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def acl(*entries):
    """entries: (tag, perm, id)"""
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *(e if len(e) == 3 else (*e, 0xFFFFFFFF)))
        for e in entries)


U, UN, G, GN, M, O = 1, 2, 4, 8, 16, 32


def case_what_moves_times(side: Side):
    spit("f", b"x" * 10000)
    os.mkdir("d")
    os.mkdir("e")
    fd = os.open("f", os.O_RDWR)
    side.moves("f", os.chmod, "f", 0o600)
    side.moves("f", os.chmod, "f", 0o600)
    side.moves("f", os.chown, "f", 5, 6)
    if CHOWN_OF_NONE:
        side.moves("f", os.chown, "f", -1, -1)
    side.moves("f", os.link, "f", "g")
    side.moves("f", os.rename, "f", "h")
    side.moves("h", os.rename, "h", "f")
    side.moves("f", os.unlink, "g")
    side.moves("f", "spit", "f", b"y")
    side.moves("f", os.write, fd, b"abc")
    side.moves("f", os.write, fd, b"")
    side.moves("f", os.pwrite, fd, b"abc", 1 << 20)
    side.moves("f", os.read, fd, 10)
    side.moves("f", os.truncate, "f", 5000)
    side.moves("f", os.ftruncate, fd, 5000)
    side.moves("f", os.truncate, "f", 9000)
    side.moves("f", "fallocate", fd, 0, 0, 5000)
    side.moves("f", "fallocate", fd, 0, 0, 50000)
    side.moves("f", "fallocate", fd, KEEP_SIZE, 50000, 5000)
    side.moves("f", "fallocate", fd, KEEP_SIZE | PUNCH_HOLE, 10, 5000)
    side.moves("f", "fallocate", fd, KEEP_SIZE | ZERO_RANGE, 10, 5000)
    side.moves("f", os.setxattr, "f", "user.a", b"v")
    side.moves("f", os.removexattr, "f", "user.a")
    side.moves("f", os.utime, "f", ns=(5, 6))
    side.moves("f", os.open, "f", os.O_WRONLY | os.O_TRUNC)
    side.moves("f", os.open, "f", os.O_WRONLY | os.O_TRUNC)
    side.moves("f", os.open, "f", os.O_RDWR | os.O_CREAT)
    side.moves("f", os.fsync, fd)


def case_what_moves_times_of_directories(side: Side):
    os.mkdir("d")
    os.mkdir("e")
    for name in ("d", "e"):
        spit(f"{name}/x", b"x")
    side.moves("d", "spit", "d/new", b"")
    side.moves("d", "spit", "d/new", b"data")
    side.moves("d", os.mkdir, "d/sub")
    side.moves("d", os.mkdir, "d/sub/sub")
    side.moves("d", os.rmdir, "d/sub/sub")
    side.moves("d", os.rmdir, "d/sub")
    side.moves("d", os.rename, "d/new", "d/newer")
    side.moves("d", os.rename, "d/newer", "e/newer")
    side.moves("d", os.rename, "e/newer", "d/newer")
    side.moves("e", os.rename, "d/newer", "e/newer")
    side.moves("e", os.rename, "e/newer", "d/newer")
    side.moves("d", os.link, "d/newer", "d/link")
    side.moves("d", os.unlink, "d/link")
    side.moves("d", os.symlink, "a", "d/symlink")
    side.moves("d", os.mknod, "d/node")
    side.moves("d", os.rename, "d/node", "d/x")
    side.moves("d/x", os.rename, "d/x", "d/y")
    side.moves("d", os.rename, "d", "dd")
    os.rename("dd", "d")
    side.moves("d", os.listdir, "d")
    side.moves("d", os.mkdir, "d/y")
    side.moves("d", os.unlink, "d/none")
    side.moves("d", "renameat2", "d/y", "e/x", 2)
    side.moves("e", "renameat2", "d/y", "e/x", 2)
    os.mkdir("d/m")
    side.moves("d/m", os.rename, "d/m", "e/m")
    side.moves("e/m", os.rename, "e/m", "d/m")


def case_set_times(side: Side):
    for name, make in (("f", lambda n: spit(n, b"")), ("d", os.mkdir),
                       ("p", os.mkfifo)):
        make(name)
        for times in (((1, 2), (3, 4)), ((0, 0), (0, 0)),
                      ((-1, 0), (-1, 999_999_999)),
                      ((-(1 << 31), 0), (-(1 << 31), 1)),
                      ((-(1 << 31) - 1, 0), (-(1 << 33), 1)),
                      (((1 << 31) - 1, 0), (1 << 31, 1)),
                      ((1 << 32, 0), ((1 << 32) + 5, 123_456_789)),
                      ((15032385535, 999_999_999), (15032385535, 7)),
                      ((15032385536, 0), (1 << 40, 7)),
                      ((1, -1), (1, 0)), ((1, 1_000_000_000), (1, 0)),
                      ((7, 7), (0, UTIME_OMIT)), ((0, UTIME_OMIT), (8, 8)),
                      ((0, UTIME_OMIT), (0, UTIME_OMIT))):
            # Modification times of files are the kernel's, which knows no
            # bounds of the stores.
            if name == "f" and not -(1 << 31) < times[1][0] < 15032385535:
                continue
            side.utimensat(name, times)
            side.times(name)
    os.symlink("f", "l")
    side.utimensat("l", ((5, 5), (6, 6)), 0x100)
    side.times("l")
    side.times("f")
    side.utimensat("l", ((50, 5), (60, 6)))
    side.times("f")
    side.moves("f", "utimensat", "f", ((0, UTIME_NOW), (0, UTIME_OMIT)))
    side.moves("f", "utimensat", "f", ((0, UTIME_OMIT), (0, UTIME_NOW)))
    side.moves("f", "utimensat", "f", ((0, UTIME_NOW), (0, UTIME_NOW)))
    side.moves("f", "utimensat", "f", None)
    side.moves("f", "utimensat", "f", ((0, UTIME_OMIT), (0, UTIME_OMIT)))
    side.moves("l", "utimensat", "l", ((0, UTIME_OMIT), (0, UTIME_NOW)), 0x100)
    st = os.stat("f")
    side.note("a later than m", st.st_atime_ns > st.st_mtime_ns)


def case_times_and_pages(side: Side):
    """A time that was set stays, also when older pages are written later."""
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    side.write(fd, b"x" * 10000)
    side.futimens(fd, ((5, 6), (7, 8)))
    side.times("f")
    side.fsync(fd)
    side.times("f")
    side.call("fallocate", fd, KEEP_SIZE | PUNCH_HOLE, 0, 100)
    side.futimens(fd, ((5, 6), (9, 10)))
    side.chmod("f", 0o600)
    side.chown("f", 4, 5)
    side.times("f")
    os.close(fd)
    side.times("f")
    side.rename("f", "g")
    side.times("g")
    side.truncate("g", 10001)
    side.note("kept", os.stat("g").st_mtime_ns == 9_000_000_010)
    side.utimensat("g", ((5, 6), (9, 10)))
    side.setxattr("g", "user.x", b"")
    side.times("g")


def case_modes(side: Side):
    spit("f", b"")
    os.mkdir("d")
    os.mkfifo("p")
    os.symlink("f", "l")
    for name in ("f", "d", "p"):
        for mode in (0, 0o7777, 0o4000, 0o2000, 0o1000, 0o6755, 0o644):
            side.chmod(name, mode)
            side.lstat(name)
    side.chmod("l", 0o600)
    side.lstat("f")
    for umask in (0, 0o022, 0o077, 0o777):
        os.umask(umask)
        n = f"{umask:o}"
        side.open("f" + n, os.O_CREAT, 0o7777)
        side.mkdir("d" + n, 0o7777)
        side.mkfifo("p" + n, 0o7777)
        side.mknod("n" + n, stat.S_IFREG | 0o7777)
        side.symlink("x", "l" + n)
        for kind in "fdpnl":
            side.lstat(kind + n)


def case_setid_and_root(side: Side):
    """Root keeps the bits on writing, and loses them on chown."""
    for mode in (0o4755, 0o2755, 0o6755, 0o2644, 0o6644, 0o6777):
        name = f"f{mode:o}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        for call in (("write", b"x"), ("ftruncate", 3000),
                     ("fallocate", 0, 0, 100),
                     ("fallocate", KEEP_SIZE | PUNCH_HOLE, 0, 100)):
            os.chmod(name, mode)
            side.call(call[0], fd, *call[1:])
            side.lstat(name)
        for ids in ((1, 1), (-1, 5), (6, -1), (-1, -1), (6, 5)):
            os.chmod(name, mode)
            side.chown(name, *ids)
            side.lstat(name)
    os.mkdir("d")
    os.chmod("d", 0o6777)
    side.chown("d", 4, 5)
    side.lstat("d")


def case_xattr_names(side: Side):
    spit("f", b"")
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("p")
    os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    names = ["user.a", "user.", "user", "trusted.a", "trusted.", "security.a",
             "security.selinux", "system.a", "nonsense.a", "", ".", "user.é",
             "user." + "n" * 250, "user." + "n" * 251, "USER.a",
             "system.posix_acl_access", "system.posix_acl_default",
             "security.capability", "security.ima", "btrfs.x", "os2.a"]
    for what in "fdlpc":
        for name in names:
            side.lsetxattr(what, name, b"value")
            side.lgetxattr(what, name)
        side.llistxattr(what)
        for name in names:
            side.lremovexattr(what, name)
        side.llistxattr(what)


def case_xattr_sizes(side: Side):
    spit("f", b"")
    for size in (0, 1, 100, 1000, 3000, 3900, 65535, 65536, 65537):
        side.setxattr("f", "user.s", b"v" * size)
        side.getxattr("f", "user.s")
    side.setxattr("f", "user.s", b"v" * 100)
    for size in (0, 1, 99, 100, 101, 65536):
        side.getxattr_len("f", "user.s", size)
    for size in (0, 1, 6, 7, 100):
        side.listxattr_len("f", size)
    side.getxattr_len("f", "user.none", 0)
    side.setxattr("f", "user.s", b"2", os.XATTR_CREATE)
    side.setxattr("f", "user.t", b"2", os.XATTR_CREATE)
    side.setxattr("f", "user.u", b"2", os.XATTR_REPLACE)
    side.setxattr("f", "user.t", b"3", os.XATTR_REPLACE)
    side.setxattr("f", "user.t", b"3", 3)
    side.setxattr("f", "user.t", b"3", 4)
    for i in range(60):
        side.setxattr("f", f"user.many{i}", b"%d" % i)
    side.llistxattr("f")
    for i in range(0, 60, 2):
        side.removexattr("f", f"user.many{i}")
    side.llistxattr("f")
    side.rename("f", "g")
    side.llistxattr("g")
    fd = os.open("g", os.O_RDONLY)
    side.unlink("g")
    side.note("still", sorted(os.listxattr(fd)))
    os.setxattr(fd, "user.late", b"late")
    side.note("late", os.getxattr(fd, "user.late"))


def case_acl(side: Side):
    spit("f", b"")
    os.mkdir("d")
    os.symlink("f", "l")
    good = acl((U, 6), (UN, 5, 77), (G, 4), (GN, 6, 88), (M, 7), (O, 0))
    small = acl((U, 7), (G, 5), (O, 5))
    for what in ("f", "d", "l"):
        for name in (ACCESS, DEFAULT):
            for value in (good, small, acl((U, 6), (G, 4)), b"", b"junk",
                          acl((U, 6), (UN, 5, 77), (G, 4), (O, 0)),
                          acl((U, 6), (G, 4), (O, 9)),
                          acl((G, 4), (U, 6), (O, 4)),
                          struct.pack("<I", 1), struct.pack("<I", 2)):
                side.lsetxattr(what, name, value)
                side.lgetxattr(what, name)
                side.lstat(what)
        side.llistxattr(what)
    os.setxattr("f", ACCESS, good)
    for mode in (0o600, 0o770, 0o7, 0o2770):
        side.chmod("f", mode)
        side.lgetxattr("f", ACCESS)
        side.lstat("f")
    side.lremovexattr("f", ACCESS)
    side.lstat("f")
    side.lremovexattr("f", ACCESS)
    side.lremovexattr("f", DEFAULT)


def case_default_acl(side: Side):
    os.mkdir("d")
    os.setxattr("d", DEFAULT, acl((U, 7), (UN, 7, 77), (G, 5), (GN, 6, 88),
                                  (M, 7), (O, 4)))
    for umask in (0, 0o022, 0o777):
        os.umask(umask)
        n = f"{umask:o}"
        side.spit("d/f" + n, b"", 0o666)
        side.spit("d/g" + n, b"", 0o600)
        side.spit("d/h" + n, b"", 0o7777)
        side.mkdir("d/d" + n, 0o777)
        side.mkdir("d/e" + n, 0o2700)
        side.mkfifo("d/p" + n, 0o640)
        side.mknod("d/n" + n, stat.S_IFREG | 0o664)
        side.symlink("x", "d/l" + n)
        for kind in "fghdepnl":
            side.lstat(f"d/{kind}{n}")
            side.lgetxattr(f"d/{kind}{n}", ACCESS)
            side.lgetxattr(f"d/{kind}{n}", DEFAULT)
    os.umask(0o077)
    os.setxattr("d", DEFAULT, acl((U, 7), (G, 5), (O, 4)))
    side.spit("d/simple", b"", 0o666)
    side.mkdir("d/simpled", 0o777)
    for name in ("d/simple", "d/simpled"):
        side.lstat(name)
        side.llistxattr(name)
    side.rename("d/simpled", "out")
    side.llistxattr("out")


def case_capabilities(side: Side):
    cap = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    for change in (("write", b"x"), ("ftruncate", 5), ("fallocate", 0, 0, 50),
                   ("fchown", 1, 1), ("fchmod", 0o700), ("fsync",)):
        fd = os.open("f", os.O_RDWR | os.O_CREAT)
        side.setxattr("f", "security.capability", cap)
        side.getxattr("f", "security.capability")
        side.call(change[0], fd, *change[1:])
        side.getxattr("f", "security.capability")
        side.llistxattr("f")
        os.close(fd)


def case_link_counts(side: Side):
    side.lstat(".")
    for i in range(5):
        side.mkdir(f"d{i}")
        side.lstat(".")
    spit("f", b"")
    side.lstat(".")
    side.rename("d0", "d1/d0")
    side.lstat(".")
    side.lstat("d1")
    side.rename("d2", "d3")
    side.lstat(".")
    side.renameat2("d1/d0", "f", 2)
    side.lstat(".")
    side.lstat("d1")
    side.rmdir("d4")
    side.lstat(".")
    fd = os.open("d3", os.O_RDONLY)
    side.rmdir("d3")
    side.fstat(fd)
    spit("g", b"")
    fd = os.open("g", os.O_RDONLY)
    side.link("g", "h")
    side.fstat(fd)
    side.unlink("g")
    side.fstat(fd)
    spit("i", b"")
    side.rename("i", "h")
    side.fstat(fd)


def case_statvfs(side: Side):
    side.statvfs(".")
    vfs = os.statvfs(".")
    side.note("sane", [vfs.f_bfree <= vfs.f_blocks, vfs.f_bavail > 0,
                       vfs.f_ffree > 0, vfs.f_files >= vfs.f_ffree])


def case_statx(side: Side):
    class Statx(ctypes.Structure):
        _fields_ = [("mask", ctypes.c_uint32), ("blksize", ctypes.c_uint32),
                    ("attributes", ctypes.c_uint64),
                    ("nlink", ctypes.c_uint32), ("uid", ctypes.c_uint32),
                    ("gid", ctypes.c_uint32), ("mode", ctypes.c_uint16),
                    ("spare", ctypes.c_uint16), ("ino", ctypes.c_uint64),
                    ("size", ctypes.c_uint64), ("rest", ctypes.c_uint8 * 208)]
    libc = ctypes.CDLL(None, use_errno=True)
    spit("f", b"abc")
    for name in (b"f", b".", b"none"):
        for flags in (0x100, 0x2100, 0x4100):
            buf = Statx()
            r = libc.statx(-100, name, flags, 0x7FF, ctypes.byref(buf))
            side.note("statx", [r, ctypes.get_errno() if r else 0,
                                buf.mask & 0x7FF, oct(buf.mode), buf.uid,
                                buf.size if name == b"f" else 0,
                                buf.blksize])


def case_chown_ids(side: Side):
    spit("f", b"")
    for ids in ((0, 0), (1, -1), (-1, 2), (65534, 65534), (65536, 65537),
                (1 << 31, 1 << 31), ((1 << 32) - 2, (1 << 32) - 2)):
        side.chown("f", *ids)
        side.lstat("f")


def case_seconds_of_blocks(side: Side):
    """st_blocks once everything is on the disk; a mount says 1 for none."""
    for name, size in (("a", 0), ("b", 1), ("c", 4096), ("d", 100_000)):
        spit(name, b"x" * size)
        fd = os.open(name, os.O_RDWR)
        os.fsync(fd)
        side.note(f"blocks of {name}", max(1, os.stat(name).st_blocks))
        os.ftruncate(fd, 1 << 30)
        os.fsync(fd)
        side.note(f"blocks of {name}", max(1, os.stat(name).st_blocks))
        os.close(fd)
    side.note("blksize", os.stat("a").st_blksize)


def case_unlinked_attributes(side: Side):
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o640)
    os.write(fd, b"abc")
    os.unlink("f")
    side.fstat(fd)
    side.fchmod(fd, 0o4711)
    side.fchown(fd, 7, 8)
    side.fstat(fd)
    side.futimens(fd, ((5, 6), (7, 8)))
    side.note("mtime", os.fstat(fd).st_mtime_ns)
    side.ftruncate(fd, 100)
    side.fstat(fd)
    side.call("fallocate", fd, 0, 50, 5000)
    side.fstat(fd)
    side.pread(fd, 200, 0)
    side.fsync(fd)
    assert errno
