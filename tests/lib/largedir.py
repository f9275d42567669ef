#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A large directory that is read while it changes: largedir.py DIR COUNT

Half of the entries stay, the others come and go: while the directory is read
from its beginning, files are made, removed and renamed in it by another
process. Every entry that stays is seen exactly once, nothing is seen twice
under one position, and a position that was told leads to what came after it,
also long after.

Commands on standard input, one a line, each answered with "ok" or what is
wrong: fill, churn (until "calm"), calm, read N (times; in small portions and
large), seek N (positions of the last read), names (what is there at the end).
"""

import ctypes
import errno
import os
import random
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
SYS_getdents64 = {"x86_64": 217, "aarch64": 61}.get(os.uname().machine)


def portions(fd, size):
    """Lists of (name, position behind it), as the kernel hands them out."""
    buf = ctypes.create_string_buffer(size)
    while True:
        got = libc.syscall(SYS_getdents64, fd, buf, size)
        if got < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        if got == 0:
            return
        raw = buf.raw[:got]
        at = 0
        out = []
        while at < got:
            behind = int.from_bytes(raw[at + 8:at + 16], sys.byteorder,
                                    signed=True)
            length = int.from_bytes(raw[at + 16:at + 18], sys.byteorder)
            out.append((raw[at + 19:at + length].split(b"\0", 1)[0], behind))
            at += length
        yield out


def churn(place, seed):
    """Until standard input ends."""
    rng = random.Random(seed)
    os.set_blocking(0, False)
    there = []
    serial = 0
    while True:
        try:
            if os.read(0, 1) == b"":
                break
        except BlockingIOError:
            pass
        serial += 1
        if len(there) < 2000 or rng.random() < 0.4:
            name = f"{place}/come{serial}"
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            there.append(name)
        elif rng.random() < 0.5:
            os.unlink(there.pop(rng.randrange(len(there))))
        else:
            at = rng.randrange(len(there))
            name = f"{place}/moved{serial}"
            os.rename(there[at], name)
            there[at] = name
    for name in there:
        os.unlink(name)


class LargeDir:
    def __init__(self, place, count):
        self.place = place
        self.stay = {b"stay%d" % i for i in range(count)}
        self.seen = []
        self.churner = None
        self.rng = random.Random(1)

    def do_fill(self):
        os.mkdir(self.place)
        for name in sorted(self.stay):
            os.close(os.open(os.path.join(os.fsencode(self.place), name),
                             os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    def do_churn(self):
        self.churner = subprocess.Popen(
            [sys.executable, __file__, self.place, "churn"],
            stdin=subprocess.PIPE)

    def do_calm(self):
        self.churner.stdin.close()
        if self.churner.wait() != 0:
            return "the one that changes failed"
        return None

    def wrong(self, names, what):
        stayed = [n for n in names if n in self.stay]
        if len(stayed) != len(set(stayed)):
            twice = {n for n in stayed if stayed.count(n) > 1} if len(
                stayed) < 3000 else "some"
            return f"{what}: seen twice: {twice}"
        return None

    def do_read(self, times):
        for turn in range(int(times)):
            size = (1 << 15, 1 << 10, 1 << 17)[turn % 3]
            fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
            self.seen = [e for part in portions(fd, size) for e in part]
            os.close(fd)
            names = [name for name, _ in self.seen]
            wrong = self.wrong(names, "read")
            if wrong:
                return wrong
            missed = self.stay - set(names)
            if missed:
                return f"{len(missed)} missed, {sorted(missed)[:3]}"
            told = [behind for _, behind in self.seen]
            if len(told) != len(set(told)):
                return "one position for two entries"
        return None

    def do_seek(self, times):
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(int(times)):
            at = self.rng.randrange(len(self.seen))
            os.lseek(fd, self.seen[at][1], os.SEEK_SET)
            names = [n for n, _ in next(portions(fd, 1 << 15), [])
                     if n in self.stay]
            want = [n for n, _ in self.seen[at + 1:] if n in self.stay]
            if names != want[:len(names)] or (want and not names):
                return f"position {self.seen[at][1]}: {names[:2]}, " \
                       f"wanted {want[:2]}"
        os.close(fd)
        return None

    def do_names(self):
        have = set(os.listdir(os.fsencode(self.place)))
        return None if have == self.stay else \
            f"{len(have - self.stay)} too many, " \
            f"{len(self.stay - have)} too few"


def main():
    place = sys.argv[1]
    if sys.argv[2] == "churn":
        churn(place, os.getpid())
        return
    large = LargeDir(place, int(sys.argv[2]))
    for line in sys.stdin:
        words = line.split()
        try:
            wrong = getattr(large, "do_" + words[0])(*words[1:])
        except OSError as error:
            wrong = f"{errno.errorcode.get(error.errno)} {error}"
        print(wrong or "ok", flush=True)


if __name__ == "__main__":
    main()
