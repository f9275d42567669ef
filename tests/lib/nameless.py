#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files without a name, kept open: nameless.py MOUNTPOINT

Reads commands, one a line, and answers each with "ok" or what is wrong:

make SEED     some of every kind, removed at once
remove        those made with a name before
change SEED   contents, sizes, holes, attributes
busy, quiet   one that is written to all the time in between
large MIB     one of random bytes
check         everything is as it was made and changed
close         all
"""

import os
import random
import stat
import sys
import threading

BLOCK = 4096


class File:
    def __init__(self, path, rng):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        self.data = bytearray()
        self.attrs = {}
        self.mode = 0o640
        self.owner = (0, 0)
        self.change(rng)

    def write(self, off, data):
        os.pwrite(self.fd, data, off)
        if off > len(self.data):
            self.data.extend(bytes(off - len(self.data)))
        self.data[off:off + len(data)] = data

    def change(self, rng):
        for _ in range(6):
            self.write(rng.randrange(900_000), rng.randbytes(
                rng.choice((1, 100, BLOCK, 50_000))))
        size = rng.randrange(1_000_000)
        os.truncate(self.fd, size)
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        self.mode = rng.choice((0o600, 0o4755, 0o2711, 0o444))
        self.owner = (rng.randrange(3), rng.randrange(3))
        os.chown(self.fd, *self.owner)
        os.chmod(self.fd, self.mode)
        name, value = f"user.x{rng.randrange(4)}", rng.randbytes(20)
        os.setxattr(self.fd, name, value)
        self.attrs[name] = value
        os.utime(self.fd, ns=(0, 1_000_000_000 * rng.randrange(10 ** 9) + 7))
        self.mtime = os.fstat(self.fd).st_mtime_ns

    def check(self, nlink):
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        st = os.fstat(self.fd)
        have = (st.st_nlink, st.st_size, stat.S_IMODE(st.st_mode), st.st_uid,
                st.st_gid, st.st_mtime_ns)
        want = (nlink, len(self.data), self.mode, *self.owner, self.mtime)
        if have != want:
            return f"attributes {have}, wanted {want}"
        if os.pread(self.fd, len(self.data) + 1, 0) != self.data:
            return "contents"
        attrs = {name: os.getxattr(self.fd, name)
                 for name in os.listxattr(self.fd) if name.startswith("user.")}
        return attrs != self.attrs and "xattrs"


class Holder:
    def __init__(self, mnt):
        self.mnt = mnt
        self.files = []
        self.named = []
        self.others = []
        self.thread = None
        self.large_fd = None

    def path(self, name):
        return os.path.join(self.mnt, name)

    def do_make(self, seed):
        rng = random.Random(int(seed))
        for i in range(8):
            name = self.path(f"f{i}")
            self.files.append(File(name, rng))
            if i < 4:
                os.unlink(name)
            else:
                self.named.append(name)
        os.sync()
        for kind, make in (
                (stat.S_IFDIR, os.mkdir), (stat.S_IFIFO, os.mkfifo),
                (stat.S_IFCHR, lambda p: os.mknod(p, 0o600 | stat.S_IFCHR,
                                                  os.makedev(1, 3))),
                (stat.S_IFLNK, lambda p: os.symlink("to " + "x" * 200, p))):
            name = self.path("other")
            make(name)
            os.chown(name, 5, 6, follow_symlinks=False)
            self.others.append((kind, os.open(name, os.O_PATH
                                              | os.O_NOFOLLOW)))
            (os.rmdir if kind == stat.S_IFDIR else os.unlink)(name)

    def do_remove(self):
        for name in self.named:
            os.unlink(name)

    def do_change(self, seed):
        rng = random.Random(int(seed))
        for file in self.files:
            file.change(rng)

    def run_busy(self):
        rng = random.Random(5)
        file = self.files[0]
        while not self.stop:
            file.write(rng.randrange(20_000_000), rng.randbytes(9000))
            if rng.random() < 0.01:
                os.fsync(file.fd)
        file.change(rng)

    def do_busy(self):
        self.stop = False
        self.thread = threading.Thread(target=self.run_busy)
        self.thread.start()

    def do_quiet(self):
        self.stop = True
        self.thread.join()

    def do_large(self, mib):
        name = self.path("large")
        file = File(name, random.Random(6))
        os.unlink(name)
        file.write(0, random.Random(7).randbytes(int(mib) << 20))
        os.fsync(file.fd)
        os.utime(file.fd, ns=(0, 5))
        file.mtime = 5
        os.chmod(file.fd, file.mode)
        self.files.append(file)

    def do_check(self):
        for i, file in enumerate(self.files):
            wrong = file.check(int(os.path.exists(self.path(f"f{i}"))))
            if wrong:
                return f"file {i}: {wrong}"
        for kind, fd in self.others:
            st = os.fstat(fd)
            have = (stat.S_IFMT(st.st_mode), st.st_uid, st.st_gid)
            if have != (kind, 5, 6):
                return f"kind {kind:o}: {have}"
            if kind == stat.S_IFCHR and st.st_rdev != os.makedev(1, 3):
                return "another device"
            if kind == stat.S_IFLNK and os.readlink("", dir_fd=fd) != (
                    "to " + "x" * 200):
                return "another target"
        return None

    def do_close(self):
        for file in self.files:
            os.close(file.fd)
        for _, fd in self.others:
            os.close(fd)
        self.files = self.others = []


def main():
    holder = Holder(sys.argv[1])
    for line in sys.stdin:
        words = line.split()
        try:
            wrong = getattr(holder, "do_" + words[0])(*words[1:])
        except OSError as error:
            wrong = repr(error)
        print(wrong or "ok", flush=True)


if __name__ == "__main__":
    main()
