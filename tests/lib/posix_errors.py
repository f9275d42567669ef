# SPDX-License-Identifier: Apache-2.0
"""Every call on every kind of name, for what it answers: whole products."""

import errno
import os
import shutil
import stat

from posix_side import (AT_EMPTY_PATH, EXCHANGE, EXTRA, NOREPLACE,
                        UTIME_OMIT, WHITEOUT, Side, renameat2, spit)

NAMES = ["file", "file2", "hard", "empty", "full", "full/in", "full/sub",
         "to_file", "to_dir", "to_none", "loop", "fifo", "sock", "none",
         "file/", "empty/", "full/", "to_file/", "to_dir/", "to_none/",
         "none/", "file/x", "none/x", "loop/x", "to_dir/in", ".", "..",
         "full/.", "full/..", "", "full/sub/deep", "n" * 255, "n" * 256,
         "full/" + "n" * 256, "p/" * 2047 + "p", "p/" * 2048 + "p"]
FEW = ["file", "hard", "file2", "empty", "empty2", "full", "full/sub",
       "full/in", "to_file", "to_dir", "to_none", "loop", "fifo", "none",
       "none2/x", "file/", "empty/", "full/", "none/", "to_dir/", "to_none/",
       "to_file/", "file/x", ".", "full/.", "full/..", "", "empty/new",
       "full/sub/deep", "n" * 256]


def build():
    spit("file", b"file")
    spit("file2", b"file2")
    os.link("file", "hard")
    os.mkdir("empty")
    os.mkdir("empty2")
    os.makedirs("full/sub")
    spit("full/in", b"in")
    os.symlink("file", "to_file")
    os.symlink("full", "to_dir")
    os.symlink("nowhere", "to_none")
    os.symlink("loop", "loop")
    os.mkfifo("fifo")
    os.mknod("sock", stat.S_IFSOCK | 0o644)


def clear():
    for entry in os.scandir("."):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.name)
        else:
            os.unlink(entry.name)


def each(side, names, function, *args, tree=True, **kwargs):
    """The call on every name, in a tree that is made anew after a change."""
    build()
    for name in names:
        mark = len(side.lines)
        side.call(function, name, *args, **kwargs)
        if not tree or failed(side.lines[mark]):
            continue
        side.tree()
        clear()
        build()
    clear()


def failed(line):
    return line.rsplit(": ", 1)[1].strip("'") in errno.errorcode.values()


def pairs(side, names, function, *args):
    build()
    for old in names:
        for new in names:
            mark = len(side.lines)
            side.call(function, old, new, *args)
            if "None" not in side.lines[mark][-6:]:
                continue
            side.tree()
            clear()
            build()
    side.tree()
    clear()


def open_flags(side, combinations):
    for flags in combinations:
        build()
        for name in NAMES:
            fd = side.open(name, flags, 0o640)
            if fd is not None:
                side.fstat(fd)
                os.close(fd)
                if flags & (os.O_CREAT | os.O_TRUNC):
                    side.tree()
                    clear()
                    build()
        clear()


def case_open_plain(side: Side):
    n = os.O_NONBLOCK
    open_flags(side, [os.O_RDONLY | n, os.O_WRONLY | n, os.O_RDWR | n,
                      os.O_PATH, os.O_PATH | os.O_NOFOLLOW,
                      os.O_PATH | os.O_DIRECTORY])


def case_open_special(side: Side):
    n = os.O_NONBLOCK
    open_flags(side, [os.O_NOFOLLOW | n, os.O_DIRECTORY | n,
                      os.O_DIRECTORY | os.O_NOFOLLOW | n,
                      os.O_DIRECTORY | os.O_RDWR | n, os.O_NOATIME | n,
                      os.O_RDONLY | os.O_DIRECT | n])


def case_open_create(side: Side):
    n = os.O_NONBLOCK
    open_flags(side, [os.O_CREAT | n, os.O_CREAT | os.O_WRONLY | n,
                      os.O_CREAT | os.O_EXCL | n,
                      os.O_CREAT | os.O_NOFOLLOW | n])


def case_open_truncate(side: Side):
    n = os.O_NONBLOCK
    open_flags(side, [os.O_TRUNC | os.O_WRONLY | n, os.O_TRUNC | n,
                      os.O_CREAT | os.O_TRUNC | os.O_RDWR | n,
                      os.O_CREAT | os.O_DIRECTORY | n])


def case_rename(side: Side):
    pairs(side, FEW, renameat2, 0)


def case_rename_noreplace(side: Side):
    pairs(side, FEW, renameat2, NOREPLACE)


