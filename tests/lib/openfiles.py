#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many open files: openfiles.py MOUNTPOINT COUNT [EACH]

COUNT files held open by as many processes as it takes with EACH (default 700)
for each of them. Commands, one a line, answered with "ok" or what is wrong:

open       make them, with contents of their own
unlink     take the names of two thirds away, rename over the last third
write      other contents
check      contents, sizes, link counts
close      end
"""

import os
import subprocess
import sys


class Some:
    def __init__(self, mnt, first, last):
        self.mnt = mnt
        self.numbers = range(first, last)
        self.fds = {}
        self.turn = 0
        self.nlink = 1

    def path(self, number):
        return f"{self.mnt}/open{number}"

    def text(self, number):
        return b"%d of turn %d" % (number, self.turn) + b"." * (number % 50)

    def do_open(self):
        for i in self.numbers:
            self.fds[i] = os.open(self.path(i), os.O_RDWR | os.O_CREAT
                                  | os.O_EXCL)
        self.do_write()

    def do_write(self):
        self.turn += 1
        for i, fd in self.fds.items():
            os.truncate(fd, 0)
            os.pwrite(fd, self.text(i), 0)

    def do_unlink(self):
        self.nlink = 0
        for i in self.numbers:
            if i % 3:
                os.unlink(self.path(i))
                continue
            new = self.path(i) + "new"
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.rename(new, self.path(i))
            os.unlink(self.path(i))

    def do_check(self):
        for i, fd in self.fds.items():
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if os.pread(fd, 4096, 0) != self.text(i):
                return f"file {i}: contents"
            st = os.fstat(fd)
            if (st.st_nlink, st.st_size) != (self.nlink, len(self.text(i))):
                return f"file {i}: {st.st_nlink} links, {st.st_size} bytes"
        return None

    def do_close(self):
        sys.exit()


def serve(some):
    for line in sys.stdin:
        try:
            wrong = getattr(some, "do_" + line.strip())()
        except OSError as error:
            wrong = repr(error)
        print(wrong or "ok", flush=True)


def main():
    mnt, count = sys.argv[1], int(sys.argv[2])
    each = int(sys.argv[3]) if len(sys.argv) > 3 else 700
    if len(sys.argv) > 4:
        serve(Some(mnt, int(sys.argv[4]), count))
        return
    holders = [subprocess.Popen(
        [sys.executable, __file__, mnt, str(min(first + each, count)),
         str(each), str(first)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for first in range(0, count, each)]
    for line in sys.stdin:
        for holder in holders:
            holder.stdin.write(line)
        answers = [holder.stdout.readline().strip() or "ended"
                   for holder in holders]
        if line.strip() == "close":
            answers = [str(h.wait()) for h in holders if h.wait() != 0]
        wrong = [a for a in answers if a != "ok"]
        print(wrong[0] if wrong else "ok", flush=True)
        if line.strip() == "close":
            return


if __name__ == "__main__":
    main()
