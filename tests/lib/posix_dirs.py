# SPDX-License-Identifier: Apache-2.0
"""Directories that are read, removed and found again."""

import ctypes
import itertools
import os
import random
import struct

from posix_side import Side, spit
RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)
libc.telldir.restype = libc.readdir.restype = ctypes.c_long
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
for function in (libc.telldir, libc.readdir, libc.rewinddir, libc.closedir):
    function.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def read_one(stream):
    """(name, number, type) or None at the end."""
    entry = libc.readdir(stream)
    if not entry:
        return None
    head = ctypes.string_at(entry, 19)
    number, _, _, kind = struct.unpack("=QqHB", head)
    return ctypes.string_at(entry + 19), number, kind


def read_all(stream):
    out = []
    while True:
        entry = read_one(stream)
        if not entry:
            return out
        out.append(entry)


def case_types_and_numbers(side: Side):
    spit("f", b"")
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("p")
    os.mknod("s", 0o140644)
    os.mknod("c", 0o20644, os.makedev(1, 3))
    os.mknod("b", 0o60644, os.makedev(7, 9))
    stream = libc.opendir(b".")
    for name, number, kind in sorted(read_all(stream)):
        if name == b"..":
            side.note("..", [kind, number == os.stat("..").st_ino])
            continue
        side.note(name.decode(), [kind, number == os.lstat(name).st_ino])
    libc.closedir(stream)
    stream = libc.opendir(b"d")
    side.note("empty", sorted((n, k) for n, _, k in read_all(stream)))
    os.rmdir("d")
    libc.rewinddir(stream)
    side.note("removed", [n for n, _, _ in read_all(stream)])
    libc.closedir(stream)


