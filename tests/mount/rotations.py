#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stores that are rotated in every way, against an oracle of their history.

usage: rotations.py --work DIR --disk DIR [--seeds N] [--first SEED]
                    [--rounds M] [--seconds T] [--go-on] [--keep]

Two to five stores are mounted in all sorts of sets, alone, detached, attached
again where they were or elsewhere, cloned, put back to an older copy, brought
in step unmounted, renamed, added and removed; the daemon is killed while it
writes and while it resyncs, or all of them lose their power then (ext4 and xfs:
what was not synced is gone; --no-power: never). tests/lib/rotationmodel.py has what each copy of
each store stands for, tests/lib/rotationstores.py says of each set what has to
come of it:

    - it is refused as a fork if each side was changed without the other, and
      for no other reason; whatever was refused is as it was;
    - a mount shows the newest of what its stores have, exactly; they are equal
      byte for byte afterwards, `check`, `diff` and `scrub` say so;
    - what `status` calls in step is, and it never calls a store less behind
      than it is; a dry run says what the resync then does;
    - what was acknowledged goes from a store by --prefer alone.

The seed is printed; `--first SEED --seeds 1` does it again. $SEQMIRROR is the
program; fault points need -Dfault_injection=true. Exit status 0 if all is well.
"""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

import powerimage  # noqa: E402
import rigs  # noqa: E402
import rotationbench  # noqa: E402
import rotationmodel as model  # noqa: E402
import rotationsession  # noqa: E402
import rotationstores as stores  # noqa: E402
from rigs import Failure, wait_for  # noqa: E402

# The last is what a ring says.
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)


class Rotations(rotationbench.Bench, rotationsession.Session):
    """One seed: the program, and what all parts of the story share."""

    def __init__(self, args, seed):
        self.program = os.environ["SEQMIRROR"]
        with open(self.program, "rb") as file:
            self.faults = b"SEQMIRROR_FAULT" in file.read()
        self.rng = random.Random(seed)
        # Of its own, so that a seed is the same story with and without.
        self.power_rng = random.Random(-1 - seed)
        self.power = args.power
        self.disk = args.disk
        self.application = model.Application(self.rng)
        self.rounds = args.rounds
        self.trace = []
        self.events = {}
        self.mnt = os.path.join(args.work, "mnt")
        self.log_path = os.path.join(args.work, f"rotations-{seed}.log")
        self.place = os.path.join(args.disk, f"seed{seed}")
        self.shelf = os.path.join(self.place, "shelf")
        self.backups = []
        self.copies = []
        self.daemon = None
        self.serial = 0

    # ---- the program ----

    def note(self, text):
        self.trace.append(text)

    def count(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    def call(self, *words, timeout=60, fault=None):
        """(status, stdout, stderr)"""
        env = dict(os.environ)
        if fault:
            env["SEQMIRROR_FAULT"] = fault
        done = subprocess.run([self.program, *words], capture_output=True,
                              text=True, timeout=timeout, env=env)
        if words[0] not in ("status", "diff", "check"):
            self.note(f"$ {' '.join(words)} {fault or ''}: "
                      f"{done.returncode} {done.stderr.strip()}")
        if done.returncode < 0 and not (fault and done.returncode == -9):
            raise Failure(f"{' '.join(words)} died: {done.returncode}")
        return done.returncode, done.stdout, done.stderr.strip()

    def run(self, *words, **more):
        status, out, err = self.call(*words, **more)
        if status:
            raise Failure(f"{' '.join(words)}: status {status}: {err}")
        return out

    def json(self, *words, **more):
        return json.loads(self.run(words[0], "--json", *words[1:], **more))

    def is_mounted(self):
        return rigs.is_mounted(self.mnt)

    def start(self, words, fault=None):
        """What the daemon says when it will not mount, or None."""
        self.sync()
        words = ["mount", "-f", *words, self.mnt]
        self.daemon, begin = rigs.start_daemon(
            [self.program, *words], self.log_path, " ".join(words), fault)
        wait_for("mount", 60, lambda: self.daemon.poll() is not None or
                      self.is_mounted())
        self.note(f"$ {' '.join(words)} {fault or ''}")
        if self.daemon.poll() is None:
            return None
        with open(self.log_path, errors="replace") as log:
            log.seek(begin)
            said = log.read()
        code = self.daemon.returncode
        self.bury()
        said = " ".join(line for line in said.splitlines()
                        if line.startswith("seqmirror: "))
        self.note(f"  status {code}: {said}")
        if code < 0 and not (fault and code == -9):
            raise Failure(f"mount died: {code}")
        return said or f"status {code}"

    def bury(self):
        """The daemon is dead, or dies now; its mount goes."""
        if self.daemon:
            if self.daemon.poll() is None:
                self.daemon.send_signal(signal.SIGKILL)
            self.daemon.wait()
            self.daemon = None
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.mnt], check=True)

    # ---- the power ----

    def sync(self):
        """What was done on the bench stays done."""
        subprocess.run(["sync", "-f", self.disk], check=True)

    def power_fails(self):
        return self.power and self.power_rng.random() < 0.5

    def lose_power(self):
        self.count("power")
        self.note("the power is lost")
        fd = os.open(self.disk, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, powerimage.IOC_SHUTDOWN, powerimage.NOLOGFLUSH)
        finally:
            os.close(fd)
        self.bury()
        wait_for("power", 30, self.has_power_again)

    def has_power_again(self):
        """Who has copied all mounts keeps the old one for a while, which is
        off, and then so is what is mounted anew."""
        if os.path.ismount(self.disk) and subprocess.run(
                ["umount", self.disk], capture_output=True).returncode:
            return False
        # An xfs cannot be mounted twice.
        if subprocess.run(["mount", "-o", "loop,noatime", self.disk + ".img",
                           self.disk], capture_output=True).returncode:
            return False
        try:
            self.sync()
        except subprocess.CalledProcessError:
            return False
        return True

    # ---- an application ----

    def work(self, calls):
        for _ in range(calls):
            tree, what, act = self.application.next(self.current.tree)
            self.note(f"  {what}")
            act(self.mnt)
            self.current = model.Commit(self.current, tree, what=what)

    def work_until_killed(self, after):
        """Calls until the daemon is killed; what the last one would have
        made, whether or not it did."""
        pending = []
        failed = []

        def go_on():
            while True:
                tree, what, act = self.application.next(self.current.tree)
                try:
                    act(self.mnt)
                except OSError as error:
                    if error.errno not in GONE:
                        failed.append(f"{what}: {error}")
                    pending.append((self.current, tree))
                    self.note(f"  under way: {what}")
                    return
                self.note(f"  {what}")
                self.current = model.Commit(self.current, tree, what=what)

        worker = threading.Thread(target=go_on, daemon=True)
        worker.start()
        time.sleep(after)
        self.daemon.send_signal(signal.SIGKILL)
        worker.join(30)
        if worker.is_alive():
            raise Failure("a call does not end when the daemon is killed")
        if failed:
            raise Failure(f"before the kill: {failed[0]}")
        return tuple(pending)

    # ---- one seed ----

    def prepare(self):
        os.makedirs(self.shelf)
        names = "ABCDE"[:self.rng.choice((2, 2, 3, 3, 4, 5))]
        first = model.Commit(None, model.Tree.empty(0o755), what="init")
        for name in names:
            path = self.new_place(name)
            os.mkdir(path)
            self.copies.append(stores.Copy(name, path, first, {}))
        rows = {c.name: stores.Row(stores.ONLINE, c.path, first)
                for c in self.copies}
        self.run("init", "--name", ",".join(names),
                 *[c.path for c in self.copies])
        for copy in self.copies:
            copy.join(first, rows, names)
        self.session(self.copies, calm=True)

    def new_place(self, name):
        """Where a store may come, on a new disk."""
        self.serial += 1
        disk = os.path.join(self.place, f"{name}{self.serial}")
        os.mkdir(disk)
        return os.path.join(disk, "s")

    def go(self):
        self.prepare()
        for _ in range(self.rounds):
            self.bench()
            self.some_session()
        self.come_together()

    def clean_up(self, keep):
        self.bury()
        if not keep:
            shutil.rmtree(self.place, ignore_errors=True)

    def tell(self, lines):
        print("the last steps:")
        for line in self.trace[-lines:]:
            print("  " + line[:400])
        print("the copies: " + " ".join(str(c) for c in self.copies))
        for copy in self.copies:
            print(f"  {copy} {copy.where} " + " ".join(
                f"{n}:{r.state}@{r.known}" for n, r in copy.rows.items()))
        rigs.tell_log(self.log_path, 30)


def main():
    parser = rigs.arguments("seed", "stores", 80)
    parser.add_argument("--disk", required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--no-power", dest="power", action="store_false")
    args = parser.parse_args()
    args.disk = os.path.abspath(args.disk)
    kind = subprocess.run(["stat", "-f", "-c", "%T", args.disk], check=True,
                          capture_output=True, text=True).stdout.strip()
    if kind not in ("ext2/ext3", "xfs") or \
            not os.path.exists(args.disk + ".img"):
        args.power = False
    os.umask(0o022)
    begun = time.monotonic()
    done = failed = 0
    totals = {}
    for seed in range(args.first, args.first + args.seeds):
        if args.seconds and time.monotonic() - begun > args.seconds:
            break
        started = time.monotonic()
        one = Rotations(args, seed)
        bad = False
        try:
            one.go()
        except (Failure, OSError, KeyError, ValueError,
                subprocess.SubprocessError) as error:
            bad = True
            print(f"seed {seed}: FAILED: {error}")
            if not isinstance(error, Failure):
                traceback.print_exc(file=sys.stdout)
            one.tell(args.trace)
        finally:
            one.clean_up(bad and args.keep)
        done += 1
        for event, number in one.events.items():
            totals[event] = totals.get(event, 0) + number
        if bad:
            failed += 1
            print(f"again: rotations --first {seed} --seeds 1 "
                  f"--rounds {args.rounds}", flush=True)
            if not args.go_on:
                break
            continue
        print(f"seed {seed}: ok, {sum(one.events.values())} events, "
              f"{time.monotonic() - started:.1f} s", flush=True)
    print(f"{done} seeds, {failed} failed: " +
          " ".join(f"{n}:{c}" for n, c in sorted(totals.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
