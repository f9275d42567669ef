#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Series of random faults of stores under an application that goes on.

usage: fault_series.py --work DIR [--runs N] [--seed S] [--only KIND]
                       [--seconds T] [--keep] [--go-on] [--types ext4,xfs]

Two or three stores of one type or several, one or all of them below a faultyfs. An application
(tests/lib/faultmodel.py) works; at random moments calls of a store begin to
fail, once, some times or until they are told not to, before or after the call
was done; stores leave and come back meanwhile. Kinds of a run:

    hard	EIO, EROFS, ENODEV, ESTALE of one store: the application sees
		nothing of it
    map		the same of that store's map alone
    all		the same of several stores: it may see errors, and what it is
		told is true
    last	the same of the last store, as the others are detached
    space	ENOSPC, EDQUOT of one store that is nearly full: the application's
		error; nobody is put out
    dying	the same of one that has plenty of room
    hang	calls of one store do not return (timeout=3)
    slow	calls of stores take long

A run ends by kill -9 under load, by an unmount with the faults in force, or
well. Then the faults are over, the volume is mounted, and all stores come in
step:

 - what was acknowledged is there, what failed is old or new, the same on all
   stores that are online, and stays what the application saw;
 - stores are equal byte for byte and agree with their maps;
 - a store that failed an fsync was out;
 - no call and no command hangs, the daemon does not end, its descriptors are
   few, and its log says no path of /proc/self.