def case_read_while_changing(side: Side):
    """5,000 entries: none twice, and none lost of those that stayed."""
    count = 5000
    stay = {b"stay%04d" % i for i in range(0, count, 2)}
    for i in range(count):
        os.mknod((b"stay%04d" if i % 2 == 0 else b"go%04d") % i)
    rng = random.Random(3)
    for remove in (False, True):
        stream = libc.opendir(b".")
        seen, extra = [], 0
        while True:
            entry = read_one(stream)
            if not entry:
                break
            seen.append(entry[0])
            if rng.randrange(4) == 0 and extra < 3000:
                extra += 1
                os.mknod(b"new%d-%04d" % (remove, extra))
                victim = b"go%04d" % (2 * rng.randrange(count // 2) + 1)
                if remove and os.path.exists(victim):
                    os.unlink(victim)
                else:
                    if os.path.exists(victim):
                        os.rename(victim, victim + b"r")
        libc.closedir(stream)
        names = [n for n in seen if n.startswith(b"stay")]
        side.note("twice", len(names) - len(set(names)))
        side.note("lost", len(stay - set(names)))
        side.note("all twice", len(seen) - len(set(seen)))
    names = os.listdir(b".")
    side.note("whole", [len(names) - len(set(names)),
                        stay <= set(names)])
    for name in names:
        os.unlink(name)
    side.listdir(".")


def replace(name):
    spit("../other", b"")
    os.rename("../other", name)


def exchange(name):
    spit("../other", b"")
    libc.renameat2(-100, b"../other", -100, name, RENAME_EXCHANGE)


def rewrite(name):
    os.unlink(name)
    spit(name, b"")


def move_and_back(name):
    os.rename(name, "../other")
    os.rename("../other", name)


def move_on(name):
    os.rename(name, name + b"+")


def case_change_what_is_read(side: Side):
    """Whoever does something to each name that he reads comes to an end, and
    has read all names that were there, those that stay just once."""
    for count, change in itertools.product(
            (1, 3000), (replace, exchange, rewrite, move_and_back, move_on)):
        os.mkdir("d")
        os.chdir("d")
        names = {b"name%d" % i for i in range(count)}
        for name in names:
            spit(name, b"")
        stream = libc.opendir(b".")
        seen = []
        while len(seen) < 4 * count + 100:
            entry = read_one(stream)
            if not entry:
                break
            if entry[0] not in (b".", b".."):
                seen.append(entry[0])
                change(entry[0])
        libc.closedir(stream)
        side.note(change.__name__, [
            entry is None, names <= set(seen),
            change is move_on or len(seen) == count])
        for name in os.listdir("."):
            os.unlink(name)
        os.chdir("..")
        os.rmdir("d")


def case_others_replace_what_is_read(side: Side):
    """A name that is replaced before it is read is there, and once."""
    names = {b"name%d" % i for i in range(3000)}
    for name in sorted(names):
        spit(name, b"")
    stream = libc.opendir(b".")
    seen = [read_one(stream)[0] for _ in range(5)]
    for name in sorted(names):
        replace(name)
    seen += [name for name, _, _ in read_all(stream)]
    libc.closedir(stream)
    side.note("twice", len(seen) - len(set(seen)))
    side.note("lost", len(names - set(seen)))


def case_remove_while_reading(side: Side):
    for i in range(2000):
        spit(f"f{i}", b"")
    stream = libc.opendir(b".")
    while True:
        entry = read_one(stream)
        if not entry:
            break
        if entry[0] not in (b".", b".."):
            os.unlink(entry[0])
    libc.closedir(stream)
    side.listdir(".")
    side.lstat(".")


def case_positions(side: Side):
    for i in range(700):
        spit(f"name{i:04d}", b"")
    stream = libc.opendir(b".")
    entries, places = [], []
    while True:
        places.append(libc.telldir(stream))
        entry = read_one(stream)
        if not entry:
            break
        entries.append(entry)
    side.note("count", len(entries))
    side.note("places differ", len(set(places)) == len(places))
    rng = random.Random(9)
    wrong = 0
    for _ in range(200):
        i = rng.randrange(len(entries))
        libc.seekdir(stream, places[i])
        for k in range(i, min(i + 3, len(entries))):
            wrong += read_one(stream) != entries[k]
    side.note("wrong", wrong)
    libc.seekdir(stream, places[500])
    os.unlink(entries[499][0])
    os.unlink(entries[502][0])
    rest = [e[0] for e in read_all(stream)]
    side.note("after", set(e[0] for e in entries[503:]) <= set(rest))
    libc.rewinddir(stream)
    side.note("again", len(read_all(stream)))
    other = libc.opendir(b".")
    libc.seekdir(other, places[10])
    side.note("in another", read_one(other) == entries[10])
    libc.closedir(other)
    spit("fresh", b"")
    libc.rewinddir(stream)
    side.note("fresh", b"fresh" in [e[0] for e in read_all(stream)])


def case_removed_directory(side: Side):
    os.mkdir("d")
    os.mkdir("d/sub")
    fd = os.open("d", os.O_RDONLY)
    os.chdir("d/sub")
    os.rmdir("../sub")
    os.rmdir("../../d")
    side.call("getcwd")
    side.listdir(".")
    side.spit("f", b"")
    side.mkdir("x")
    side.symlink("a", "b")
    side.mkfifo("p")
    side.stat(".")
    side.stat("..")
    side.stat("none")
    side.link("/proc/self/exe", "e")
    side.rename("x", "y")
    side.rmdir(".")
    side.chmod(".", 0o700)
    side.setxattr(".", "user.a", b"v")
    side.getxattr(".", "user.a")
    side.utimensat(".", None)
    side.listdir(fd)
    side.fstat(fd)
    side.fsync(fd)
    os.fchdir(fd)
    side.spit("f", b"")
    os.chdir(side.root)
    os.mkdir("d")
    side.listdir("d")
    side.call("lstat", "d")


def case_renamed_directory(side: Side):
    os.makedirs("a/b")
    spit("a/b/f", b"f")
    fd = os.open("a/b", os.O_RDONLY)
    os.chdir("a/b")
    os.rename(side.root + "/a", side.root + "/z")
    side.slurp("f")
    side.spit("g", b"g")
    side.note("cwd", os.getcwd()[len(side.root):])
    side.listdir(fd)
    side.stat("../../z")
    os.rename(side.root + "/z/b", side.root + "/y")
    side.note("cwd", os.getcwd()[len(side.root):])
    side.stat("../z")
    side.note("parent", os.stat("..").st_ino == os.stat(side.root).st_ino)
    side.lstat("../z")
    os.chdir(side.root)
    side.tree()


def handle_of(name):
    buf = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) +
                                      bytes(128))
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(name), buf,
                              ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), "handle")
    return Handle(buf.raw)


