#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Fill a filesystem, each in a way of its own, until it says ENOSPC or EDQUOT;
any other error ends with status 1. Prints what was written.

usage: fill.py big|small|sparse|append DIR [--seed N]
"""
import argparse
import errno
import os
import random
import sys

FULL = (errno.ENOSPC, errno.EDQUOT)


def big(top, rng):
    """One file, 1 MiB after the other; its tail is known only by fsync."""
    fd = os.open(f"{top}/big", os.O_RDWR | os.O_CREAT, 0o644)
    block = rng.randbytes(1 << 20)
    done = 0
    try:
        while True:
            done += os.write(fd, block)
            os.fsync(fd)
    finally:
        os.close(fd)
        print("big", done)


def small(top, rng):
    """Files of 1 to 16 KiB in a hundred directories."""
    done = 0
    try:
        while True:
            folder = f"{top}/small/{done % 100}"
            os.makedirs(folder, exist_ok=True)
            with open(f"{folder}/{done}", "wb", buffering=0) as file:
                file.write(rng.randbytes(rng.randrange(1, 16384)))
                if done % 64 == 0:
                    os.fsync(file.fileno())
            done += 1
    finally:
        print("small", done)


def sparse(top, rng):
    """Blocks anywhere in a file of 1 TiB, some of them after a punch."""
    fd = os.open(f"{top}/sparse", os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, 1 << 40)
    done = 0
    try:
        while True:
            at = rng.randrange(1 << 28) * 4096
            os.pwrite(fd, rng.randbytes(4096 * rng.randrange(1, 64)), at)
            done += 1
            if done % 16 == 0:
                os.fsync(fd)
    finally:
        try:
            os.close(fd)
        except OSError as error:
            if error.errno not in FULL:
                raise
        print("sparse", done)


def append(top, rng):
    """Eight files that grow side by side."""
    fds = [os.open(f"{top}/append{i}",
                   os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
           for i in range(8)]
    done = 0
    try:
        while True:
            os.write(fds[done % 8], rng.randbytes(rng.randrange(1, 200000)))
            if done % 8 == 0:
                os.fsync(fds[rng.randrange(8)])
            done += 1
    finally:
        for fd in fds:
            try:
                os.close(fd)
            except OSError as error:
                if error.errno not in FULL:
                    raise
        print("append", done)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("big", "small", "sparse", "append"))
    parser.add_argument("top")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        globals()[args.way](args.top, random.Random(args.seed))
    except OSError as error:
        if error.errno not in FULL:
            sys.exit(f"fill.py: {args.way}: {error}")


if __name__ == "__main__":
    main()
