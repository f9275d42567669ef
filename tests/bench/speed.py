#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Compare seqmirror with the native filesystem and with other mirrors: the same
workloads on two loop-mounted ext4 images, interleaved and repeated.

A ratio is contender / native, where native is the mean of the runs just before
and just after it: 1.00 is as fast as native, 0.50 half as fast. What is not
installed is skipped and reported. Needs root, fio, git, a C compiler.
"""
import argparse
import concurrent.futures
import os
import signal
import subprocess
import sys
import tempfile
import time

from common import drop_caches, log, machine, med, save
from contenders import KINDS, Contender, Place
from workloads import Workloads

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the seqmirror that is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of sizes, counts and seconds")
    parser.add_argument("--contenders", default=",".join(k for k in KINDS if k != "native"))
    parser.add_argument("--workloads", default="", help="parts of their names, a comma between")
    parser.add_argument("--workdir", default="", help="where the images lie (default: below TMPDIR)")
    parser.add_argument("--image-mib", type=int, default=4096)
    parser.add_argument("--no-fill", action="store_true", help="sparse images: quicker, less true")
    parser.add_argument("--json", default="", help="write the results there")
    return parser.parse_args()


def cache_drops():
    """How often anybody has dropped this machine's page cache so far."""
    with open("/proc/vmstat", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("drop_pagecache"))


