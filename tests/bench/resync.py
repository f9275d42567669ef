#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Bring a replica back after it was away: how long, and how many bytes are read
and written, until both replicas are the same again.

Measured from the moment the replica may be used again until the contender says
that it is in step and sync(1) has returned; caches are dropped before. Bytes are
what the two loop devices counted. Then contents, names, modes, times, hard-link
counts and xattrs of both replicas are compared.

`floor` is not a product: it replays the exact list of changes (read from one,
write to the other, one final sync), which nobody knows for free.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from common import Image, Mountpoint, drop_caches, log, machine, med, run, save, stop_proc, wait_for
from dataset import MIB, build, compare, manifest, mapped, mutate, replay
from gluster import Gluster

WAIT_SECONDS = 900


class Contender:
    """Two ext4 images; replicas are directories on them; work is in .root."""

    def __init__(self, name, opt, work):
        self.name, self.opt, self.work = name, opt, os.path.join(work, name)
        self.images, self.mounts, self.changes = [], [], []

    def make_images(self):
        os.makedirs(self.work)
        for name in "AB":
            self.images.append(Image(os.path.join(self.work, name + ".img"), self.opt.image_mib,
                                     not self.opt.no_fill))

    def setup(self):
        self.make_images()
        for name, image in zip("AB", self.images):
            run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", image.dev])
            mount = Mountpoint(os.path.join(self.work, name))
            self.mounts.append(mount)
            run(["mount", "-o", "noatime", image.dev, mount.path])
        self.a, self.b = (mount.path + "/replica" for mount in self.mounts)
        os.mkdir(self.a)
        os.mkdir(self.b)
        self.root = self.a

    def populate(self):
        build(self.root, self.opt.big_mib, self.opt.files)
        self.first_copy()

    def first_copy(self):
        run(["rsync", "-aHAXS", self.a + "/", self.b + "/"])

    def leave(self):
        pass

    def come_back(self):
        pass

    def check(self):
        return compare(self.a, self.b), mapped(self.a + "/big.img"), mapped(self.b + "/big.img")

    def teardown(self):
        for mount in self.mounts:
            mount.umount()
        for image in self.images:
            image.destroy()


class Floor(Contender):
    def resync(self):
        replay(self.a, self.b, self.changes)


class FullCopy(Contender):
    def come_back(self):
        shutil.rmtree(self.b)
        os.mkdir(self.b)

    def resync(self):
        run(["rsync", "-aHAXSW", self.a + "/", self.b + "/"], timeout=WAIT_SECONDS)


class Rsync(Contender):
    args = {"rsync": ["-aHAXS", "--delete"],
            "rsync-inplace": ["-aHAX", "--inplace", "--no-whole-file", "--delete"],
            "rsync-inplace-S": ["-aHAXS", "--inplace", "--no-whole-file", "--delete"]}

    def resync(self):
        run(["rsync"] + self.args[self.name] + [self.a + "/", self.b + "/"], timeout=WAIT_SECONDS)


