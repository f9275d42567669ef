# SPDX-License-Identifier: Apache-2.0
"""What the tests have in common that start a daemon again and again."""

import argparse
import os
import subprocess
import time

POLL = 0.004


class Failure(Exception):
    pass


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(POLL)


def is_mounted(point):
    # Others mount at names of any bytes meanwhile.
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        return any(line.split()[4] == point for line in lines)


def start_daemon(words, log_path, title, fault=None):
    """The process, and where in the log what it says begins."""
    env = dict(os.environ)
    if fault:
        env["SEQMIRROR_FAULT"] = fault
    with open(log_path, "a") as log:
        log.write(f"--- {title}\n")
        log.flush()
        return subprocess.Popen(words, stdout=log, stderr=log,
                                env=env), log.tell()


def tell_log(log_path, count):
    if not os.path.exists(log_path):
        return
    with open(log_path, errors="replace") as log:
        print("the daemon's log ends:")
        for line in log.readlines()[-count:]:
            print("  " + line.rstrip())


def arguments(unit, kept, trace=0):
    """Of every such test: how long, and what after a failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True)
    parser.add_argument("--seconds", type=float, default=0,
                        help=f"begin no {unit} after this time")
    parser.add_argument("--keep", action="store_true",
                        help=f"leave the {kept} of a failed {unit}")
    parser.add_argument("--go-on", action="store_true",
                        help=f"after a failed {unit} too")
    if trace:
        parser.add_argument("--trace", type=int, default=trace,
                            help="steps to print after a failure")
    return parser