def case_rename_exchange(side: Side):
    pairs(side, FEW, renameat2, EXCHANGE)


def case_rename_whiteout(side: Side):
    pairs(side, FEW, renameat2, WHITEOUT)


def case_rename_whiteout_noreplace(side: Side):
    pairs(side, ["file", "hard", "full", "to_file", "none", "empty/new"],
          renameat2, WHITEOUT | NOREPLACE)


def case_whiteout_is_a_node(side: Side):
    build()
    side.moves("full", renameat2, "full/in", "file2", WHITEOUT)
    side.look("full/in")
    side.note("listed", sorted((e.name, e.is_file(follow_symlinks=False))
                               for e in os.scandir("full")))
    side.moves("file", renameat2, "file", "empty/moved", WHITEOUT)
    side.moves("empty2", renameat2, "full", "empty2/full", WHITEOUT)
    side.link("file", "linked")
    side.rename("file", "linked")
    side.unlink("file")
    side.rename("linked", "full")
    side.chmod("full", 0o600)
    side.look("full")
    side.renameat2("full", "again", WHITEOUT)
    side.mkdir("full")
    side.unlink("full")
    side.mkdir("full")
    side.tree()


def whiteout_of_mine(side):
    side.mkdir("mine")
    spit("mine/f", b"f")
    side.renameat2("mine/f", "mine/g", WHITEOUT)
    side.renameat2("team/theirs", "team/mine", WHITEOUT)
    side.renameat2("sticky/theirs", "sticky/mine", WHITEOUT)
    side.renameat2("closed/f", "closed/g", WHITEOUT)
    side.unlink("mine/f")


def case_whiteout_of_a_user(side: Side):
    os.umask(0)
    os.chmod(".", 0o777)
    for name, mode in (("team", 0o2777), ("sticky", 0o1777),
                       ("closed", 0o755)):
        os.mkdir(name)
        os.chown(name, 0, EXTRA)
        os.chmod(name, mode)
        spit(name + "/theirs", b"theirs")
    side.as_user(whiteout_of_mine)
    side.tree()


def case_rename_bad_flags(side: Side):
    build()
    side.renameat2("file", "none", NOREPLACE | EXCHANGE)
    side.renameat2("file", "none", WHITEOUT | EXCHANGE)
    side.renameat2("file", "none", 1 << 7)
    side.tree()


def case_link(side: Side):
    pairs(side, FEW, os.link)


def case_link_nofollow(side: Side):
    build()
    for name in NAMES:
        side.link(name, "new", follow_symlinks=False)
        if os.path.lexists("new"):
            side.tree()
            os.unlink("new")


def case_unlink(side: Side):
    each(side, NAMES, os.unlink)


def case_rmdir(side: Side):
    each(side, NAMES, os.rmdir)


def case_mkdir(side: Side):
    each(side, NAMES, os.mkdir, 0o750)


def case_mknod(side: Side):
    each(side, NAMES, os.mknod, stat.S_IFREG | 0o640)
    each(side, FEW, os.mknod, stat.S_IFIFO | 0o640)
    each(side, FEW, os.mknod, stat.S_IFSOCK | 0o640)
    each(side, FEW, os.mknod, stat.S_IFCHR | 0o640, os.makedev(1, 3))
    each(side, FEW, os.mknod, stat.S_IFBLK | 0o640, os.makedev(300, 70000))
    each(side, FEW, os.mknod, stat.S_IFDIR | 0o640)
    each(side, FEW, os.mknod, 0o640)


def case_symlink(side: Side):
    build()
    for name in NAMES:
        side.symlink("target", name)
    side.tree()
    for length in (1, 59, 60, 61, 1023, 4095):
        side.symlink("x" * length, f"long{length}")
        side.readlink_len(f"long{length}")
        side.lstat(f"long{length}")
    side.symlink("x" * 4096, "long4096")
    side.symlink("", "void")
    side.symlink(b"\xff\n\x01", "bytes")
    side.tree()


def case_readlink(side: Side):
    each(side, NAMES, os.readlink)


def case_stat(side: Side):
    each(side, NAMES, os.stat, tree=False)
    each(side, NAMES, os.lstat, tree=False)
    each(side, NAMES, os.statvfs, tree=False)


def case_access(side: Side):
    build()
    for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK):
        for name in NAMES:
            side.access(name, mode)
            side.faccessat(name, mode, 0x100)


def case_chmod(side: Side):
    each(side, NAMES, os.chmod, 0o4711)


