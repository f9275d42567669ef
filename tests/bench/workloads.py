# SPDX-License-Identifier: Apache-2.0
"""The workloads: each returns a rate, so that higher is better everywhere.

A group makes its own files with its first workload and takes them away at its
end. Sizes, counts and seconds go with the scale; the same for every contender.
"""
import io
import json
import os
import random
import shutil
import sys
import tarfile
import time

from common import run

SQLITE = r"""
import sqlite3, sys, time
path, mode, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
db = sqlite3.connect(path, isolation_level=None)
db.execute("pragma journal_mode=" + mode)
db.execute("pragma synchronous=full")
db.execute("create table t(id integer primary key, k text, v blob)")
db.execute("create index i on t(k)")
blob, start, done = bytes(range(200)), time.monotonic(), 0
while done < count and time.monotonic() - start < seconds:
    db.execute("begin immediate")
    db.execute("insert into t(k,v) values(?,?)", (str(done * 7919 % 100003), blob))
    db.execute("commit")
    done += 1
print(done / (time.monotonic() - start))
"""


def timed(cmd):
    start = time.monotonic()
    run(cmd)
    return time.monotonic() - start


class Workload:
    """cold: caches are dropped before. warm: timed on the second pass."""

    def __init__(self, name, unit, fn, cold=False, write=True):
        self.name, self.unit, self.fn, self.cold, self.write = name, unit, fn, cold, write
        self.warm = not write and not cold


class Group:
    def __init__(self, name, workloads, clean):
        self.name, self.workloads, self.clean = name, workloads, clean