class Btrfs(Contender):
    def setup(self):
        self.make_images()
        run(["mkfs.btrfs", "-q", "-K", "-f", "-d", "raid1", "-m", "raid1"] + [i.dev for i in self.images])
        self.mnt = Mountpoint(os.path.join(self.work, "mnt"))
        self.mounts = [self.mnt]
        self.root = self.mnt.path
        self.mount()

    def mount(self, only=None, more=""):
        subprocess.run(["btrfs", "device", "scan", "--forget"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        if not only:
            run(["btrfs", "device", "scan"] + [i.dev for i in self.images])
        run(["mount", "-t", "btrfs", "-o", "nodiscard,noatime" + (",degraded" if only else "") + more,
             only or self.images[0].dev, self.mnt.path])

    def first_copy(self):
        os.sync()

    def leave(self):
        self.mnt.umount(False)
        self.images[1].detach()
        self.mount(self.images[0].dev)

    def come_back(self):
        self.mnt.umount(False)
        self.images[1].attach()

    def resync(self):
        self.mount()
        run(["btrfs", "balance", "start", "-dconvert=raid1,soft", "-mconvert=raid1,soft",
             "-sconvert=raid1,soft", "-f", self.root], timeout=WAIT_SECONDS)
        run(["btrfs", "scrub", "start", "-B", self.root], check=False, timeout=WAIT_SECONDS)

    def check(self):
        want, size = manifest(self.root), mapped(self.root + "/big.img")
        self.mnt.umount(False)
        self.images[0].detach()
        try:
            self.mount(self.images[1].dev, ",ro")
            bad, other = compare(want, self.root), mapped(self.root + "/big.img")
            self.mnt.umount(False)
        except RuntimeError:
            bad, other = {"does not mount alone": 1}, None
        finally:
            if not os.path.ismount(self.root):
                self.images[0].attach()
        self.mount()
        return bad, size, other


class Glusterfs(Contender):
    def setup(self):
        if not shutil.which("glusterd"):
            raise RuntimeError("glusterfs-server is not installed")
        super().setup()
        self.gluster = Gluster(self.work, self.a, self.b)
        self.gluster.start()
        self.root = self.gluster.mnt.path

    def first_copy(self):
        os.sync()
        wait_for(lambda: self.entries_left() == 0, "nothing to heal", 60, 0.5)

    def leave(self):
        os.kill(dict(self.gluster.brick_pids())[self.b], signal.SIGKILL)
        wait_for(lambda: not dict(self.gluster.brick_pids()).get(self.b, 0), "brick down", 30, 0.5)

    def entries_left(self):
        out = self.gluster.cli("volume", "heal", self.gluster.VOL, "statistics", "heal-count", check=False)
        counts = [line.rsplit(":", 1)[1].strip() for line in out.splitlines()
                  if line.startswith("Number of entries:")]
        return sum(map(int, counts)) if len(counts) == 2 and all(map(str.isdigit, counts)) else None

    def resync(self):
        self.gluster.cli("volume", "start", self.gluster.VOL, "force")
        wait_for(lambda: all(pid for _, pid in self.gluster.brick_pids()), "brick up", 30, 0.2)
        end, asked, quiet = time.monotonic() + WAIT_SECONDS, 0, 0
        while quiet < 2:
            if time.monotonic() > end:
                raise RuntimeError("not healed in time")
            if time.monotonic() > asked:
                self.gluster.cli("volume", "heal", self.gluster.VOL, check=False)
                asked = time.monotonic() + 20
            quiet = quiet + 1 if self.entries_left() == 0 else 0
            time.sleep(0.5)

    def teardown(self):
        if hasattr(self, "gluster"):
            self.gluster.stop()
        super().teardown()


class Seqmirror(Contender):
    def setup(self):
        super().setup()
        program = self.opt.program
        run([program, "init", "--name", "a,b", self.a, self.b])
        self.mnt = Mountpoint(os.path.join(self.work, "mnt"))
        self.process = subprocess.Popen([program, "mount", "-f", self.a, self.b, self.mnt.path],
                                        stdin=subprocess.DEVNULL)
        wait_for(lambda: os.path.ismount(self.mnt.path), "mount")
        self.root = self.mnt.path

    def first_copy(self):
        os.sync()

    def leave(self):
        run([self.opt.program, "detach", self.root, "b"])

    def resync(self):
        run([self.opt.program, "attach", "--wait", self.root, "b"], timeout=WAIT_SECONDS)

    def check(self):
        # What a checkpoint has not passed on yet is no difference.
        wait_for(lambda: not compare(self.a, self.b), "equal replicas", 20, 1)
        bad, mapped_a, mapped_b = super().check()
        bad.update({"view " + k: v for k, v in compare(self.root, self.a, links=False).items()})
        return bad, mapped_a, mapped_b

    def teardown(self):
        if hasattr(self, "process"):
            self.mnt.umount()
            stop_proc(self.process)
        super().teardown()


KINDS = {"floor": Floor, "full-copy": FullCopy, "rsync": Rsync, "rsync-inplace": Rsync,
         "rsync-inplace-S": Rsync, "btrfs-raid1": Btrfs, "glusterfs": Glusterfs, "seqmirror": Seqmirror}


def one_round(contender, opt, turn):
    contender.leave()
    contender.changes, need = mutate(contender.root, turn, opt.big_mib, opt.files)
    os.sync()
    contender.come_back()
    drop_caches()
    before, start = [i.stat() for i in contender.images], time.monotonic()
    contender.resync()
    os.sync()
    seconds = time.monotonic() - start
    after = [i.stat() for i in contender.images]
    drop_caches()
    bad, mapped_a, mapped_b = contender.check()
    return {"seconds": round(seconds, 3), "changed": need,
            "read_source": after[0][0] - before[0][0], "written_source": after[0][1] - before[0][1],
            "read_target": after[1][0] - before[1][0], "written_target": after[1][1] - before[1][1],
            "differences": bad, "big_mapped": [mapped_a, mapped_b]}


def all_rounds(name, opt, work):
    contender, rows = KINDS[name](name, opt, work), []
    try:
        contender.setup()
        contender.populate()
        for turn in range(1, opt.rounds + 1):
            rows.append(one_round(contender, opt, turn))
            log(name, "round", turn, json.dumps(rows[-1]))
    finally:
        contender.teardown()
    return rows


def mib(rows, key):
    return (med([row[key] for row in rows]) or 0) / MIB


def table(report):
    floor = med([row["seconds"] for row in report["contenders"].get("floor", [])])
    lines = ["| contender | seconds (min-max) | x floor | read MiB, source / target | "
             "written MiB, target | written / changed | left different |", "|" + "---|" * 7]
    for name, rows in report["contenders"].items():
        seconds = [row["seconds"] for row in rows]
        bad = {}
        for row in rows:
            for key, count in row["differences"].items():
                bad[key] = max(bad.get(key, 0), count)
        lines.append("| %s | %.2f (%.2f-%.2f) | %s | %.0f / %.0f | %.0f | %.1f | %s |" % (
            name, med(seconds), min(seconds), max(seconds),
            "%.1f" % (med(seconds) / floor) if floor else "-",
            mib(rows, "read_source"), mib(rows, "read_target"), mib(rows, "written_target"),
            mib(rows, "written_target") / mib(rows, "changed"),
            ", ".join("%s %s" % pair for pair in bad.items()) or "nothing"))
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the seqmirror that is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", default=",".join(KINDS))
    parser.add_argument("--workdir", default="")
    parser.add_argument("--image-mib", type=int, default=4096)
    parser.add_argument("--big-mib", type=int, default=2048, help="the sparse file; half of it is mapped")
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--no-fill", action="store_true")
    parser.add_argument("--json", default="")
    return parser.parse_args()


def main():
    opt = arguments()
    if os.geteuid():
        sys.exit("resync: needs root: it mounts loop devices")
    opt.program = os.path.abspath(opt.program)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="seqmirror-resync.", dir=opt.workdir or None)
    report = {**machine(), "big_mib": opt.big_mib, "files": opt.files, "contenders": {}, "skipped": {}}
    for name in (x for x in opt.contenders.split(",") if x):
        try:
            report["contenders"][name] = all_rounds(name, opt, work)
        except (RuntimeError, OSError, KeyError, subprocess.TimeoutExpired) as error:
            log("FAILED", name, error)
            report["skipped"][name] = str(error)[:300].replace(work, "W")
    if any(os.path.ismount(os.path.join(top, x)) for top, dirs, _ in os.walk(work) for x in dirs):
        log("left behind for inspection:", work)
    else:
        shutil.rmtree(work, ignore_errors=True)
    save(report, opt.json)
    print(table(report))
    for what, why in report["skipped"].items():
        print("not measured: %s: %s" % (what, why.strip()))
    if any(row["differences"] for row in report["contenders"].get("seqmirror", [])):
        sys.exit("resync: seqmirror: the replicas differ")


if __name__ == "__main__":
    main()