def case_chown(side: Side):
    each(side, NAMES, os.chown, 12, 34)
    each(side, NAMES, os.lchown, 12, -1)


def case_utime(side: Side):
    each(side, NAMES, "utimensat", ((5, 6), (7, 8)))
    each(side, NAMES, "utimensat", ((5, 6), (0, UTIME_OMIT)), 0x100)


def case_truncate(side: Side):
    each(side, [n for n in NAMES if n != "fifo"], os.truncate, 2)


def case_truncate_sizes(side: Side):
    spit("f", b"x")
    for size in (-1, 0, 1 << 32, 1 << 40, (1 << 44) - 4096, 1 << 44,
                 (1 << 44) + 1, (1 << 63) - 1, 0):
        side.truncate64("f", size)
        side.lstat("f")


def case_setxattr(side: Side):
    each(side, NAMES, os.setxattr, "user.a", b"v")
    each(side, FEW, "lsetxattr", "user.a", b"v")
    each(side, FEW, "lsetxattr", "trusted.a", b"v")
    each(side, FEW, "lsetxattr", "security.a", b"v")


def case_getxattr(side: Side):
    each(side, NAMES, os.getxattr, "user.none", tree=False)
    each(side, FEW, "lgetxattr", "user.none", tree=False)
    each(side, NAMES, "llistxattr", tree=False)
    each(side, NAMES, "lremovexattr", "trusted.none", tree=False)


def case_listdir(side: Side):
    each(side, NAMES, os.listdir, tree=False)
    each(side, NAMES, os.chdir, tree=False)


def case_execute(side: Side):
    build()
    for name in NAMES:
        side.execute(name if "/" in name or not name else "./" + name)
    spit("script", b"#!/bin/sh\nexit 7\n", 0o755)
    side.execute("./script")
    spit("noexec", b"#!/bin/sh\nexit 7\n", 0o644)
    side.execute("./noexec")
    spit("bad", b"#!/none/such\n", 0o755)
    side.execute("./bad")


def case_busy_program(side: Side):
    shutil.copy("/bin/true", "prog")
    fd = side.open("prog", os.O_WRONLY)
    side.execute("./prog")
    os.close(fd)
    side.execute("./prog")
    shutil.copy("/bin/sleep", "slow")
    pid = os.fork()
    if pid == 0:
        os.execv("./slow", ["./slow", "30"])
    while not os.readlink(f"/proc/{pid}/exe").endswith("slow"):
        pass
    side.open("slow", os.O_WRONLY)
    side.open("slow", os.O_WRONLY | os.O_TRUNC)
    side.truncate("slow", 0)
    side.open("slow", os.O_RDONLY)
    side.rename("slow", "fast")
    side.unlink("fast")
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def case_loops(side: Side):
    spit("end", b"end")
    os.symlink("end", "l0")
    for i in range(1, 45):
        os.symlink(f"l{i - 1}", f"l{i}")
    for i in (1, 38, 39, 40, 41, 44):
        side.stat(f"l{i}")
        side.slurp(f"l{i}")
    os.symlink("b", "a")
    os.symlink("a", "b")
    for name in ("a", "a/x", "b/"):
        side.stat(name)
        side.open(name, os.O_CREAT)
        side.mkdir(name)
    side.rename("a", "c")
    side.stat("b")


def case_names_of_bytes(side: Side):
    names = [bytes([b]) for b in range(1, 256) if b not in b"/."]
    names += [bytes([b]) * 255 for b in (1, 65, 128, 255)]
    names += [b"...", b"-rf", b"a\nb", b".seqmirror", b"\xf0\x9f", b" x ",
              b"..x", b"\xc3\x84", b"A\xcc\x88", b"%n"]
    for name in names:
        side.spit(name, name)
    side.listdir(b".")
    for name in names:
        side.rename(name, b"moved")
        side.link(b"moved", name)
        side.unlink(b"moved")
        side.slurp(name)
    side.tree()
    side.open(b"x" * 256, os.O_CREAT)
    for name in names:
        side.unlink(name)
    side.tree()


def case_private_name_below(side: Side):
    side.mkdir(".seqmirror")
    side.spit(".seqmirror/store", b"mine")
    side.look(".seqmirror/store")
    side.rename(".seqmirror", "other")
    side.rename("other", ".seqmirror")
    side.listdir(".")
    side.unlink(".seqmirror/store")
    side.rmdir(".seqmirror")