class Bench:
    def __init__(self, opt, work):
        self.opt = opt
        self.place = Place(work, os.path.abspath(opt.program), opt.image_mib, not opt.no_fill)
        self.workloads = Workloads(opt.scale, work)
        self.groups = self.workloads.groups([x.strip() for x in opt.workloads.split(",") if x.strip()])
        self.contenders = []
        self.results = {}   # workload -> contender -> [{rate, native, ratio, io}]
        self.identical = {}
        self.skipped = {}
        self.disturbed = {}

    def setup(self):
        self.workloads.prepare(os.path.join(HERE, "wl.c"))
        self.place.setup()
        self.native = Contender("native", self.place)
        self.native.setup()
        for name in dict.fromkeys(x for x in self.opt.contenders.split(",") if x and x != "native"):
            try:
                contender = KINDS[name](name, self.place)
                contender.setup()
                self.contenders.append(contender)
                log("ready:", name)
            except (RuntimeError, OSError, KeyError) as error:
                self.skipped[name] = str(error)[:300]
                log("skipped:", name, error)

    def teardown(self):
        for contender in reversed(self.contenders):
            try:
                contender.teardown()
            except (RuntimeError, OSError) as error:
                log("teardown", contender.name, error)
        self.place.teardown()

    def measure(self, contender, workload):
        """(rate, per image (read, written, flushes)). Taken again, where that
        is possible, when somebody else dropped the caches meanwhile."""
        for _ in range(4):
            if workload.cold:
                contender.cold()
            else:
                os.sync()
            if workload.warm:
                workload.fn(contender.dirs[0])
            drops = cache_drops()
            before = [image.stat() for image in contender.images]
            if len(contender.dirs) == 1:
                rate = workload.fn(contender.dirs[0])
            else:
                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    rate = min(pool.map(workload.fn, contender.dirs))
            quiet = cache_drops() == drops
            os.sync()
            moved = [tuple(y - x for x, y in zip(was, image.stat()))
                     for was, image in zip(before, contender.images)]
            if quiet or workload.write:
                break
        if not quiet:
            key = contender.name + ": " + workload.name
            self.disturbed[key] = self.disturbed.get(key, 0) + 1
        return rate, moved

    def compare(self, contender):
        drop_caches()
        same = subprocess.run(["diff", "-rq", "-x", ".seqmirror", *contender.replicas()],
                              stdout=subprocess.DEVNULL, check=False).returncode == 0
        self.identical[contender.name] = self.identical.get(contender.name, True) and same

    def one(self, contender, group):
        out = {}
        for workload in group.workloads:
            if contender.skips(workload):
                continue
            try:
                out[workload.name] = self.measure(contender, workload)
            except (RuntimeError, OSError, ValueError) as error:
                key = "%s: %s" % (contender.name, workload.name)
                self.skipped[key] = str(error)[-200:].replace(self.place.work, "W")
                log("FAILED", key, str(error)[:300])
                if workload is group.workloads[0]:
                    break
            if workload is group.workloads[0] and contender.replicas():
                self.compare(contender)
        for top in contender.dirs:
            try:
                group.clean(top)
            except FileNotFoundError:
                pass
        return out

    def note(self, contender, values, native):
        for name, (rate, io) in values.items():
            if name in native:
                self.results.setdefault(name, {}).setdefault(contender.name, []).append(
                    {"rate": rate, "native": native[name], "ratio": rate / native[name], "io": io})

    def run_group(self, group, order):
        before = self.one(self.native, group)
        for contender in order:
            start = time.monotonic()
            values = self.one(contender, group)
            log("%-8s %-18s %.0f s" % (group.name, contender.name, time.monotonic() - start))
            after = self.one(self.native, group)
            native = {name: (before[name][0] + after[name][0]) / 2 for name in before if name in after}
            self.note(contender, values, native)
            self.note(self.native, after, {name: before[name][0] for name in before})
            before = after

    def run(self):
        for turn in range(self.opt.rounds):
            for group in self.groups:
                log("round %d of %d: %s" % (turn + 1, self.opt.rounds, group.name))
                self.run_group(group, self.contenders[::-1] if turn % 2 else self.contenders)

    def report(self):
        units = {w.name: w.unit for g in self.groups for w in g.workloads}
        report = {
            **machine(), "rounds": self.opt.rounds, "scale": self.opt.scale, "big_mib": self.workloads.big_mib,
            "files": self.workloads.files, "replicas_identical": self.identical, "skipped": self.skipped,
            "disturbed": self.disturbed,
            "contenders": {c.name: c.text for c in [self.native] + self.contenders},
            "workloads": {},
        }
        for name in (n for n in units if n in self.results):
            rows = report["workloads"][name] = {"unit": units[name], "contenders": {}}
            for contender, values in self.results[name].items():
                ratios = [v["ratio"] for v in values]
                rows["contenders"][contender] = {
                    "rate": med([v["rate"] for v in values]), "ratio": med(ratios),
                    "ratio_min": min(ratios), "ratio_max": max(ratios),
                    "io": [dict(zip(("read", "written", "flushes"), (med(x) for x in zip(*column))))
                           for column in zip(*[v["io"] for v in values])],
                    "rates": [round(v["rate"], 1) for v in values]}
        return report


def table(report):
    names = [c for c in report["contenders"] if c != "native"]
    lines = ["| workload | native | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 2)]
    for workload, rows in report["workloads"].items():
        native = rows["contenders"].get("native")
        line = [workload, "%.4g %s" % (native["rate"], rows["unit"]) if native else "-"]
        for name in names:
            x = rows["contenders"].get(name)
            line.append("%.2f (%.2f-%.2f)" % (x["ratio"], x["ratio_min"], x["ratio_max"]) if x else "-")
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def main():
    opt = arguments()
    if os.geteuid():
        sys.exit("bench: needs root: it mounts loop devices")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(opt, tempfile.mkdtemp(prefix="seqmirror-bench.", dir=opt.workdir or None))
    try:
        bench.setup()
        bench.run()
    finally:
        bench.teardown()
    report = bench.report()
    save(report, opt.json)
    print(table(report))
    for what, why in report["skipped"].items():
        print("not measured: %s: %s" % (what, why.strip()))
    for name, same in report["replicas_identical"].items():
        if not same:
            sys.exit("bench: %s: the replicas differ" % name)


if __name__ == "__main__":
    main()