Seeds are printed; a run depends on its seed and on time. $SEQMIRROR is the
program, $FAULTYFS the filesystem. Exit status 0 if all went well.
"""

import argparse
import ctypes
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

import faultmodel  # noqa: E402
import faultstore  # noqa: E402
import rigs  # noqa: E402
import storecheck  # noqa: E402
from faultstore import OURS, Equal, Store  # noqa: E402
from powerimage import check  # noqa: E402
from rigs import Failure, wait_for  # noqa: E402

THREADS = 2
MNT_DETACH = 2
HANG_SECONDS = 40
FDS_MAX = 256
RUNS_OF_A_VOLUME = 12
subprocess._USE_VFORK = False
libc = ctypes.CDLL(None, use_errno=True)


class Rig(faultstore.Rules):
    def __init__(self, args, rng):
        self.program = os.environ["SEQMIRROR"]
        self.args = args
        self.mnt = os.path.join(args.work, "mnt")
        self.log_path = os.path.join(args.work, "fault_series.log")
        self.log_seen = 0
        self.daemon = None
        self.stop = threading.Event()
        self.trace = []
        self.workers = []
        self.counts = {}
        self.stores = []
        self.runs = 0
        self.through = rng.random() < 0.6
        self.timeout = rng.random() < 0.3
        os.makedirs(self.mnt, exist_ok=True)
        count = rng.choice([2, 2, 3])
        plain = rng.choice([None, 0, 1])
        scarce = rng.random() < 0.4
        try:
            for i in range(count):
                self.stores.append(Store(args.work, f"s{i}", i != plain,
                                         scarce, args.types[i %
                                                            len(args.types)]))
        except BaseException:
            self.clean_up(False)
            raise

    def note(self, text):
        self.trace.append(f"{time.monotonic():.3f} {text}")

    def count(self, what, n=1):
        self.counts[what] = self.counts.get(what, 0) + n

    # ---- the program ----

    def run(self, *words, may_fail=False, quiet=False):
        if not quiet:
            self.note("$ " + " ".join(words))
        try:
            done = subprocess.run([self.program, *words], capture_output=True,
                                  text=True, timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{' '.join(words)} hangs") from None
        if done.returncode < 0:
            raise Failure(f"{' '.join(words)}: signal {-done.returncode}")
        if done.returncode != 0 and not may_fail:
            raise Failure(f"{' '.join(words)}: status {done.returncode}: "
                          f"{done.stderr.strip()}")
        if done.returncode != 0:
            self.note(f"  {done.stderr.strip()}")
        return done.stdout

    def is_mounted(self):
        return rigs.is_mounted(self.mnt)

    def start(self):
        options = "checkpoint=0.2,cache=" + (
            "writethrough" if self.through else "writeback")
        if self.timeout:
            options += ",timeout=3"
        words = ["mount", "-f", "-o", options,
                 *[s.path for s in self.stores], self.mnt]
        self.note("$ " + " ".join(words))
        self.daemon, _ = rigs.start_daemon([self.program, *words],
                                          self.log_path, f"mount {options}")
        wait_for("mount", HANG_SECONDS, lambda: self.daemon.poll() is not None
                 or self.is_mounted())
        if self.daemon.poll() is not None:
            code = self.daemon.wait()
            self.daemon = None
            if code < 0:
                raise Failure(f"the mount died: signal {-code}")
            return False
        return True

    def states(self):
        text = self.run("status", "--json", self.mnt, may_fail=True,
                        quiet=True)
        if not text:
            return {}
        return {s["name"]: s["state"] for s in json.loads(text)["stores"]}

    def all_online(self):
        states = self.states()
        return states and all(v == "online" for v in states.values())

    def return_all(self):
        """What is looked after by nobody is told to come back."""
        self.alive()
        states = self.states()
        for name, state in states.items():
            if state in ("detached", "failed", "missing"):
                self.run("attach", self.mnt, name, may_fail=True)
        return states and all(v == "online" for v in states.values())

    def alive(self):
        if self.daemon.poll() is not None:
            raise Failure(f"the daemon ended: {self.daemon.returncode}")

    def unmount(self, may_fail=False):
        self.run("unmount", self.mnt, may_fail=may_fail)
        if self.kind == "hang":
            # It is done, but a process does not end before its calls.
            self.clear()
        try:
            code = self.daemon.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure("the daemon does not end") from None
        self.daemon = None
        if code < 0 or (code and not may_fail):
            raise Failure(f"the daemon ended with status {code}")
        if self.is_mounted():
            raise Failure("unmount left the mount")

    def bury(self):
        if self.daemon:
            self.daemon.send_signal(signal.SIGKILL)
            # What hangs below cannot die.
            self.clear()
            self.daemon.wait()
            self.daemon = None
        while self.is_mounted():
            check(libc.umount2(self.mnt.encode(), MNT_DETACH), "umount")

    def clear(self):
        for store in self.stores:
            if store.control >= 0:
                for hits, rule in store.hits():
                    if hits:
                        self.struck.append((store, rule, hits))
                        self.note(f"{store.name}: {hits} x {rule}")
                store.command("clear")

    def log_lines(self):
        """What the daemon has said since this was asked last."""
        with open(self.log_path, errors="replace") as log:
            log.seek(self.log_seen)
            lines = log.read()
            self.log_seen = log.tell()
        return lines

    # ---- one volume ----

    def new_volume(self):
        self.struck = []
        self.kind = ""
        self.run("init", "--name", ",".join(s.name for s in self.stores),
                 *[s.path for s in self.stores])
        if not self.start():
            raise Failure("mount refused")
        os.chmod(self.mnt, 0o755)
        self.world = faultmodel.World(self.mnt, THREADS, self.through)
        self.world.populate()
        self.unmount()

    # ---- the load ----

    def load(self, rng):
        self.stop = threading.Event()
        self.world.dead = False
        self.workers = [
            faultmodel.Worker(self.world, i, random.Random(rng.random()),
                              self.stop) for i in range(THREADS)]
        for worker in self.workers:
            worker.beat_now()
            worker.start()

    def watch(self):
        self.alive()
        for worker in self.workers:
            if worker.error:
                raise Failure(f"the application saw: {worker.error}")
            if worker.busy and (time.monotonic() - worker.beat >
                                HANG_SECONDS) and not self.stop.is_set():
                raise Failure(f"{worker.busy} hangs")

    def end_load(self):
        self.stop.set()
        for worker in self.workers:
            worker.join(HANG_SECONDS)
            if worker.is_alive():
                raise Failure(f"the application hangs in {worker.busy}")
            self.count("steps", worker.steps)
        for worker in self.workers:
            if worker.error:
                raise Failure(f"the application saw: {worker.error}")
        self.workers = []

    def pause(self, rng, most=0.12):
        end = time.monotonic() + rng.random() * most
        while time.monotonic() < end:
            self.watch()
            time.sleep(0.01)

    # ---- faults ----

    def faulty(self):
        return [s for s in self.stores if s.faulty]

    KINDS = [("hard", 6), ("map", 3), ("all", 4), ("last", 3), ("space", 4), ("dying", 2),
             ("hang", 2), ("slow", 1)]

    def choose(self, rng):
        """The kind of the run, and its victims."""
        scarce = [s for s in self.faulty() if s.scarce]
        kinds = [k for k in self.KINDS if self.args.only in ("", k[0]) and
                 (k[0] != "hang" or self.timeout) and
                 (k[0] != "space" or scarce) and
                 (k[0] != "dying" or not scarce)]
        if not kinds:
            kinds = [("hard", 1)]
        names, weights = zip(*kinds)
        self.kind = rng.choices(names, weights)[0]
        if self.kind in ("all", "slow"):
            some = self.faulty()
            self.victims = rng.sample(some, rng.randrange(1, len(some) + 1))
        else:
            self.victims = [rng.choice(self.faulty())]
        self.may()

    def may(self):
        """What the application may see. The store that none of the faults is
        on stays, so that it answers."""
        space = (errno.ENOSPC, errno.EDQUOT)
        self.world.may, self.world.strict = {
            "all": (None, False), "last": (None, False), "space": (space, True), "map": (space, True),
            "dying": (space, True)}.get(self.kind, ((), True))
        if self.world.may and not self.through:
            # As the kernel calls EDQUOT of a page that it wrote back.
            self.world.may += (errno.EIO,)
        self.count(self.kind)
        self.note(f"kind {self.kind}, on "
                  f"{[s.name for s in self.victims]}")

    def act(self, rng):
        """Something happens."""
        what = rng.choices(["rule", "clear", "leave", "return", "scrub",
                            "cancel"], [14, 3, 2, 4, 1, 1])[0]
        victim = rng.choice(self.victims)
        if what == "rule":
            rule = getattr(self, "rule_" + self.kind)(rng)
            self.note(f"{victim.name}: {rule}")
            victim.command(rule)
        elif what == "clear":
            self.note("clear")
            self.clear()
        elif what == "leave":
            # Only who fails: the other one serves.
            if self.kind not in ("space", "last"):
                self.run("detach", self.mnt, victim.name, may_fail=True)
        elif what == "return":
            back = rng.choice(self.stores) if self.kind == "last" else victim
            self.run("attach", self.mnt, back.name, may_fail=True)
        elif what == "scrub":
            self.run("scrub", self.mnt, may_fail=True)
        else:
            self.run("resync", "--cancel", self.mnt, may_fail=True)

    # ---- one run ----

    def one_run(self, seed):
        rng = random.Random(seed)
        self.runs += 1
        self.struck = []
        self.world.log.clear()
        self.choose(rng)
        if not self.start():
            raise Failure("mount refused")
        self.load(rng)
        if self.kind == "last":
            self.pause(rng)
            for store in self.stores:
                if store not in self.victims:
                    self.run("detach", self.mnt, store.name)
        for _ in range(rng.randrange(3, 10)):
            self.pause(rng)
            self.act(rng)
        self.pause(rng)
        end = rng.choice(["kill", "kill", "under", "well", "well"])
        self.count("end_" + end)
        self.note(f"end: {end}")
        if end == "kill":
            self.world.dead = True
            self.bury()
            self.end_load()
        else:
            self.end_load()
            if end == "well":
                self.clear()
                self.quiet()
                if self.kind not in ("all", "last") and rng.random() < 0.5:
                    wait_for("all online", 60, self.return_all)
                    self.flush(False)
            self.unmount(may_fail=self.kind in ("all", "last", "hang"))
            self.clear()
            self.in_step()
        self.recover(rng)
        self.check_end()

    def flush(self, told):
        """All that the kernel keeps back goes to the stores, and what it could
        not be rid of is forgotten. @told: an error may be heard of yet."""
        for below, dirs, names in os.walk(self.mnt):
            for name in names:
                path = os.path.join(below, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                fd = os.open(path, os.O_RDWR)
                try:
                    self.flush_one(fd, told)
                finally:
                    os.close(fd)

    def flush_one(self, fd, told):
        try:
            os.fsync(fd)
        except OSError as error:
            if not told or not self.world.tolerates(error):
                raise Failure(f"fsync with no fault: {error}") from None
            self.haze(os.fstat(fd).st_gid)
        else:
            self.settle(os.fstat(fd).st_gid)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def haze(self, serial):
        for node in self.world.all_nodes():
            if node.serial == serial:
                for cell in node.cells():
                    cell.hazy = cell.lazy

    def settle(self, serial):
        """Its fsync was a success."""
        for node in self.world.all_nodes():
            if node.serial == serial:
                for cell in node.cells():
                    if cell.lazy and not cell.hazy:
                        cell.settle(cell.acked)

    def quiet(self):
        """Nobody works: whoever is online holds the same."""
        if self.kind not in ("all", "last"):
            self.flush(True)
        states = self.states()
        if not states:
            raise Failure("status does not answer")
        self.note(f"states {states}")
        online = [s for s in self.stores if states.get(s.name) == "online"]
        if not online:
            raise Failure("nobody is online")
        # What the last store did by half is in doubt until the next mount.
        if self.kind not in ("all", "last"):
            self.equal(online, settled=False)
            # With cache=writeback the kernel shows for a while what could not
            # be written.
            self.verdict(self.mnt, follow=self.through)

    def in_step(self):
        """Unmounted. Whoever a forecast calls in step is equal."""
        first = self.stores[0]
        for store in self.stores[1:]:
            text = self.run("resync", "--dry-run", "--json", first.path,
                            store.path, may_fail=True)
            if not text:
                continue
            if "are in step" in (json.loads(text)["remark"] or ""):
                self.count("in_step")
                self.equal([first, store])

    def recover(self, rng):
        """All come back, perhaps after another crash in the middle of it."""
        while rng.random() < 0.3:
            self.count("again")
            if rng.random() < 0.5:
                store = rng.choice(self.faulty())
                rule = self.rule_hard(rng)
                self.note(f"{store.name}: {rule}")
                store.command(rule)
            if self.start():
                time.sleep(rng.random() * 0.1)
                self.note("kill")
                self.bury()
            self.clear()
        if not self.start():
            raise Failure("mount refused")
        wait_for("all online", 60, self.return_all)
        fds = len(os.listdir(f"/proc/{self.daemon.pid}/fd"))
        if fds > FDS_MAX:
            raise Failure(f"the daemon has {fds} descriptors")
        self.verdict(self.mnt, follow=True)
        self.unmount()

    # ---- what must hold ----

    def verdict(self, root, follow=False):
        verdict = faultmodel.Verdict(self.world, root)
        wrong = verdict.run()
        if wrong:
            self.explain(wrong, root)
            raise Failure(f"in {root}:\n  " + "\n  ".join(wrong[:20]))
        if follow:
            verdict.follow()

    def equal(self, stores, settled=True):
        for store in stores[1:]:
            wrong = Equal(stores[0], store, settled).run()
            if wrong:
                self.explain(wrong, stores[0].below)
                raise Failure(f"{stores[0].name} and {store.name} differ:\n  "
                              + "\n  ".join(wrong[:20]))

    def check_end(self):
        for store in self.stores:
            wrong = storecheck.StoreCheck(store.below, False).run()
            if wrong:
                raise Failure(f"map of {store.name}:\n  " +
                              "\n  ".join(wrong[:20]))
            self.run("check", store.path)
        self.equal(self.stores)
        self.verdict(self.stores[0].below)
        lines = self.log_lines()
        if "/proc/self/" in lines:
            raise Failure("the log names a store as nobody knows it")
        self.check_put_out(lines)
        for hits in (h for _, _, h in self.struck):
            self.count("faults", hits)

    def check_put_out(self, lines):
        out = set(re.findall(r"store (\S+) is out", lines))
        self.count("put_out", len(out))
        if self.kind == "space" and out:
            raise Failure(f"out for being full: {out}")
        if self.kind in ("all", "last"):
            return
        for store, rule, _ in self.struck:
            if re.search(r"^(after \d+ )?(times \d+ )?(late )?fail "
                         r"(fsync|sync) .* " + re.escape(OURS), rule) and (
                             store.name not in out):
                raise Failure(f"{store.name} failed an fsync and stayed")

    def explain(self, wrong, root):
        """What was done to those files."""
        serials = set(map(int, re.findall(r"(?:file|directory) (\d+)",
                                          " ".join(wrong))))
        for text in wrong:
            path = os.path.join(root, text.split(": ")[0])
            if os.path.lexists(path):
                serials.add(os.lstat(path).st_gid)
        for when, serial, what, words in self.world.log:
            if serial in serials:
                self.trace.append(f"{when:.3f} file {serial}: {what} {words}")

    # ---- the end ----

    def tell(self):
        print("what happened:")
        for line in self.trace[-250:]:
            print("  " + line)
        rigs.tell_log(self.log_path, 60)

    def clean_up(self, keep):
        self.stop.set()
        if hasattr(self, "world"):
            self.world.dead = True
        self.struck = []
        self.bury()
        for worker in self.workers:
            worker.join(10)
        if not keep:
            for store in self.stores:
                store.remove()


def one(args, rig, run, seed):
    """Return: the volume to go on with."""
    if rig and rig.runs >= RUNS_OF_A_VOLUME:
        finish(args, rig)
        rig = None
    if rig is None:
        work = os.path.join(args.work, f"rig{run}")
        os.mkdir(work)
        rig_args = argparse.Namespace(**vars(args))
        rig_args.work = work
        args.rig = rig = Rig(rig_args, random.Random(seed))
        rig.new_volume()
    rig.trace.clear()
    rig.one_run(seed)
    return rig


def finish(args, rig, keep=False):
    rig.clean_up(keep)
    args.rig = None
    told = {f"told_{k}": v for k, v in rig.world.told.items()} if hasattr(
        rig, "world") else {}
    for key, value in {**rig.counts, **told}.items():
        args.totals[key] = args.totals.get(key, 0) + value
    if not keep:
        shutil.rmtree(rig.args.work, ignore_errors=True)


def main():
    parser = rigs.arguments("run", "images")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int,
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--only", default="", help="one of the kinds")
    parser.add_argument("--types", default="ext4",
                        help="of the stores, in turn: ext4, xfs, btrfs")
    args = parser.parse_args()
    args.types = args.types.split(",")
    args.totals = {}
    args.rig = rig = None
    os.umask(0o022)
    begin = time.monotonic()
    failed = done = 0
    for run in range(args.runs):
        if args.seconds and time.monotonic() - begin > args.seconds:
            break
        seed = args.seed + run
        done += 1
        try:
            rig = one(args, rig, run, seed)
        except Exception as error:
            failed += 1
            rig = None
            print(f"seed {seed}: FAILED: {error}")
            if not isinstance(error, Failure):
                traceback.print_exc(file=sys.stdout)
            if args.rig is None:
                break
            args.rig.tell()
            sys.stdout.flush()
            finish(args, args.rig, args.keep)
            if not args.go_on:
                break
    if args.rig:
        finish(args, args.rig)
    took = time.monotonic() - begin
    print(f"{done} runs from seed {args.seed} in {took:.0f} s, {failed} "
          "failed: " + " ".join(f"{k}:{v}"
                                for k, v in sorted(args.totals.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