def case_long_paths(side: Side):
    top = os.getcwd()
    for i in range(60):
        name = f"{i:03d}" + "d" * 100
        side.mkdir(name)
        side.chdir(name)
    side.spit("end", b"deep")
    side.slurp("end")
    side.rename("end", "../up")
    side.slurp("../up")
    side.symlink("../up", "link")
    side.slurp("link")
    side.rmdir("../" + name)
    side.unlink("link")
    fd = os.open("..", os.O_RDONLY)
    side.chdir("../..")
    side.listdir(fd)
    os.chdir(top)
    path, parts = "", []
    for i in range(60):
        parts.append(f"{i:03d}" + "d" * 100)
        path = "/".join(parts)
        if len(path) > 3900:
            side.stat(path)
        if len(path) > 4200:
            break
    name = parts[0]
    for total in (4093, 4094, 4095, 4096, 4097):
        odd = (total - len(name)) % 2
        pad = ".//" * odd + "./" * 3000
        lead = pad[:total - len(name)]
        side.stat(lead + name)
        side.mkdir(lead + "x" * len(name))
        side.rename(lead + "x" * len(name), lead + "y" * len(name))
        side.rmdir(lead + "y" * len(name))
    os.rename("/".join(parts[:30]), "half")
    shutil.rmtree("half")
    shutil.rmtree(parts[0])
    side.listdir(".")


def case_many_links(side: Side):
    spit("f", b"")
    for i in range(300):
        os.link("f", f"l{i}")
    side.lstat("f")
    for i in range(0, 300, 2):
        os.unlink(f"l{i}")
    side.lstat("f")
    side.unlink("f")
    side.lstat("l1")


def case_into_own_subdirectory(side: Side):
    os.makedirs("a/b/c")
    side.rename("a", "a/b/c/d")
    side.rename("a", "a/b")
    side.rename("a/b", "a")
    side.renameat2("a", "a/b/c", EXCHANGE)
    side.renameat2("a/b/c", "a", EXCHANGE)
    side.renameat2("a", "a", EXCHANGE)
    side.renameat2("a", "a", NOREPLACE)
    side.rename("a", "a")
    side.tree()


def case_bad_arguments(side: Side):
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    side.raw_lseek(fd, -1, 0)
    side.raw_lseek(fd, 0, 9)
    side.raw_lseek(fd, -5, 2)
    side.pwrite(fd, b"x", -1)
    side.pread(fd, 1, -1)
    side.pread(fd, 1, (1 << 63) - 2)
    side.fallocate(fd, 0, -1, 10)
    side.fallocate(fd, 0, 0, 0)
    side.fallocate(fd, 0, 0, -1)
    side.fallocate(fd, 0, 1 << 62, 1 << 62)
    # No file of an ext4 is so long.
    for mode in (0, 1, 1 | 2, 16, 16 | 1):
        side.call("fallocate", fd, mode, 1 << 50, 1 << 42)
    side.ftruncate(fd, -1)
    for mode in (2, 16 | 2, 8 | 1, 64, 64 | 1, 128, 1 << 20):
        side.call("fallocate", fd, mode, 0, 4096)
    side.lstat("f")
    ro = os.open("f", os.O_RDONLY)
    side.write(ro, b"x")
    side.ftruncate(ro, 0)
    side.call("fallocate", ro, 0, 0, 10)
    side.fchmod(ro, 0o600)
    wo = os.open("f", os.O_WRONLY)
    side.read(wo, 1)
    path = os.open("f", os.O_PATH)
    for call in ("fsync", "fdatasync"):
        side.call(call, path)
    side.read(path, 1)
    side.write(path, b"x")
    side.fchmod(path, 0o600)
    side.fstat(path)
    side.call("futimens", path, None)
    side.linkat(path, "", "viapath", AT_EMPTY_PATH)
    side.link_fd(path, "viaproc")
    directory = os.open(".", os.O_RDONLY)
    side.read(directory, 1)
    side.pwrite(directory, b"x", 0)
    side.ftruncate(directory, 0)
    side.call("fallocate", directory, 0, 0, 10)
    side.fsync(directory)
    side.fdatasync(directory)
    side.syncfs(directory)
    side.open(".", os.O_TMPFILE & ~os.O_DIRECTORY)
    side.tree()


def case_ioctls(side: Side):
    import array
    import fcntl
    spit("f", b"x" * 100)
    fd = os.open("f", os.O_RDWR)
    for code in (0x5413, 0x541B, 0x5421, 0x1261, 0xDEAD):
        def ioctl(number, code=code):
            buf = array.array("i", [0] * 64)
            fcntl.ioctl(number, code, buf)
            return buf[0] if code == 0x541B else None
        side.call(lambda n=fd, f=ioctl: f(n))
    os.close(fd)
