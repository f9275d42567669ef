# SPDX-License-Identifier: Apache-2.0
"""What ordinary users may and may not do, and what becomes of set-id bits."""

import os
import stat
import struct

from posix_attrs import ACCESS, DEFAULT, G, GN, M, O, U, UN, acl
from posix_side import (CHOWN_OF_NONE, EXTRA, GROUP, KEEP_SIZE, OTHER,
                        PUNCH_HOLE, USER, UTIME_NOW, UTIME_OMIT, ZERO_RANGE, Side, spit)


def owned(path, uid, gid, mode):
    os.chown(path, uid, gid, follow_symlinks=False)
    if mode is not None:
        os.chmod(path, mode)


def try_file(side, name):
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR,
                  os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_NOATIME,
                  os.O_RDONLY | os.O_TRUNC):
        fd = side.open(name, flags)
        if fd is not None:
            os.close(fd)
    for mode in (os.R_OK, os.W_OK, os.X_OK):
        side.access(name, mode)
        side.faccessat(name, mode, 0x200)
    side.truncate(name, 1)
    side.utimensat(name, None)
    side.utimensat(name, ((0, UTIME_NOW), (0, UTIME_NOW)))
    side.utimensat(name, ((0, UTIME_NOW), (0, UTIME_OMIT)))
    side.utimensat(name, ((0, UTIME_OMIT), (0, UTIME_OMIT)))
    side.utimensat(name, ((1, 2), (3, 4)))
    side.setxattr(name, "user.a", b"v")
    side.getxattr(name, "user.a")
    side.removexattr(name, "user.a")
    side.setxattr(name, "trusted.a", b"v")
    side.getxattr(name, "trusted.a")
    side.setxattr(name, "security.a", b"v")
    side.llistxattr(name)
    side.call("execute", name if "/" in name else "./" + name)


def case_modes_of_files(side: Side):
    os.chmod(".", 0o777)
    for mode in (0, 0o400, 0o200, 0o100, 0o040, 0o020, 0o010, 0o004, 0o002,
                 0o001, 0o444, 0o222, 0o666, 0o744, 0o755, 0o477):
        for uid, gid in ((USER, GROUP), (0, GROUP), (0, EXTRA), (0, 0)):
            name = f"f{mode:o}-{uid}-{gid}"
            spit(name, b"#!/bin/sh\nexit 3\n")
            owned(name, uid, gid, mode)

            def run(side, name=name):
                try_file(side, name)
                side.chmod(name, 0o644)

            side.as_user(run, groups=[EXTRA])
            side.lstat(name)


