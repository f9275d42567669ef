#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The story that is told most often: a tree is filled, a store goes away,
some things change, the store comes back.

usage: scenario.py fill DIR [--image-mib N] [--mapped-mib N] [--files N]
       scenario.py image DIR [--image-mib N] [--mapped-mib N]
       scenario.py change DIR [--seed N]
       scenario.py shutdown MOUNTPOINT     (its filesystem fails from now on)

`change` prints as JSON what a resync has to do for it: blocks_bytes, the size
of all blocks written; punched_bytes; and how many names came and went.
"""

import argparse
import ctypes
import fcntl
import json
import os
import random
import shutil
import struct
import sys

BLOCK = 4096
MIB = 1 << 20
WRITES = 200
PUNCH = 16 * MIB
NEW_FILES = 40
NEW_BYTES = 10_000
IOC_SHUTDOWN = 0x8004587D
SHUTDOWN_NOLOGFLUSH = 2


def fill_image(path, size, mapped, rng):
    """`mapped` bytes in 4 MiB pieces, evenly spread over `size`."""
    piece = 4 * MIB
    count = mapped // piece
    with open(path, "wb") as file:
        file.truncate(size)
        for i in range(count):
            file.seek(i * (size // count) // piece * piece)
            file.write(rng.randbytes(piece))


def image(args):
    rng = random.Random(1)
    os.chdir(args.dir)
    fill_image("disk.img", args.image_mib * MIB, args.mapped_mib * MIB, rng)
    return rng


def fill(args):
    rng = image(args)
    folders = max(10, args.files // 100)
    for i in range(folders):
        os.makedirs(f"tree/d{i:02}/sub")
    for i in range(args.files):
        folder = f"tree/d{i % folders:02}" + ("/sub" if i % 3 == 0 else "")
        with open(f"{folder}/file{i:04}", "wb") as file:
            file.write(rng.randbytes(rng.randrange(0, 6000)))


def punch(fd, start, length):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, 3, ctypes.c_int64(start), ctypes.c_int64(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def change_image(path, rng):
    fd = os.open(path, os.O_RDWR)
    size = os.fstat(fd).st_size
    mapped = []
    pos = 0
    while pos < size:
        try:
            start = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError:
            break
        pos = os.lseek(fd, start, os.SEEK_HOLE)
        mapped.append((start, pos))
    punched = 0
    for start, end in mapped[3::2]:
        length = min(end - start, PUNCH - punched)
        punch(fd, start, length)
        punched += length
        if punched == PUNCH:
            break
    blocks = [b for i, (s, e) in enumerate(mapped) if i < 3 or i % 2 == 0
              for b in range(s, e, BLOCK)]
    for block in rng.sample(blocks, WRITES):
        os.pwrite(fd, rng.randbytes(BLOCK), block)
    os.fsync(fd)
    os.close(fd)
    return punched


def change(args):
    rng = random.Random(args.seed)
    os.chdir(args.dir)
    punched = change_image("disk.img", rng)
    if args.image_only:
        print(json.dumps({"blocks_bytes": WRITES * BLOCK,
                          "punched_bytes": punched}))
        return
    os.chdir("tree")
    os.rename("d00", "moved")
    os.rename("d01", "away")
    os.rename("d02", "d01")
    os.rename("away", "d02")
    removed = sum(len(f) + len(d) for _, d, f in os.walk("d03")) + 1
    shutil.rmtree("d03")
    # A directory gives way to a file of the same name, and the reverse.
    os.rename("d04", "moved/d04")
    with open("d04", "wb") as file:
        file.write(b"a file now")
    for i in range(NEW_FILES):
        with open(f"d05/new{i:02}", "wb") as file:
            file.write(rng.randbytes(NEW_BYTES))
    some = sorted(e.name for e in os.scandir("d06") if e.is_file())
    os.link(f"d06/{some[0]}", "d05/linked")
    os.link(f"d06/{some[0]}", "linked")
    os.chmod(f"d06/{some[1]}", 0o600)
    os.setxattr(f"d06/{some[2]}", "user.note", b"changed while away")
    os.utime(f"d06/{some[3]}", ns=(1, 1_234_567_890_123_456_789))
    if os.geteuid() == 0:
        os.chown(f"d06/{some[4]}", 1234, 4321)
    os.rename(f"d06/{some[5]}", f"d06/{some[6]}")
    os.symlink("../moved", "d06/link")
    blocks = WRITES * BLOCK + NEW_FILES * -(-NEW_BYTES // BLOCK) * BLOCK
    print(json.dumps({
        "blocks_bytes": blocks + BLOCK,
        "punched_bytes": punched,
        "written_blocks": WRITES,
        "new_files": NEW_FILES + 1,
        "removed": removed,
    }))


def shutdown(args):
    fd = os.open(args.dir, os.O_RDONLY)
    fcntl.ioctl(fd, IOC_SHUTDOWN, struct.pack("=I", SHUTDOWN_NOLOGFLUSH))
    os.close(fd)


def main():
    parser = argparse.ArgumentParser()
    commands = {"fill": fill, "image": image, "change": change,
                "shutdown": shutdown}
    parser.add_argument("what", choices=commands)
    parser.add_argument("dir")
    parser.add_argument("--image-mib", type=int, default=1024)
    parser.add_argument("--mapped-mib", type=int, default=256)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--image-only", action="store_true",
                        help="change: leave the tree as it is")
    args = parser.parse_args()
    commands[args.what](args)


if __name__ == "__main__":
    sys.exit(main())
