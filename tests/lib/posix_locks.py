# SPDX-License-Identifier: Apache-2.0
"""Locks, leases, and what is told about changes."""

import ctypes
import fcntl
import os
import signal
import time

from posix_side import Side, spit


def case_flock(side: Side):
    spit("f", b"")
    one, two = os.open("f", os.O_RDWR), os.open("f", os.O_RDONLY)
    nb = fcntl.LOCK_NB
    for a in (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN):
        for b in (fcntl.LOCK_SH, fcntl.LOCK_EX):
            side.flock(one, a | nb)
            side.flock(two, b | nb)
            side.flock(two, fcntl.LOCK_UN)
    side.flock(one, fcntl.LOCK_EX)
    same = os.dup(one)
    side.flock(same, fcntl.LOCK_EX | nb)
    os.close(one)
    side.flock(two, fcntl.LOCK_EX | nb)
    os.close(same)
    side.flock(two, fcntl.LOCK_EX | nb)
    d = os.open(".", os.O_RDONLY)
    side.flock(d, fcntl.LOCK_EX | nb)
    side.flock(os.open("f", os.O_PATH), fcntl.LOCK_EX | nb)


def case_record_locks(side: Side):
    spit("f", b"x" * 100)
    setlk, getlk = fcntl.F_SETLK, fcntl.F_GETLK
    osetlk, ogetlk = 37, 36
    rd, wr, un = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
    fd = os.open("f", os.O_RDWR)
    side.lock(fd, setlk, wr, 10, 10)
    side.lock(fd, setlk, rd, 15, 10)
    side.lock(fd, setlk, wr, -10, 5)
    side.lock(fd, setlk, wr, -10, 5, 2)
    side.lock(fd, setlk, wr, 1 << 62, 0)

    def child(side):
        mine = os.open("f", os.O_RDWR)
        for start, length in ((0, 10), (10, 1), (14, 1), (15, 5), (90, 0)):
            for kind in (rd, wr):
                side.lock(mine, getlk, kind, start, length)
                side.lock(mine, setlk, kind, start, length)

    side.inside("child", child)
    other = os.open("f", os.O_RDWR)
    side.lock(other, osetlk, wr, 0, 10)
    side.lock(fd, osetlk, rd, 0, 5)
    side.lock(fd, osetlk, rd, 50, 5)
    side.lock(fd, ogetlk, wr, 0, 5)
    side.lock(other, osetlk, un, 0, 0)
    side.lock(fd, osetlk, wr, 0, 5)
    os.close(other)
    side.inside("child", child)
    ro = os.open("f", os.O_RDONLY)
    side.lock(ro, setlk, wr, 0, 1)
    side.lock(ro, setlk, rd, 0, 1)
    wo = os.open("f", os.O_WRONLY)
    side.lock(wo, setlk, rd, 0, 1)
    # A thread that waits gets it when the holder ends.
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = os.open("f", os.O_RDWR)
        fcntl.lockf(mine, fcntl.LOCK_EX, 1, 70)
        os.write(write_end, b"x")
        time.sleep(0.1)
        os._exit(0)
    os.read(read_end, 1)
    began = time.monotonic()
    side.lock(fd, fcntl.F_SETLKW, wr, 70, 1)
    side.note("waited", time.monotonic() - began > 0.05)
    os.waitpid(pid, 0)


def case_deadlock(side: Side):
    spit("f", b"x" * 10)
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = os.open("f", os.O_RDWR)
        fcntl.lockf(mine, fcntl.LOCK_EX, 1, 1)
        os.write(write_end, b"x")
        try:
            fcntl.lockf(mine, fcntl.LOCK_EX, 1, 0)
        except OSError:
            os._exit(1)
        os._exit(0)
    os.read(read_end, 1)
    time.sleep(0.1)
    side.lock(fd, fcntl.F_SETLKW, fcntl.F_WRLCK, 1, 1)
    os.close(fd)
    side.note("other", os.waitpid(pid, 0)[1])


def case_leases(side: Side):
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    spit("f", b"x")
    rd, wr, un = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
    ro = os.open("f", os.O_RDONLY)
    side.lease(ro, rd)
    side.get_lease(ro)
    side.lease(ro, wr)
    side.open("f", os.O_WRONLY | os.O_NONBLOCK)
    side.lease(ro, un)
    fd = side.open("f", os.O_WRONLY | os.O_NONBLOCK)
    side.lease(fd, rd)
    side.lease(fd, wr)
    os.close(ro)
    side.lease(fd, wr)
    side.get_lease(fd)
    side.open("f", os.O_RDONLY | os.O_NONBLOCK)
    side.lease(fd, un)
    d = os.open(".", os.O_RDONLY)
    side.lease(d, rd)


def case_change_signals(side: Side):
    """What inotify tells, which goes for local changes."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    os.mkdir("d")
    side.note("watch", libc.inotify_add_watch(fd, b"d", 0xFFF))
    spit("d/f", b"x")
    os.chmod("d/f", 0o600)
    os.rename("d/f", "d/g")
    os.truncate("d/g", 0)
    os.unlink("d/g")
    os.mkdir("d/s")
    os.rmdir("d/s")
    data, pos, out = os.read(fd, 65536), 0, []
    while pos < len(data):
        mask = int.from_bytes(data[pos + 4:pos + 8], "little")
        size = int.from_bytes(data[pos + 12:pos + 16], "little")
        out.append((hex(mask), data[pos + 16:pos + 16 + size].rstrip(b"\0")))
        pos += 16 + size
    side.note("events", out)
