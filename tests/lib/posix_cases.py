#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The mount and a plain ext4 directory, call by call.

usage: posix_cases.py [--list] [--case NAME]... MOUNTED PLAIN

Every case runs at once in a fresh directory of each. What its calls gave
(results, errors, attributes, which times moved, contents) must be the same.
What FUSE forces to be otherwise is not asked; it stands in mount.seqmirror(8). Exit status 0 if all agree.
"""

import argparse
import os
import pickle
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import posix_attrs  # noqa: E402
import posix_data  # noqa: E402
import posix_dirs  # noqa: E402
import posix_errors  # noqa: E402
import posix_locks  # noqa: E402
import posix_perms  # noqa: E402
from posix_side import Side  # noqa: E402

PARTS = (posix_errors, posix_attrs, posix_perms, posix_data, posix_locks,
         posix_dirs)
TIMEOUT = 60
SHOWN = 12
PIPE = 100


def cases():
    for part in PARTS:
        for name, function in vars(part).items():
            if name.startswith("case_"):
                yield name[5:], function


def start(place, name, function):
    """A child that runs one case; returns (pid, where its record comes)."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    # The same descriptors on both sides.
    os.dup2(write_end, PIPE)
    os.closerange(3, PIPE)
    write_end = PIPE
    signal.alarm(TIMEOUT)
    where = os.path.join(place, name, "here")
    os.makedirs(where, 0o755)
    os.chdir(where)
    os.umask(0o022)
    side = Side(where)
    try:
        function(side)
    except BaseException as error:
        line = traceback.extract_tb(error.__traceback__)
        at = [f"{f.name}:{f.lineno}" for f in line][-4:]
        side.note("raised", f"{type(error).__name__}: {error} at {at}")
    with os.fdopen(write_end, "wb") as pipe:
        pickle.dump(side.lines, pipe)
    os._exit(0)


def finish(pid, read_end):
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    status = os.waitpid(pid, 0)[1]
    lines = pickle.loads(data) if data else []
    if status:
        lines.append(f"ended with {os.waitstatus_to_exitcode(status)}")
    return lines


def compare(name, mounted, plain):
    count = 0
    for i in range(max(len(mounted), len(plain))):
        a = mounted[i] if i < len(mounted) else "(no more)"
        b = plain[i] if i < len(plain) else "(no more)"
        if a == b:
            continue
        count += 1
        if count == 1:
            print(f"--- {name}")
        if count <= SHOWN:
            print(f"  mount  {a[:1500]}\n  plain  {b[:1500]}")
    if count > SHOWN:
        print(f"  ... {count} differences")
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--case", action="append")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("mounted", nargs="?")
    parser.add_argument("plain", nargs="?")
    args = parser.parse_args()
    done = failed = lines = 0
    for name, function in cases():
        if args.list:
            print(name)
            continue
        if args.case and name not in args.case:
            continue
        began = time.monotonic()
        sys.stdout.flush()
        sides = [start(place, name, function)
                 for place in (args.mounted, args.plain)]
        records = [finish(*side) for side in sides]
        done += 1
        lines += len(records[1])
        if args.show:
            print("\n".join(records[1]))
        raised = [line for line in records[1] if "raised" in line]
        if raised:
            print(f"--- {name}: the case itself is wrong: {raised}")
        if compare(name, *records) or raised:
            failed += 1
        if args.times:
            print(f"{time.monotonic() - began:6.2f} {name}")
    if not args.list:
        print(f"{done} cases, {lines} results compared, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