class Workloads:
    def __init__(self, scale, scratch):
        self.scale = scale
        self.big_mib = max(64, int(1024 * scale))
        self.seconds = max(1.0, 3.0 * scale)
        self.files = max(200, int(5000 * scale))
        self.dirs = 100
        self.synced = int(300 * scale + 50)
        self.tar_files = max(200, int(4000 * scale))
        self.tar = os.path.join(scratch, "tree.tar")
        self.repo = os.path.join(scratch, "repo.git")
        self.wl = os.path.join(scratch, "wl")

    def prepare(self, source):
        run(["cc", "-O2", "-Wall", "-o", self.wl, source])
        self.make_tar()
        self.make_repo()

    # ---- one large file ----

    def fio(self, top, rw, what="bw", **more):
        args = {"name": "j", "filename": os.path.join(top, "big.dat"),
                "size": "%dm" % self.big_mib, "ioengine": "psync",
                "output-format": "json", "invalidate": "0",
                "randrepeat": "0", "fallocate": "none",
                "fadvise_hint": "0", "rw": rw}
        args.update(more)
        out = run(["fio"] + ["--%s=%s" % pair for pair in args.items()])
        jobs = json.loads(out[out.index("{"):])["jobs"]
        side = "read" if "read" in rw else "write"
        if what == "bw":
            return sum(job[side]["bw_bytes"] for job in jobs) / 1048576
        return sum(job[side]["iops"] for job in jobs)

    def iops(self, top, rw, **more):
        return self.fio(top, rw, "iops", bs="4k", time_based=1,
                        runtime="%gs" % self.seconds, **more)

    def big(self):
        return Group("big", [
            Workload("seq write + fsync", "MiB/s", lambda d: self.fio(d, "write", bs="1M", end_fsync=1)),
            Workload("seq read cold", "MiB/s", lambda d: self.fio(d, "read", bs="1M"), cold=True, write=False),
            Workload("seq read warm", "MiB/s", lambda d: self.fio(d, "read", bs="1M"), write=False),
            Workload("rand read 4k warm", "IOPS", lambda d: self.iops(d, "randread"), write=False),
            Workload("rand read 4k cold", "IOPS", lambda d: self.iops(d, "randread"), cold=True, write=False),
            Workload("rand read 4k cold x4", "IOPS", lambda d: self.iops(d, "randread", numjobs=4, thread=1),
                     cold=True, write=False),
            Workload("rand write 4k, one fsync", "IOPS",
                     lambda d: self.fio(d, "randwrite", "iops", bs="4k", end_fsync=1,
                                        io_size="%dm" % max(8, self.big_mib // 8))),
            Workload("rand write 4k, fsync each", "IOPS", lambda d: self.iops(d, "randwrite", fsync=1)),
            Workload("rand write 4k O_DIRECT", "IOPS", lambda d: self.iops(d, "randwrite", direct=1)),
            Workload("overwrite + fsync", "MiB/s", lambda d: self.fio(d, "write", bs="1M", end_fsync=1)),
        ], lambda d: os.unlink(os.path.join(d, "big.dat")))

    # ---- many small files ----

    def run_wl(self, *words):
        return float(run([self.wl] + [str(word) for word in words]))

    def tree(self):
        n, dirs = self.files, self.dirs
        return Group("tree", [
            Workload("create 4k files", "files/s", lambda d: n / self.run_wl("mk", d + "/t", dirs, n, 4096)),
            Workload("find -ls warm", "files/s", lambda d: n / timed(["find", d + "/t", "-ls"]), write=False),
            Workload("read all warm", "files/s", lambda d: n / self.run_wl("rd", d + "/t"), write=False),
            Workload("find -ls cold", "files/s", lambda d: n / timed(["find", d + "/t", "-ls"]),
                     cold=True, write=False),
            Workload("read all cold", "files/s", lambda d: n / self.run_wl("rd", d + "/t"), cold=True, write=False),
            Workload("rename all", "files/s", lambda d: n / self.run_wl("rename", d + "/t", dirs, n)),
            Workload("rm -rf", "files/s", lambda d: n / timed(["rm", "-rf", d + "/t"])),
            Workload("create+fsync+rename", "files/s",
                     lambda d: self.synced / self.run_wl("mksync", d + "/s", self.synced, 4096)),
        ], lambda d: [shutil.rmtree(os.path.join(d, name), ignore_errors=True) for name in "ts"])

    # ---- programs ----

    def untar(self, top):
        to = os.path.join(top, "untar")
        os.mkdir(to)
        return self.tar_files / timed("tar -xf %s -C %s && sync -f %s" % (self.tar, to, to))

    def copy_tree(self, top):
        return self.tar_files / timed("cp -a %s/untar %s/copy && sync -f %s" % (top, top, top))

    def sqlite(self, top, mode):
        path = os.path.join(top, "db-" + mode)
        rate = float(run([sys.executable, "-c", SQLITE, path, mode, "2000", str(self.seconds)]))
        for end in ("", "-journal", "-wal", "-shm"):
            if os.path.exists(path + end):
                os.unlink(path + end)
        return rate

    def git_clone(self, top):
        return self.tar_files / timed(["git", "clone", "-q", self.repo, top + "/clone"])

    def git_status(self, top):
        return self.tar_files / timed(["git", "-C", top + "/clone", "status", "--porcelain"])

    def build(self, top):
        """A hundred C files into objects and one program."""
        files = max(20, int(100 * self.scale))
        os.makedirs(top + "/c")
        for i in range(files):
            with open("%s/c/f%d.c" % (top, i), "w", encoding="ascii") as file:
                file.write("#include <stdio.h>\nint f%d(int x) { return printf(\"%%d\", x); }\n" % i)
        with open(top + "/c/main.c", "w", encoding="ascii") as file:
            file.write("int main(void) { return 0; }\n")
        return files / timed("cd %s/c && ls *.c | xargs -P 2 -n 4 cc -c && cc -o all *.o" % top)

    def programs(self):
        def clean(top):
            for name in ("untar", "copy", "clone", "c"):
                shutil.rmtree(os.path.join(top, name), ignore_errors=True)

        return Group("programs", [
            Workload("untar + sync", "files/s", self.untar),
            Workload("cp -a + sync", "files/s", self.copy_tree),
            Workload("sqlite rollback", "txn/s", lambda d: self.sqlite(d, "delete")),
            Workload("sqlite wal", "txn/s", lambda d: self.sqlite(d, "wal")),
            Workload("git clone", "files/s", self.git_clone),
            Workload("git status", "files/s", self.git_status, write=False),
            Workload("C build", "files/s", self.build),
        ], clean)

    def groups(self, wanted):
        groups = [self.big(), self.tree(), self.programs()]
        if wanted:
            for group in groups:
                # The first of a group makes the files that the others use.
                group.workloads = [w for i, w in enumerate(group.workloads)
                                   if i == 0 or any(x in w.name for x in wanted)]
            groups = [g for g in groups
                      if any(x in w.name for w in g.workloads for x in wanted)]
        return groups

    # ---- what they are made of ----

    def make_tar(self):
        """Like a source tree: fixed seed, sizes log-normal, median 4 KiB."""
        rng = random.Random(7)
        words = [("w%d" % rng.randrange(9999)).encode() for _ in range(4096)]
        with tarfile.open(self.tar, "w") as tar:
            for i in range(self.tar_files):
                size = min(400000, int(rng.lognormvariate(8.3, 1.3)))
                text = b" ".join(rng.choices(words, k=size // 5 + 1))[:size]
                info = tarfile.TarInfo("d%02d/s%02d/file%05d.c" % (i % 40, i // 40 % 5, i))
                info.size, info.mode, info.mtime = len(text), 0o644, 1700000000 + i
                tar.addfile(info, io.BytesIO(text))

    def make_repo(self):
        work = self.repo + ".work"
        os.mkdir(work)
        run(["tar", "-xf", self.tar, "-C", work])
        git = ["git", "-C", work, "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        run(git + ["init", "-q"])
        run(git + ["add", "."])
        run(git + ["commit", "-q", "-m", "tree"])
        run(["git", "clone", "-q", "--bare", work, self.repo])
        shutil.rmtree(work)
