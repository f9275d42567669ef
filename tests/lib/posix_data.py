# SPDX-License-Identifier: Apache-2.0
"""Contents: reads, writes, maps, holes."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import resource
import signal

from posix_side import (COLLAPSE, INSERT, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE,
                        AT_EMPTY_PATH, Side, data_map, fallocate, spit)
BLOCK = 4096


def aligned(size, shift=0):
    """A view of memory that begins @shift bytes behind a page."""
    return memoryview(mmap.mmap(-1, size + BLOCK))[shift:shift + size]


def case_direct_io(side: Side):
    """At every alignment the bytes are right, if the call is taken."""
    fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buf = aligned(3 * BLOCK)
    buf[:] = bytes(range(256)) * 48
    side.note("write", os.pwritev(fd, [buf], 0))
    for size in (BLOCK, 2 * BLOCK, 5 * BLOCK):
        into = aligned(size)
        for off in (0, BLOCK, 2 * BLOCK, 3 * BLOCK, 100 * BLOCK):
            got = os.preadv(fd, [into], off)
            side.note("read", [size, off, got, bytes(into[:got])[-4:]])
    os.ftruncate(fd, 5000)
    into = aligned(2 * BLOCK)
    side.note("short", os.preadv(fd, [into], 0))
    side.note("short", os.preadv(fd, [into], BLOCK))
    os.close(fd)
    side.look("f")
    plain = os.open("f", os.O_RDWR)
    direct = os.open("f", os.O_RDWR | os.O_DIRECT)
    for i in range(5):
        os.pwrite(plain, bytes([65 + i]) * 6000, 0)
        os.preadv(direct, [into], 0)
        side.note("sees", bytes(into[:2]))
        buf[:BLOCK] = bytes([97 + i]) * BLOCK
        os.pwritev(direct, [buf[:BLOCK]], 0)
        side.pread(plain, 3, 0)
        side.pread(plain, 3, BLOCK)
    side.look("f")


def case_direct_io_odd(side: Side):
    """Odd alignments: refused or right, never EINVAL half-way."""
    fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    want = bytearray()
    for shift, size, off in ((1, 512, 0), (0, 513, 512), (512, 1024, 512),
                             (7, 5000, 3), (0, 4095, 4096)):
        buf = aligned(size, shift)
        buf[:] = bytes([size % 251]) * size
        try:
            count = os.pwritev(fd, [buf], off)
        except OSError as error:
            assert error.errno == errno.EINVAL
            continue
        assert count == size
        want += bytes(max(0, off + size - len(want)))
        want[off:off + size] = bytes(buf)
    with open("f", "rb") as file:
        assert file.read() == bytes(want)
    for shift, size, off in ((1, 100, 0), (0, 100, 1), (3, 5000, 7)):
        buf = aligned(size, shift)
        try:
            count = os.preadv(fd, [buf], off)
        except OSError as error:
            assert error.errno == errno.EINVAL
            continue
        assert bytes(buf[:count]) == bytes(want[off:off + count])
    side.note("consistent")


def case_map_shared(side: Side):
    for extra in (0, os.O_DIRECT):
        name = f"f{extra}"
        spit(name, b"a" * 3 * BLOCK + b"tail")
        fd = side.open(name, os.O_RDWR | extra)
        m = mmap.mmap(fd, 3 * BLOCK + 4)
        m[0:5] = b"first"
        m[2 * BLOCK:2 * BLOCK + 3] = b"two"
        m[3 * BLOCK + 2:3 * BLOCK + 4] = b"!!"
        side.slurp(name)
        plain = os.open(name, os.O_RDWR)
        os.pwrite(plain, b"WRITTEN", BLOCK)
        side.note("map sees", m[BLOCK:BLOCK + 8])
        os.ftruncate(plain, 4 * BLOCK)
        m[3 * BLOCK:3 * BLOCK + 2] = b"zz"
        side.pread(plain, 10, 3 * BLOCK)
        m.flush()
        os.fsync(fd)
        side.look(name)
        p = mmap.mmap(fd, BLOCK, mmap.MAP_PRIVATE)
        p[0:7] = b"private"
        os.pwrite(plain, b"X", 100)
        side.note("private", p[:8])
        side.slurp(name)
        m.close()
        os.close(fd)
        side.look(name)


def case_map_rights(side: Side):
    spit("f", b"x" * 100)
    ro, wo = os.open("f", os.O_RDONLY), os.open("f", os.O_WRONLY)
    for fd in (ro, wo):
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            for prot in (mmap.PROT_READ, mmap.PROT_WRITE | mmap.PROT_READ):
                try:
                    mmap.mmap(fd, 100, flags, prot).close()
                    side.note("map", "done")
                except OSError as error:
                    side.note("map", errno.errorcode[error.errno])
    d = os.open(".", os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_ssize_t
        r = libc.mmap(None, 4096, 1, 1, d, 0)
        side.note("map of a directory", [r, ctypes.get_errno()])
    finally:
        os.close(d)


def case_map_and_truncate(side: Side):
    """Behind the end of the file there is SIGBUS, and zeros after growing."""
    spit("f", b"y" * 4 * BLOCK)

    def touch(side, page, write):
        fd = os.open("f", os.O_RDWR)
        m = mmap.mmap(fd, 4 * BLOCK)
        m[3 * BLOCK]
        os.ftruncate(fd, BLOCK + 10)
        if write:
            m[page * BLOCK] = 7
        side.note("byte", m[page * BLOCK])

    for page in (0, 1, 2, 3):
        for write in (False, True):
            os.truncate("f", 4 * BLOCK)
            side.inside(f"page {page}", touch, page, write)
            side.look("f")
    fd = os.open("f", os.O_RDWR)
    m = mmap.mmap(fd, BLOCK + 10)
    m[BLOCK:BLOCK + 10] = b"z" * 10
    os.ftruncate(fd, BLOCK + 5)
    os.ftruncate(fd, 3 * BLOCK)
    side.note("zeros", m[BLOCK:BLOCK + 10])
    side.look("f")


def case_map_after_unlink(side: Side):
    spit("f", b"y" * 4 * BLOCK)
    fd = os.open("f", os.O_RDWR)
    m = mmap.mmap(fd, 4 * BLOCK)
    os.unlink("f")
    os.close(fd)
    m[BLOCK] = 1
    m.flush()
    side.note("byte", [m[BLOCK], m[0]])
    m.madvise(mmap.MADV_DONTNEED)
    side.note("byte", [m[BLOCK], m[0]])


def case_append_from_many(side: Side):
    spit("f", b"")
    pids = []
    for who in range(6):
        pid = os.fork()
        if pid == 0:
            fd = os.open("f", os.O_WRONLY | os.O_APPEND)
            for i in range(150):
                os.write(fd, b"%d:%03d;" % (who, i) * (1 + i % 3))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        side.note("writer", os.waitpid(pid, 0)[1])
    data = open("f", "rb").read()
    records = data.split(b";")[:-1]
    side.note("size", len(data))
    side.note("records", sorted(records)[::40])
    for who in range(6):
        mine = [r for r in records if r.startswith(b"%d:" % who)]
        side.note("in order", mine == sorted(mine))


def case_append(side: Side):
    spit("f", b"0123456789")
    fd = os.open("f", os.O_RDWR | os.O_APPEND)
    side.pwrite(fd, b"AB", 0)
    side.lseek(fd, 2, 0)
    side.write(fd, b"CD")
    side.lseek(fd, 0, 1)
    side.slurp("f")
    side.ftruncate(fd, 5)
    side.write(fd, b"EF")
    other = os.open("f", os.O_WRONLY)
    side.pwrite(other, b"far", 100)
    side.write(fd, b"end")
    side.slurp("f")
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    side.pwrite(fd, b"!", 0)
    side.slurp("f")
    fcntl.fcntl(other, fcntl.F_SETFL, os.O_APPEND)
    side.pwrite(other, b"!", 0)
    side.slurp("f")
    new = os.open("g", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    side.write(new, b"one")
    side.write(new, b"two")
    side.slurp("g")
    direct = os.open("g", os.O_WRONLY | os.O_APPEND | os.O_DIRECT)
    os.ftruncate(new, 4096)
    side.note("direct", os.writev(direct, [aligned(4096)]))
    side.lstat("g")


def case_open_unlinked(side: Side):
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    side.write(fd, b"x" * 10000)
    side.unlink("f")
    side.fstat(fd)
    side.pread(fd, 20, 0)
    side.pwrite(fd, b"new", 20000)
    side.ftruncate(fd, 20001)
    side.data_map(fd)
    side.fsync(fd)
    side.note("link", os.readlink(f"/proc/self/fd/{fd}").endswith("f (deleted)"))
    again = side.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    side.pread(again, 5, 19998)
    side.link_fd(fd, "back")
    side.linkat(fd, "", "back2", AT_EMPTY_PATH)
    side.lstat("back")
    spit("f", b"another")
    side.pread(fd, 5, 0)
    side.slurp("f")
    side.setxattr(fd, "user.a", b"v")
    side.getxattr(fd, "user.a")
    os.close(again)
    side.pread(fd, 5, 0)
    os.close(fd)
    side.tree()


def case_open_replaced(side: Side):
    spit("a", b"old")
    spit("b", b"new")
    fd = os.open("a", os.O_RDWR)
    side.rename("b", "a")
    side.pread(fd, 10, 0)
    side.fstat(fd)
    side.pwrite(fd, b"OLD", 0)
    side.slurp("a")
    side.pread(fd, 10, 0)


def case_open_moved(side: Side):
    os.makedirs("d/sub")
    os.mkdir("e")
    fd = os.open("d/sub/f", os.O_RDWR | os.O_CREAT)
    side.rename("d/sub", "e/moved")
    side.write(fd, b"after")
    side.rename("e", "d/e")
    side.write(fd, b"again")
    side.slurp("d/e/moved/f")
    side.unlink("d/e/moved/f")
    side.rmdir("d/e/moved")
    side.write(fd, b"gone")
    side.pread(fd, 50, 0)
    side.tree()


def case_link_of_linked(side: Side):
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x")
    side.link_fd(fd, "g")
    side.linkat(fd, "", "h", AT_EMPTY_PATH)
    side.unlink("f")
    side.link_fd(fd, "i")
    side.tree()


def case_tmpfile(side: Side):
    fd = None
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP, error
    if fd is not None:
        os.close(fd)
    side.note("tried")


def case_sparse(side: Side):
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    for off in (1 << 20, (1 << 31) - 1, (1 << 32) + 5, (1 << 40) + 3,
                (1 << 44) - 4096 - 10):
        side.pwrite(fd, b"here", off)
        side.fstat(fd)
        side.pread(fd, 10, off - 3)
    side.data_map(fd)
    side.pread(fd, 10, 1 << 42)
    for off in (1 << 33, 1 << 41):
        side.raw_lseek(fd, off, os.SEEK_DATA)
        side.raw_lseek(fd, off, os.SEEK_HOLE)
    side.fsync(fd)
    side.call("fallocate", fd, KEEP_SIZE | PUNCH_HOLE, 1 << 32, 1 << 40)
    side.data_map(fd)
    side.ftruncate(fd, (1 << 32) + 1)
    side.data_map(fd)
    m = mmap.mmap(fd, BLOCK, offset=1 << 31)
    m[0] = 1
    m.close()
    side.data_map(fd)


def case_seek_fresh(side: Side):
    """What was just written, by any way, is data."""
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    size = 1 << 20
    side.ftruncate(fd, size)
    side.data_map(fd)
    side.pwrite(fd, b"x", 100_000)
    side.data_map(fd)
    m = mmap.mmap(fd, size)
    m[400_000] = 1
    side.data_map(fd)
    side.call("fallocate", fd, KEEP_SIZE | PUNCH_HOLE, 65536, 65536)
    side.data_map(fd)
    side.pwrite(fd, b"y" * 5000, 700_000)
    side.raw_lseek(fd, 500_000, os.SEEK_DATA)
    side.raw_lseek(fd, 700_000, os.SEEK_HOLE)
    side.raw_lseek(fd, 0, os.SEEK_HOLE)
    side.raw_lseek(fd, size - 1, os.SEEK_HOLE)
    side.raw_lseek(fd, size, os.SEEK_HOLE)
    side.raw_lseek(fd, size - 1, os.SEEK_DATA)
    side.raw_lseek(fd, size + 1, os.SEEK_DATA)
    side.raw_lseek(fd, -1, os.SEEK_DATA)
    side.raw_lseek(fd, 1 << 62, os.SEEK_DATA)
    side.pwrite(fd, b"end", size)
    side.raw_lseek(fd, size, os.SEEK_DATA)
    side.raw_lseek(fd, 0, os.SEEK_END)
    ro = os.open("f", os.O_RDONLY)
    os.pwrite(fd, b"z", 900_000)
    side.data_map(ro)
    d = os.open(".", os.O_RDONLY)
    side.raw_lseek(fd, 0, os.SEEK_DATA)
    assert d


def case_allocate_modes(side: Side):
    allocate_modes(side, False)


def case_allocate_modes_of_what_is_on_disk(side: Side):
    """Blocks are counted here: of what is written meanwhile, piece by piece,
    ext4 may make more extents than its inode has room for, and counts that."""
    allocate_modes(side, True)


def allocate_modes(side: Side, on_disk: bool):
    for mode in (0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE,
                 ZERO_RANGE | KEEP_SIZE):
        for off, length in ((0, 1), (0, BLOCK), (1, BLOCK), (100, 50),
                            (BLOCK - 1, 2), (BLOCK + 7, 3 * BLOCK),
                            (30_000, 20_000), (60_000, 10_000),
                            (39_999, 1), (40_000, 1)):
            name = f"f{mode}-{off}-{length}"
            fd = os.open(name, os.O_RDWR | os.O_CREAT)
            os.write(fd, bytes(range(1, 251)) * 160)
            if on_disk:
                os.fsync(fd)
            side.call("fallocate", fd, mode, off, length)
            side.look(name)
            os.fsync(fd)
            if mode & PUNCH_HOLE:
                side.data_map(fd)
            if on_disk:
                side.note("blocks", os.fstat(fd).st_blocks)
            os.close(fd)


def case_collapse_and_insert(side: Side):
    """Refused with the error of a filesystem that has neither."""
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 8 * BLOCK)
    for mode in (COLLAPSE, INSERT):
        try:
            fallocate(fd, mode, 0, BLOCK)
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
    side.note("tried")


def case_random_bytes(side: Side):
    rng = random.Random(5)
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    m = None
    for i in range(500):
        off, length = rng.randrange(200_000), rng.randrange(1, 20_000)
        kind = rng.randrange(8)
        if kind < 3:
            os.pwrite(fd, bytes([i % 256]) * length, off)
        elif kind == 3:
            os.ftruncate(fd, off)
        elif kind == 4:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, off, length)
        elif kind == 5:
            fallocate(fd, ZERO_RANGE | rng.choice((0, KEEP_SIZE)), off, length)
        elif kind == 6 and os.fstat(fd).st_size > off:
            with mmap.mmap(fd, 0) as m:
                end = min(off + length, len(m))
                m[off:end] = bytes([i % 256]) * (end - off)
        else:
            side.pread(fd, length, off)
        if i % 20 == 0:
            side.note("size", os.fstat(fd).st_size)
            side.note("sum", sum(os.pread(fd, 1 << 20, 0)))
    os.fsync(fd)
    side.look("f")


def case_copies_in_the_kernel(side: Side):
    data = bytes(range(256)) * 1000
    spit("a", data)
    for call in ("copy_file_range", "sendfile", "splice"):
        a = os.open("a", os.O_RDONLY)
        b = os.open(call, os.O_RDWR | os.O_CREAT)
        os.pwrite(b, b"before", 0)
        done = 0
        while done < 200_000:
            want = min(50_000, 200_000 - done)
            if call == "copy_file_range":
                n = os.copy_file_range(a, b, want, 1000 + done, 5 + done)
            elif call == "sendfile":
                os.lseek(b, 5 + done, 0)
                n = os.sendfile(b, a, 1000 + done, want)
            else:
                r, w = os.pipe()
                n = os.splice(a, w, want, offset_src=1000 + done)
                n = os.splice(r, b, n, offset_dst=5 + done)
                os.close(r)
                os.close(w)
            assert n > 0
            done += n
        side.look(call)
    a = os.open("a", os.O_RDWR)
    side.call("copy_file_range", a, a, 100, 0, 50)
    side.call("copy_file_range", a, a, 100, 0, 1000)
    side.call("copy_file_range", a, a, 100, 1 << 40, 0)
    side.call("copy_file_range", a, a, 0, 0, 1000)
    ro = os.open("a", os.O_RDONLY)
    side.call("copy_file_range", a, ro, 10, 0, 1000)
    d = os.open(".", os.O_RDONLY)
    side.call("copy_file_range", d, a, 10)
    ap = os.open("a", os.O_WRONLY | os.O_APPEND)
    side.call("copy_file_range", ro, ap, 10)
    side.look("a")
    tmp = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)
    os.write(tmp, b"elsewhere")
    os.lseek(tmp, 0, 0)
    side.call("sendfile", a, tmp, 0, 9)
    side.look("a")


def case_vectors_and_flags(side: Side):
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    side.note("writev", os.writev(fd, [b"ab", b"", b"cdef"]))
    side.note("pwritev", os.pwritev(fd, [b"XY", b"Z"], 10))
    side.note("dsync", os.pwritev(fd, [b"s"], 20, os.RWF_DSYNC))
    side.note("sync", os.pwritev(fd, [b"s"], 21, os.RWF_SYNC))
    side.note("append", os.pwritev(fd, [b"ap"], 0, os.RWF_APPEND))
    bufs = [bytearray(3), bytearray(100)]
    side.note("preadv", [os.preadv(fd, bufs, 1), bytes(bufs[0]),
                         bytes(bufs[1])])
    side.look("f")
    side.call("sync_file_range", fd, 0, 0, 7)
    side.call("sync_file_range", fd, 0, 0, 8)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    side.look("f")
    for flag in (os.O_SYNC, os.O_DSYNC, os.O_NOATIME):
        other = os.open("f", os.O_RDWR | flag)
        side.write(other, b"through")
        os.close(other)
    side.look("f")


def case_size_limit(side: Side):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    side.write(fd, b"x" * 9_000)
    side.write(fd, b"x" * 9_000)
    side.write(fd, b"x")
    side.pwrite(fd, b"x", 10_000)
    side.pwrite(fd, b"x", 9_999)
    side.ftruncate(fd, 10_001)
    side.ftruncate(fd, 10_000)
    side.call("fallocate", fd, 0, 0, 10_001)
    side.call("fallocate", fd, KEEP_SIZE, 0, 10_001)
    side.look("f")
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    side.inside("dies", lambda side: side.pwrite(fd, b"x", 20_000))


def case_close_order(side: Side):
    spit("f", b"")
    fds = [os.open("f", os.O_RDWR) for _ in range(5)]
    for i, fd in enumerate(fds):
        side.pwrite(fd, bytes([65 + i]) * 5000, i * 3000)
    for i in (2, 0, 4, 1, 3):
        os.close(fds[i])
        side.slurp("f")
    fd = os.open("g", os.O_RDWR | os.O_CREAT)
    m = mmap.mmap(-1, 4096)
    os.ftruncate(fd, 4096)
    m = mmap.mmap(fd, 4096)
    os.close(fd)
    m[0:3] = b"map"
    side.slurp("g")
    fd = os.open("g", os.O_WRONLY)
    os.write(fd, b"WR")
    os.close(fd)
    side.note("map", m[0:3])
    m.close()
    side.slurp("g")


def case_write_only(side: Side):
    """Parts of pages, through descriptors that cannot read."""
    spit("f", b"0" * 10000)
    fd = os.open("f", os.O_WRONLY)
    side.pwrite(fd, b"abc", 5000)
    side.pwrite(fd, b"def", 9999)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    side.pwrite(fd, b"ghi", 2000)
    side.look("f")
    new = os.open("g", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o200)
    side.pwrite(new, b"tail", 10)
    side.pwrite(new, b"head", 0)
    os.close(new)
    side.look("g")


def case_truncate_on_open(side: Side):
    spit("f", b"x" * 10000)
    fd = os.open("f", os.O_RDONLY)
    for i in range(30):
        other = os.open("f", os.O_WRONLY | os.O_TRUNC)
        side.fstat(fd)
        side.pread(fd, 10, 0)
        os.write(other, b"%d" % i * 100)
        os.close(other)
        side.pread(fd, 5, 0)
        side.lstat("f")


def case_two_files_exchanged(side: Side):
    spit("a", b"a" * 5000)
    spit("b", b"b" * 3000)
    a, b = os.open("a", os.O_RDWR), os.open("b", os.O_RDWR)
    os.pwrite(a, b"A", 0)
    os.pwrite(b, b"B", 0)
    side.renameat2("a", "b", 2)
    os.pwrite(a, b"AA", 10)
    side.slurp("a")
    side.slurp("b")
    side.fstat(a)
    side.unlink("a")
    side.pread(b, 3, 0)
    side.tree()