def try_directory(side, top):
    side.listdir(top)
    side.lstat(f"{top}/theirs")
    side.slurp(f"{top}/theirs")
    side.spit(f"{top}/new", b"new")
    side.mkdir(f"{top}/newdir")
    side.mkfifo(f"{top}/newfifo")
    side.symlink("x", f"{top}/newlink")
    side.link(f"{top}/mine", f"{top}/hard")
    side.link(f"{top}/theirs", f"{top}/hard2")
    side.mknod(f"{top}/dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    side.mknod(f"{top}/blk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    for name in ("mine", "theirs", "mydir", "theirdir", "none"):
        side.rename(f"{top}/{name}", f"{top}/{name}2")
        side.rename(f"{top}/{name}2", f"{top}/{name}")
        side.rename(f"{top}/{name}", "/dev/shm/never")
        side.rename(f"{top}/new", f"{top}/{name}")
        side.renameat2(f"{top}/{name}", f"{top}/mine", 2)
        side.renameat2(f"{top}/{name}", f"{top}/mine", 1)
        side.unlink(f"{top}/{name}")
        side.rmdir(f"{top}/{name}")
    side.chmod(top, 0o777)
    side.utimensat(top, ((1, 2), (3, 4)))
    side.setxattr(top, "user.a", b"v")
    side.chdir(top)


def case_modes_of_directories(side: Side):
    os.chmod(".", 0o777)
    for mode in (0o700, 0o500, 0o300, 0o755, 0o775, 0o777, 0o1777, 0o3777,
                 0o1775, 0o711, 0o733, 0o744, 0o000, 0o2775):
        for uid, gid in ((USER, GROUP), (OTHER, EXTRA), (0, 0)):
            name = f"d{mode:o}-{uid}-{gid}"
            os.mkdir(name)
            for sub, owner in (("mine", USER), ("theirs", OTHER)):
                spit(f"{name}/{sub}", b"data", 0o644)
                os.chown(f"{name}/{sub}", owner, GROUP)
            for sub, owner in (("mydir", USER), ("theirdir", OTHER)):
                os.mkdir(f"{name}/{sub}")
                os.chown(f"{name}/{sub}", owner, GROUP)
            owned(name, uid, gid, mode)
            side.as_user(try_directory, name, groups=[EXTRA])
            side.tree(name)


def case_search_along_the_way(side: Side):
    os.makedirs("a/b/c")
    spit("a/b/c/f", b"x", 0o666)
    os.chmod("a/b/c", 0o777)
    for mode in (0o700, 0o711, 0o744):
        os.chmod("a/b", mode)

        def run(side):
            side.stat("a/b/c/f")
            side.slurp("a/b/c/f")
            side.open("a/b/c/new", os.O_CREAT | os.O_WRONLY)
            side.rename("a/b/c/f", "a/b/c/g")
            side.rename("a/b/c/g", "a/b/c/f")
            side.link("a/b/c/f", "a/b/c/h")
            side.listdir("a/b")
            side.mkdir("a/b/c/f/x")
            side.mkdir("a/b/c")
            side.mkdir("a/b/none/x")
            side.unlink("a/b/c/h")

        side.as_user(run)


def case_sticky(side: Side):
    os.mkdir("s")
    os.chmod("s", 0o1777)
    for name, uid in (("a", USER), ("b", OTHER), ("root", 0)):
        spit(f"s/{name}", b"", 0o666)
        os.chown(f"s/{name}", uid, uid)
        os.mkdir(f"s/d{name}")
        owned(f"s/d{name}", uid, uid, 0o777)
        spit(f"s/d{name}/in", b"", 0o666)

    def run(side):
        for name in ("b", "root"):
            side.unlink(f"s/{name}")
            side.rename(f"s/{name}", "s/x")
            side.rename("s/a", f"s/{name}")
            side.renameat2("s/a", f"s/{name}", 2)
            side.rmdir(f"s/d{name}")
            side.rename(f"s/d{name}", "s/x")
            side.unlink(f"s/d{name}/in")
            side.rmdir(f"s/d{name}")
            side.link(f"s/{name}", "s/l" + name)
        side.rename("s/da", "s/a")
        side.rename("s/a", "s/c")
        side.unlink("s/c")

    side.as_user(run)
    side.tree("s")
    os.chown("s", USER, 0)
    side.as_user(run)
    side.tree("s")


def case_setgid_directories(side: Side):
    os.mkdir("g")
    owned("g", 0, EXTRA, 0o2777)

    def run(side):
        os.umask(0o002)
        side.spit("g/f", b"", 0o666)
        side.mkdir("g/d", 0o777)
        side.mkdir("g/d/dd", 0o777)
        side.symlink("x", "g/l")
        side.mkfifo("g/p")
        side.open("g/x", os.O_CREAT, 0o2775)
        side.open("g/y", os.O_CREAT, 0o6755)
        side.open("g/z", os.O_CREAT, 0o2664)
        side.mknod("g/n", stat.S_IFREG | 0o2775)
        side.mkdir("g/e", 0o2777)
        side.mkdir("g/m", 0o1777)
        for name in ("f", "d", "x", "n"):
            side.chmod(f"g/{name}", 0o2777)
            side.lstat(f"g/{name}")

    side.as_user(run)
    side.tree("g")
    os.mkdir("h")
    owned("h", 0, EXTRA, 0o2777)

    def run_member(side):
        for name, mode in (("x", 0o2775), ("y", 0o6755), ("z", 0o2664)):
            side.open(f"h/{name}", os.O_CREAT, mode)
            side.lstat(f"h/{name}")
            side.chmod(f"h/{name}", 0o2777)
            side.lstat(f"h/{name}")
        # What is asked for decides, not what the umask leaves of it.
        os.umask(0o010)
        side.open("h/masked", os.O_CREAT, 0o6777)
        side.mknod("h/maskednode", stat.S_IFREG | 0o2775)
        side.mkfifo("h/maskedfifo", 0o2775)
        for name in ("masked", "maskednode", "maskedfifo"):
            side.lstat(f"h/{name}")
            side.unlink(f"h/{name}")
        os.umask(0o022)

    side.as_user(run_member, groups=[EXTRA])
    run_member(side)
    side.tree("h")


def case_who_owns_what_is_made(side: Side):
    os.chmod(".", 0o777)

    def run(side):
        os.umask(0o027)
        side.spit("f", b"x", 0o666)
        side.open("s", os.O_CREAT, 0o6777)
        side.mkdir("d", 0o7777)
        side.mkfifo("p", 0o666)
        side.mkfifo("q", 0o2777)
        side.symlink("x", "l")
        side.mknod("n", stat.S_IFREG | 0o666)
        side.mknod("u", stat.S_IFSOCK | 0o666)
        side.link("f", "h")
        side.link("l", "l2", follow_symlinks=False)
        side.chmod("f", 0o6777)
        side.lstat("f")

    side.as_user(run, groups=[EXTRA])
    side.tree()
    for gid in (GROUP, EXTRA, 77):
        os.mkdir(f"below{gid}")
        owned(f"below{gid}", 0, gid, 0o2777)
        os.chdir(f"below{gid}")
        side.as_user(run, groups=[EXTRA])
        side.tree()
        os.chdir("..")


def case_chmod_and_groups(side: Side):
    os.chmod(".", 0o777)
    for gid in (GROUP, EXTRA, 0):
        spit(f"f{gid}", b"")
        owned(f"f{gid}", USER, gid, 0o644)
        os.mkdir(f"d{gid}")
        owned(f"d{gid}", USER, gid, 0o755)

    def run(side):
        for name in [f"{k}{g}" for k in "fd" for g in (GROUP, EXTRA, 0)]:
            for mode in (0o2755, 0o6755, 0o1755, 0o7777, 0o755):
                side.chmod(name, mode)
                side.lstat(name)

    side.as_user(run, groups=[EXTRA])
    side.as_user(run, uid=OTHER)


def case_chown_of_users(side: Side):
    os.chmod(".", 0o777)
    for kind in ("f", "d"):
        for uid in (USER, OTHER, 0):
            name = f"{kind}{uid}"
            if kind == "f":
                spit(name, b"x")
            else:
                os.mkdir(name)
            owned(name, uid, GROUP, 0o6755)
    os.symlink("f", "l")
    os.chown("l", USER, GROUP, follow_symlinks=False)

    def run(side):
        for name in ("f", "d"):
            for uid in (USER, OTHER, 0):
                full = f"{name}{uid}"
                for ids in ((-1, -1), (USER, -1), (-1, GROUP), (-1, EXTRA),
                            (USER, EXTRA), (OTHER, -1), (-1, 0), (0, 0)):
                    if max(ids) < 0 and not CHOWN_OF_NONE:
                        continue
                    side.chown(full, *ids)
                    side.lstat(full)
                    side.chmod(full, 0o6755)
        side.lchown("l", -1, EXTRA)
        side.lchown("l", OTHER, -1)
        side.lstat("l")

    side.as_user(run, groups=[EXTRA])


def case_setid_and_users(side: Side):
    """Who may write, but is not root, takes set-id bits away."""
    os.chmod(".", 0o777)
    for mode in (0o4777, 0o2777, 0o6777, 0o2767, 0o6767, 0o1777):
        name = f"f{mode:o}"
        spit(name, b"data")
        owned(name, 0, GROUP, mode)

        def run(side, call, name=name):
            fd = os.open(name, os.O_RDWR)
            side.call(call[0], fd, *call[1:])
            side.fstat(fd)
            side.lstat(name)

        for call in (("write", b"xx"), ("write", b""), ("ftruncate", 3000),
                     ("ftruncate", 3000), ("fallocate", 0, 0, 100),
                     ("fallocate", KEEP_SIZE, 0, 9000),
                     ("fallocate", KEEP_SIZE | PUNCH_HOLE, 0, 100),
                     ("fallocate", KEEP_SIZE | ZERO_RANGE, 0, 100),
                     ("read", 1), ("fsync",)):
            os.chmod(name, mode)
            side.as_user(run, call)
            side.lstat(name)
        os.chmod(name, mode)
        side.as_user(lambda side, n=name: side.truncate(n, 7))
        side.lstat(name)
        os.chmod(name, mode)
        side.as_user(lambda side, n=name: side.open(
            n, os.O_WRONLY | os.O_TRUNC))
        side.lstat(name)
        os.chmod(name, mode)
        side.as_user(lambda side, n=name: direct_write(side, n))
        side.lstat(name)
        os.chmod(name, mode)
        side.as_user(lambda side, n=name: mapped_write(side, n))
        side.lstat(name)
        os.chmod(name, mode)
        side.as_user(lambda side, n=name: copy_to(side, n))
        side.lstat(name)
        os.chmod(name, mode)
        side.as_user(lambda side, n=name: side.utimensat(n, None))
        side.lstat(name)
        os.chmod(name, mode)
        os.chown(name, USER, GROUP)
        os.chmod(name, mode)
        side.as_user(run, ("write", b"xx"))
        side.lstat(name)


def case_setid_and_strangers(side: Side):
    """Who is not of the group takes its bit away where nobody may execute."""
    for mode in (0o2646, 0o2606, 0o6646, 0o2766):
        for call in (("write", b"xx"), ("ftruncate", 5), ("write", b"more"),
                     ("fallocate", 0, 0, 10000)):
            spit("f", b"data")
            owned("f", 0, 77, mode)
            fd = os.open("f", os.O_RDWR)
            side.as_user(lambda side, c=call, f=fd: side.call(c[0], f, *c[1:]))
            side.fstat(fd)
            os.chmod("f", mode)
            side.as_user(lambda side, c=call, f=fd: side.call(c[0], f, *c[1:]),
                         groups=[77])
            side.fstat(fd)
            os.close(fd)


def direct_write(side, name):
    import mmap
    fd = side.open(name, os.O_WRONLY | os.O_DIRECT)
    buf = mmap.mmap(-1, 4096)
    side.note("direct", os.pwritev(fd, [buf], 0))
    side.lstat(name)


def mapped_write(side, name):
    import mmap
    fd = os.open(name, os.O_RDWR)
    with mmap.mmap(fd, 4) as m:
        m[0] = 65
    os.fsync(fd)
    side.lstat(name)


def copy_to(side, name):
    spit(f"source-{name}", b"source")
    a, b = os.open(f"source-{name}", os.O_RDONLY), os.open(name, os.O_RDWR)
    side.note("copied", os.copy_file_range(a, b, 6))
    side.lstat(name)


def case_setid_and_acl(side: Side):
    os.chmod(".", 0o777)
    entries = acl((U, 7), (UN, 5, 77), (G, 5), (M, 7), (O, 5))
    simple = acl((U, 7), (G, 5), (O, 4))
    for gid in (GROUP, EXTRA, 0):
        for mode in (0o2755, 0o6755, 0o4755, 0o2644):
            for value in (entries, simple):
                name = f"f{gid}-{mode:o}-{len(value)}"
                spit(name, b"")
                owned(name, USER, gid, mode)
                side.as_user(lambda side, n=name, v=value: side.setxattr(
                    n, ACCESS, v), groups=[EXTRA])
                side.lstat(name)
                os.chmod(name, mode)
                side.setxattr(name, ACCESS, value)
                side.lstat(name)
                side.as_user(lambda side, n=name: side.removexattr(
                    n, ACCESS), groups=[EXTRA])
                side.lstat(name)


def case_acl_grants(side: Side):
    os.chmod(".", 0o777)
    for i, value in enumerate((
            acl((U, 6), (UN, 6, USER), (G, 0), (M, 6), (O, 0)),
            acl((U, 6), (UN, 6, USER), (G, 0), (M, 4), (O, 7)),
            acl((U, 6), (UN, 0, USER), (G, 7), (M, 7), (O, 7)),
            acl((U, 6), (G, 0), (GN, 6, GROUP), (M, 6), (O, 0)),
            acl((U, 6), (G, 0), (GN, 6, EXTRA), (M, 6), (O, 0)),
            acl((U, 6), (G, 0), (GN, 0, EXTRA), (M, 6), (O, 6)),
            acl((U, 6), (G, 4), (GN, 2, EXTRA), (M, 6), (O, 0)))):
        spit(f"f{i}", b"#!/bin/sh\nexit 3\n")
        os.chown(f"f{i}", OTHER, GROUP if i == 6 else 0)
        os.setxattr(f"f{i}", ACCESS, value)
        side.as_user(try_file, f"f{i}", groups=[EXTRA])
        side.as_user(lambda side, n=f"f{i}": (
            side.setxattr(n, ACCESS, acl((U, 6), (G, 6), (O, 6))),
            side.getxattr(n, ACCESS), side.removexattr(n, ACCESS)))
        side.lstat(f"f{i}")
        os.mkdir(f"d{i}")
        os.setxattr(f"d{i}", ACCESS, value)
        spit(f"d{i}/theirs", b"")
        side.as_user(try_directory, f"d{i}", groups=[EXTRA])


def case_default_acl_of_users(side: Side):
    os.mkdir("d")
    os.chmod("d", 0o2777)
    os.chown("d", 0, EXTRA)
    os.chmod("d", 0o2777)
    os.setxattr("d", DEFAULT, acl((U, 7), (UN, 7, OTHER), (G, 7),
                                  (GN, 5, 99), (M, 7), (O, 1)))

    def run(side):
        os.umask(0o077)
        side.spit("d/f", b"x", 0o666)
        side.mkdir("d/d", 0o777)
        side.spit("d/d/f", b"x", 0o640)
        side.mkfifo("d/p", 0o666)
        for name in ("d/f", "d/d", "d/d/f", "d/p"):
            side.lstat(name)
            side.lgetxattr(name, ACCESS)
            side.lgetxattr(name, DEFAULT)

    side.as_user(run)
    side.as_user(lambda side: (side.slurp("d/f"), side.spit("d/f", b"y"),
                               side.listdir("d/d")), uid=OTHER)
    side.tree()


def case_xattrs_of_users(side: Side):
    os.chmod(".", 0o1777)
    for name, uid in (("mine", USER), ("theirs", OTHER)):
        for mode in (0o644, 0o400, 0o200, 0o000, 0o666):
            full = f"{name}{mode:o}"
            spit(full, b"")
            os.setxattr(full, "user.had", b"had")
            os.setxattr(full, "trusted.had", b"had")
            os.setxattr(full, "security.had", b"had")
            owned(full, uid, GROUP, mode)

            def run(side, full=full):
                for space in ("user", "trusted", "security", "system", "no"):
                    side.getxattr(full, f"{space}.had")
                    side.setxattr(full, f"{space}.had", b"new")
                    side.setxattr(full, f"{space}.new", b"new")
                    side.removexattr(full, f"{space}.had")
                side.llistxattr(full)
                side.setxattr(full, "security.capability", struct.pack(
                    "<IIIII", 0x02000001, 1 << 13, 0, 0, 0))

            side.as_user(run)
    os.mkdir("sticky")
    owned("sticky", OTHER, OTHER, 0o1777)
    os.mkfifo("fifo")
    os.chown("fifo", USER, GROUP)
    os.symlink("x", "link")
    os.chown("link", USER, GROUP, follow_symlinks=False)

    def special(side):
        for name in ("sticky", "fifo", "link"):
            for space in ("user", "trusted", "security"):
                side.lsetxattr(name, f"{space}.a", b"v")
                side.lgetxattr(name, f"{space}.a")

    side.as_user(special)


def case_protected_places(side: Side):
    os.mkdir("s")
    os.chmod("s", 0o1777)
    spit("s/theirs", b"x", 0o666)
    os.chown("s/theirs", OTHER, OTHER)
    os.chmod("s/theirs", 0o666)
    os.mkfifo("s/fifo")
    owned("s/fifo", OTHER, OTHER, 0o666)
    os.symlink("theirs", "s/link")
    os.chown("s/link", OTHER, OTHER, follow_symlinks=False)

    def run(side):
        side.open("s/theirs", os.O_CREAT | os.O_WRONLY, 0o600)
        side.open("s/fifo", os.O_CREAT | os.O_RDWR, 0o600)
        side.open("s/link", os.O_RDONLY)
        side.readlink("s/link")
        side.link("s/theirs", "s/hard")

    side.as_user(run)


def case_capable_users(side: Side):
    """Some capabilities without being root; others are dropped by root."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    os.chmod(".", 0o777)
    spit("f", b"data")
    owned("f", OTHER, 0, 0o6755)
    spit("g", b"data")
    owned("g", OTHER, 0, 0o755)
    os.mkdir("d")
    owned("d", OTHER, OTHER, 0o700)

    def drop(bits):
        head = struct.pack("=Ii", 0x20080522, 0)
        low, high = bits & 0xFFFFFFFF, bits >> 32
        data = struct.pack("=IIIIII", low, low, 0, high, high, 0)
        if libc.syscall(126, head, data):
            raise OSError(ctypes.get_errno(), "capset")

    def run(side, bits):
        drop(bits & every)
        fd = side.open("f", os.O_WRONLY)
        if fd is not None:
            side.write(fd, b"x")
            side.lstat("f")
            os.close(fd)
        side.chmod("f", 0o6755)
        side.lstat("f")
        side.truncate("f", 5)
        side.lstat("f")
        side.chown("g", USER, 0)
        side.lstat("g")
        side.utimensat("f", ((1, 1), (2, 2)))
        side.listdir("d")
        side.spit("d/x", b"")
        side.mknod("dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        side.setxattr("f", "trusted.a", b"v")
        side.setxattr("f", "security.a", b"v")
        side.open("new", os.O_CREAT, 0o6777)
        side.tree()
        side.unlink("new")

    if os.uname().machine != "x86_64":
        return
    with open("/proc/self/status") as status:
        every = next(int(line.split()[1], 16) for line in status
                     if line.startswith("CapPrm:"))
    for bits in (0, 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 2, 1 << 21, 1 << 27,
                 every & ~(1 << 4), every & ~(1 << 1), every & ~(1 << 21)):
        os.chown("f", OTHER, 0)
        os.chmod("f", 0o6755)
        os.chown("g", OTHER, 0)
        side.inside(f"caps {bits:x}", run, bits)
        side.lstat("f")


def case_umask_of_users(side: Side):
    os.chmod(".", 0o777)

    def run(side, umask):
        os.umask(umask)
        side.spit(f"f{umask:o}", b"", 0o777)
        side.mkdir(f"d{umask:o}", 0o777)
        side.lstat(f"f{umask:o}")
        side.lstat(f"d{umask:o}")

    for umask in (0, 0o77, 0o777, 0o22, 0o7):
        side.as_user(run, umask)


def case_create_without_right_to_write(side: Side):
    """The one who makes a file may write it, whatever its mode is."""
    os.chmod(".", 0o777)

    def run(side):
        for mode in (0, 0o400, 0o444, 0o200):
            fd = side.open(f"f{mode:o}", os.O_CREAT | os.O_EXCL | os.O_RDWR,
                           mode)
            side.write(fd, b"data")
            side.pread(fd, 10, 0)
            side.ftruncate(fd, 2)
            side.fsync(fd)
            side.call("fallocate", fd, 0, 0, 100)
            side.fstat(fd)
            os.close(fd)
            side.open(f"f{mode:o}", os.O_RDONLY)
            side.open(f"f{mode:o}", os.O_WRONLY | os.O_CREAT)
            side.truncate(f"f{mode:o}", 0)
        fd = os.open("gone", os.O_CREAT | os.O_RDWR, 0o600)
        os.fchmod(fd, 0)
        side.write(fd, b"data")
        side.pread(fd, 10, 0)
        os.unlink("gone")
        side.write(fd, b"data")
        side.pread(fd, 10, 0)
        side.ftruncate(fd, 3)
        side.fstat(fd)

    side.as_user(run)
    side.tree()