class Handle(bytes):
    def __repr__(self):
        return "handle"


def open_handle(handle, flags):
    fd = os.open(".", os.O_RDONLY)
    got = libc.open_by_handle_at(fd, handle, flags)
    code = ctypes.get_errno()
    os.close(fd)
    if got < 0:
        raise OSError(code, os.strerror(code))
    return got


def case_handles(side: Side):
    spit("f", b"data")
    os.mkdir("d")
    spit("d/in", b"in")
    os.symlink("f", "l")
    handles = {n: handle_of(n) for n in ("f", "d", "d/in")}
    for name, handle in handles.items():
        fd = side.call(open_handle, handle, os.O_RDONLY)
        side.note(name, [os.fstat(fd).st_ino == os.stat(name).st_ino])
        side.fstat(fd)
        os.close(fd)
    os.rename("d", "e")
    fd = side.call(open_handle, handles["d/in"], os.O_RDWR)
    side.pread(fd, 10, 0)
    side.pwrite(fd, b"more", 2)
    side.slurp("e/in")
    os.close(fd)
    fd = side.call(open_handle, handles["d"], os.O_RDONLY)
    side.listdir(fd)
    os.close(fd)
    os.unlink("f")
    side.call(open_handle, handles["f"], os.O_RDONLY)
    spit("f", b"new")
    side.call(open_handle, handles["f"], os.O_RDONLY)
    side.as_user(lambda side: side.call(open_handle, handles["d"], 0))
    open2 = os.open("e/in", os.O_RDONLY)
    os.unlink("e/in")
    fd = side.call(open_handle, handles["d/in"], os.O_RDONLY)
    assert open2


def case_many_made_at_once(side: Side):
    pids = []
    for who in range(4):
        pid = os.fork()
        if pid == 0:
            for i in range(150):
                name = f"w{who}-{i}"
                spit(name, b"x" * i)
                os.rename(name, name + "r")
                if i % 3 == 0:
                    os.unlink(name + "r")
                try:
                    os.mkdir(f"shared{i}")
                except FileExistsError:
                    pass
                try:
                    os.rename(f"shared{i}", f"moved{i}")
                except OSError:
                    pass
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        side.note("ended", os.waitpid(pid, 0)[1])
    names = os.listdir(".")
    side.note("own", sorted(n for n in names if n.startswith("w"))[::10])
    side.note("twice", len(names) - len(set(names)))
    shared = {n[5:] for n in names if n.startswith("moved")}
    side.note("shared", len(shared))


def case_one_winner(side: Side):
    """Of many who make, take or remove a name at once, one has it."""
    wins = {"create": 0, "mkdir": 0, "link": 0, "rename": 0, "unlink": 0}
    rounds = 25
    for i in range(rounds):
        spit(f"source{i}", b"")
        spit(f"victim{i}", b"")
    read_end, write_end = os.pipe()
    pids = []
    for who in range(4):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        for i in range(rounds):
            for what, function, args in (
                    ("create", os.open, (f"c{i}", os.O_CREAT | os.O_EXCL)),
                    ("mkdir", os.mkdir, (f"m{i}",)),
                    ("link", os.link, (f"victim{i}", f"l{i}")),
                    ("rename", os.rename, (f"source{i}", f"t{i}-{who}"))):
                try:
                    function(*args)
                    os.write(write_end, what.encode() + b"\n")
                except OSError:
                    pass
        os._exit(0)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        for line in pipe:
            wins[line.strip()] += 1
    side.note("wins", wins)
