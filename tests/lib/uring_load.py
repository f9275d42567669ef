#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many processes on one processor, each with requests that take long: fsync,
and SEEK_DATA over pages that only the kernel has, which is answered after the
WRITE that it causes.

usage: uring_load.py DIR PROCESSES ROUNDS [no-seek]
"""

import os
import signal
import sys

AT = 1 << 20
DEADLINE_S = 60


def work(where, number, rounds, seek):
    signal.alarm(DEADLINE_S)
    data = bytes([number % 251 + 1]) * 5000
    for i in range(rounds):
        name = os.path.join(where, f"{number}-{i}")
        fd = os.open(name + ".new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.pwrite(fd, data, AT)
        found = os.lseek(fd, 0, os.SEEK_DATA) if seek else AT
        if found != AT:
            raise SystemExit(f"{name}: data at {found}, written at {AT}")
        os.fsync(fd)
        os.rename(name + ".new", name)
        if os.pread(fd, len(data), AT) != data:
            raise SystemExit(f"{name}: reads something else")
        if os.fstat(fd).st_size != AT + len(data):
            raise SystemExit(f"{name}: size {os.fstat(fd).st_size}")
        os.close(fd)
        if i % 3 == 2:
            os.unlink(name)


def main():
    where, processes, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    seek = sys.argv[4:] != ["no-seek"]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pids = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            work(where, number, rounds, seek)
            os._exit(0)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        sys.exit(f"{sum(1 for s in statuses if s)} of {processes} failed: "
                 f"{sorted(set(statuses))}")


main()
