#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A steady application: random writes, fsyncs, creates, renames, deletes.

usage: writer.py DIR STOP_FILE [--seed N] [--log FILE] [--endless]
                 [--ready FILE]

Makes the ready file after a hundred operations. Works in DIR until STOP_FILE exists (or, with --endless, until it is killed),
then prints as JSON how much it did and the longest time that one operation
took. Any error ends it with status 1; with --log, an error that comes when
the mount is gone is expected, and FILE says what is safe:

    fsync NAME OFFSET VERSION      this block of NAME is durable with VERSION

Each block of 4096 bytes is its VERSION, a rising number, written over and
over. `writer.py --check FILE DIR` reads DIR and compares: a block may be
newer than what was logged, never older, and never a mixture.
"""

import argparse
import json
import os
import random
import struct
import sys
import time

BLOCK = 4096
FILES = 8
FILE_BLOCKS = 256


class Worst:
    """Times operations and remembers the slowest."""

    def __init__(self):
        self.worst = 0.0
        self.what = ""
        self.count = 0
        self.kinds = {}

    def run(self, what, function, *args):
        begin = time.monotonic()
        result = function(*args)
        took = time.monotonic() - begin
        self.count += 1
        self.kinds[what] = self.kinds.get(what, 0) + 1
        if took > self.worst:
            self.worst, self.what = took, what
        return result


def block_of(version):
    return struct.pack("<Q", version) * (BLOCK // 8)


class Writer:
    def __init__(self, args):
        self.dir = args.dir
        self.rng = random.Random(args.seed)
        self.worst = Worst()
        self.log = open(args.log, "a", buffering=1) if args.log else None
        self.version = self.first = args.first
        self.pending = {}
        self.names = []
        self.serial = 0
        self.fds = {}
        # Not what is above it: without the mount that must fail.
        if not os.path.isdir(self.dir):
            os.mkdir(self.dir)
        for i in range(FILES):
            name = f"data{i}"
            self.fds[name] = os.open(os.path.join(self.dir, name),
                                     os.O_RDWR | os.O_CREAT, 0o644)

    def write(self):
        name = self.rng.choice(list(self.fds))
        offset = self.rng.randrange(FILE_BLOCKS) * BLOCK
        self.version += 1
        self.worst.run("write", os.pwrite, self.fds[name],
                       block_of(self.version), offset)
        self.pending.setdefault(name, {})[offset] = self.version

    def fsync(self):
        name = self.rng.choice(list(self.fds))
        self.worst.run("fsync", os.fsync, self.fds[name])
        for offset, version in self.pending.pop(name, {}).items():
            if self.log:
                self.log.write(f"fsync {name} {offset} {version}\n")

    def path(self, name):
        return os.path.join(self.dir, name)

    def create(self):
        name = f"small{self.serial}"
        self.serial += 1
        fd = self.worst.run("create", os.open, self.path(name),
                            os.O_WRONLY | os.O_CREAT, 0o644)
        self.worst.run("write", os.write, fd, b"x" * self.rng.randrange(9000))
        self.worst.run("close", os.close, fd)
        self.names.append(name)

    def rename(self):
        if self.names:
            i = self.rng.randrange(len(self.names))
            name = f"moved{self.serial}"
            self.serial += 1
            self.worst.run("rename", os.rename, self.path(self.names[i]),
                           self.path(name))
            self.names[i] = name

    def delete(self):
        if len(self.names) > 20:
            i = self.rng.randrange(len(self.names))
            self.worst.run("delete", os.unlink,
                           self.path(self.names.pop(i)))

    def folder(self):
        # One that was killed may have left its folder behind.
        name = self.path(f"folder{self.first}-{self.serial}")
        self.serial += 1
        self.worst.run("mkdir", os.mkdir, name)
        self.worst.run("rmdir", os.rmdir, name)

    def step(self):
        kind = self.rng.choices(
            [self.write, self.fsync, self.create, self.rename, self.delete,
             self.folder], [60, 5, 12, 8, 12, 3])[0]
        kind()


def check(log, directory):
    safe = {}
    with open(log) as lines:
        for line in lines:
            # A line that was cut when the writer was killed says nothing.
            if not line.endswith("\n"):
                continue
            _, name, offset, version = line.split()
            safe[name, int(offset)] = int(version)
    wrong = 0
    for (name, offset), version in sorted(safe.items()):
        with open(os.path.join(directory, name), "rb") as file:
            file.seek(offset)
            block = file.read(BLOCK)
        found = struct.unpack("<Q", block[:8])[0] if len(block) >= 8 else -1
        if found < version or block != block_of(found):
            print(f"{name} at {offset}: version {found}, "
                  f"durable was {version}")
            wrong += 1
    print(f"{len(safe)} durable blocks, {wrong} wrong")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("stop")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--log")
    parser.add_argument("--ready")
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--pause-ms", type=float, default=0)
    if sys.argv[1] == "--check":
        return check(*sys.argv[2:4])
    args = parser.parse_args()
    steps = 0
    try:
        writer = Writer(args)
        while args.endless or not os.path.exists(args.stop):
            writer.step()
            steps += 1
            if steps == 100 and args.ready:
                open(args.ready, "w").close()
            if args.pause_ms:
                time.sleep(args.pause_ms / 1000)
    except OSError as error:
        if args.endless:
            return 0
        print(f"writer: {error}", file=sys.stderr)
        return 1
    for fd in writer.fds.values():
        os.close(fd)
    print(json.dumps({
        "operations": writer.worst.count,
        "worst_ms": round(writer.worst.worst * 1000),
        "worst_what": writer.worst.what,
        "kinds": writer.worst.kinds,
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
