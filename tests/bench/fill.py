#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Building a replica, against cp(1) of the same between the same two disks:

files   so many small files were made while a store was away: it comes back
fresh   a new store is added to a volume of one, with some large files

Measured from the command until it says that the store is in step and sync(1) has
returned; caches are dropped before. Ratio: cp's seconds / seqmirror's, so that
1.00 is as fast as cp, and higher is better.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from common import Mountpoint, drop_caches, log, machine, med, run, save, stop_proc, wait_for
from contenders import Place

HERE = os.path.dirname(os.path.abspath(__file__))
WAIT_SECONDS = 1800
GIB = 1 << 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the seqmirror that is measured")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--files", type=int, default=100000, help="small files, 4 KiB each")
    parser.add_argument("--gib", type=int, default=10, help="size of the fresh store")
    parser.add_argument("--workdir", default="")
    parser.add_argument("--image-mib", type=int, default=14336)
    parser.add_argument("--no-fill", action="store_true")
    parser.add_argument("--json", default="")
    return parser.parse_args()


def seconds_of(cmd):
    drop_caches()
    start = time.monotonic()
    run(cmd, timeout=WAIT_SECONDS)
    os.sync()
    return time.monotonic() - start


def cp(source, target):
    seconds = seconds_of(["cp", "-a", source, target])
    shutil.rmtree(target)
    os.sync()
    return seconds


class Volume:
    def __init__(self, program, mnt, *stores):
        self.program, self.mnt, self.stores = program, Mountpoint(mnt), stores
        for store in stores:
            os.mkdir(store)
        run([program, "init", "--name", ",".join(os.path.basename(s) for s in stores), *stores])
        self.process = subprocess.Popen([program, "mount", "-f", *stores, self.mnt.path],
                                        stdin=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.ismount(self.mnt.path) or self.process.poll() is not None, "mount")
            if not os.path.ismount(self.mnt.path):
                raise RuntimeError("seqmirror mount has ended")
        except RuntimeError:
            self.close()
            raise

    def command(self, *words):
        return [self.program, words[0], "--wait", *words[1:]]

    def close(self):
        self.mnt.umount()
        stop_proc(self.process)
        for store in self.stores:
            shutil.rmtree(store, ignore_errors=True)


def same(a, b):
    drop_caches()
    return subprocess.run(["diff", "-rq", "-x", ".seqmirror", a, b], stdout=subprocess.DEVNULL,
                          check=False).returncode == 0


class Fill:
    def __init__(self, opt, place):
        self.opt, self.place, self.rows, self.differ = opt, place, {}, []
        self.wl = os.path.join(place.work, "wl")
        self.mnt = os.path.join(place.work, "mnt")

    def note(self, what, reference, seconds):
        self.rows.setdefault(what, []).append({"cp": round(reference, 3), "seconds": round(seconds, 3)})
        log("%s: cp %.2f s, seqmirror %.2f s" % (what, reference, seconds))

    def files(self):
        a, b = (top + "/store-" + name for top, name in zip(self.place.tops, "ab"))
        volume = Volume(self.opt.program, self.mnt, a, b)
        try:
            run([self.opt.program, "detach", self.mnt, "store-b"])
            run([self.wl, "mk", self.mnt + "/t", "100", str(self.opt.files), "4096"])
            os.sync()
            before = cp(a + "/t", self.place.tops[1] + "/cp")
            seconds = seconds_of(volume.command("attach", self.mnt, "store-b"))
            after = cp(a + "/t", self.place.tops[1] + "/cp")
            self.note("files", (before + after) / 2, seconds)
            if not same(a, b):
                self.differ.append("files")
        finally:
            volume.close()

    def fresh(self):
        a, b = (top + "/store-" + name for top, name in zip(self.place.tops, "ab"))
        volume = Volume(self.opt.program, self.mnt, a)
        try:
            for i in range(self.opt.gib):
                with open("%s/big%d" % (self.mnt, i), "wb") as file, open("/dev/urandom", "rb") as noise:
                    block = noise.read(GIB // 64)
                    for k in range(64):
                        file.write(bytes([k]) + block[1:])
            os.sync()
            before = cp(a, self.place.tops[1] + "/cp")
            os.mkdir(b)
            volume.stores += (b,)
            seconds = seconds_of(volume.command("add", "--name", "b", self.mnt, b))
            if not same(a, b):
                self.differ.append("fresh")
        finally:
            volume.close()
        os.sync()
        self.note("fresh", before, seconds)

    def run(self):
        run(["cc", "-O2", "-o", self.wl, os.path.join(HERE, "wl.c")])
        for _ in range(self.opt.rounds):
            if self.opt.files:
                self.files()
            if self.opt.gib:
                self.fresh()


def table(report):
    lines = ["| what | cp, seconds | seqmirror | ratio |", "|---|---|---|---|"]
    for what, rows in report["rows"].items():
        lines.append("| %s | %.2f | %.2f | %.2f |" % (
            what, med([r["cp"] for r in rows]), med([r["seconds"] for r in rows]),
            med([r["cp"] / r["seconds"] for r in rows])))
    return "\n".join(lines)


def main():
    opt = arguments()
    if os.geteuid():
        sys.exit("fill: needs root: it mounts loop devices")
    opt.program = os.path.abspath(opt.program)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="seqmirror-fill.", dir=opt.workdir or None)
    place = Place(work, opt.program, opt.image_mib, not opt.no_fill)
    fill = Fill(opt, place)
    try:
        place.setup()
        fill.run()
    finally:
        place.teardown()
    report = {**machine(), "files": opt.files, "gib": opt.gib, "rows": fill.rows}
    save(report, opt.json)
    print(table(report))
    if fill.differ:
        sys.exit("fill: the stores differ: " + ", ".join(fill.differ))


if __name__ == "__main__":
    main()
