#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
How long single calls take while a machine is busy: a minute of small files,
random writes with fsync and random reads at once (mix.c), one contender after
the other. Microseconds: p50, p99, p99.9 and the longest. A checkpoint that made
somebody wait would be seen in the last two.
"""
import argparse
import json
import os
import signal
import sys
import tempfile

from common import drop_caches, log, machine, run, save
from contenders import KINDS, Place

HERE = os.path.dirname(os.path.abspath(__file__))
COLUMNS = ("p50", "p99", "p99.9", "max")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the seqmirror that is measured")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--contenders", default="native,seqmirror,mergerfs")
    parser.add_argument("--workdir", default="")
    parser.add_argument("--image-mib", type=int, default=4096)
    parser.add_argument("--no-fill", action="store_true")
    parser.add_argument("--json", default="")
    return parser.parse_args()


def measure(contender, mix, seconds):
    contender.setup()
    try:
        drop_caches()
        return json.loads(run([mix, contender.dirs[0], str(seconds)], timeout=seconds + 300))
    finally:
        contender.teardown()


def table(report):
    lines = ["| call | contender | calls | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 3)]
    for call in next(iter(report["contenders"].values())):
        for name, calls in report["contenders"].items():
            lines.append("| %s | %s | %s | %s |" % (call, name, format(calls[call]["count"], ","), " | ".join(
                format(round(calls[call][column]), ",") for column in COLUMNS)))
    return "\n".join(lines)


def main():
    opt = arguments()
    if os.geteuid():
        sys.exit("latency: needs root: it mounts loop devices")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="seqmirror-latency.", dir=opt.workdir or None)
    place = Place(work, os.path.abspath(opt.program), opt.image_mib, not opt.no_fill)
    report = {**machine(), "seconds": opt.seconds, "unit": "us", "contenders": {}, "skipped": {}}
    mix = os.path.join(work, "mix")
    try:
        run(["cc", "-O2", "-pthread", "-o", mix, os.path.join(HERE, "mix.c")])
        place.setup()
        for name in (x for x in opt.contenders.split(",") if x):
            log("latency:", name)
            try:
                report["contenders"][name] = measure(KINDS[name](name, place), mix, opt.seconds)
            except (RuntimeError, OSError, KeyError) as error:
                report["skipped"][name] = str(error)[-300:].replace(work, "W")
    finally:
        place.teardown()
    save(report, opt.json)
    if report["contenders"]:
        print(table(report))
    for what, why in report["skipped"].items():
        print("not measured: %s: %s" % (what, why.strip()))


if __name__ == "__main__":
    main()
