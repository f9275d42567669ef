#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Power losses of all kinds, with un-synced writes really dropped.

usage: power_loss.py --work DIR [--runs N] [--seed S] [--types ext4,xfs]
                     [--only MODE] [--soak] [--seconds T] [--points DIR] [--keep]
                     [--go-on]

The stores are loop-mounted images. A store loses its power by the shutdown
ioctl of its filesystem: the journal is not flushed, no dirty page is ever
written; then it is unmounted and mounted again. Each run: an application
(tests/lib/powermodel.py) works, often beside a store that leaves or comes
back; then one of

    daemon      the daemon is killed
    one         a store loses its power, the daemon lives on
    half        the daemon and one store
    all         the daemon and all stores, at one moment
    apart       first a store, a little later the daemon and all others;
                the daemon may be in the middle of an fsync of the first
    point       at the n-th hit of a fault point the stores lose their power
                (or not) and the daemon dies
    full        (with --soak) the stores are filled to the last block
    long        (with --soak) one daemon lives through a lot

and often the same once more in the middle of the recovery from it. Then the
volume is mounted, all stores are in step again, and it is unmounted: stores
are equal byte for byte and agree with their maps, everything that was synced
is there, and every block, name and attribute is one that it once was. The
daemon's memory and descriptors and the maps stay small, since the tree does.

Seeds are printed; a run depends on its seed and on time. $SEQMIRROR is the
program; fault points need -Dfault_injection=true. Exit status 0 if all went
well.
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

import powermodel  # noqa: E402
import powerverdict  # noqa: E402
import storecheck  # noqa: E402
import treecmp  # noqa: E402
import rigs  # noqa: E402
from powerimage import EarlyWriter, Image, check  # noqa: E402
from rigs import POLL, Failure, wait_for  # noqa: E402

THREADS = 2
MNT_DETACH = 2
# A child closes what this process has open on the mount, and waits where the
# daemon stopped at its fault point just then. With vfork(2) this process would
# wait for the child, all threads of it, and nobody would kill the daemon.
subprocess._USE_VFORK = False
# A tree of some fifty small files needs no more than this, ever.
RSS_KIB_MAX = 96 << 10
FDS_MAX = 256
MAP_BYTES_MAX = 8 << 20
# What a daemon may grow by in the second half of a long life.
RSS_KIB_GROWTH = 12 << 10
FDS_GROWTH = 24
LONG_ROUNDS = 16
libc = ctypes.CDLL(None, use_errno=True)


class Rig:
    def __init__(self, args, kinds):
        self.program = os.environ["SEQMIRROR"]
        self.args = args
        self.mnt = os.path.join(args.work, "mnt")
        self.maps = os.path.join(args.work, "maps")
        self.log_path = os.path.join(args.work, "power_loss.log")
        self.daemon = None
        self.freezing = threading.Lock()
        self.trace = []
        self.out = set()
        self.counts = {}
        self.most = {}
        self.synced = 0
        self.acked = 0
        os.makedirs(self.mnt, exist_ok=True)
        self.stores = []
        try:
            for number, kind in enumerate(kinds):
                self.stores.append(Image(args.work, f"s{number}", kind))
        except BaseException:
            self.clean_up(False)
            raise

    # ---- the program ----

    def note(self, text):
        self.trace.append(text)

    def run(self, *words, timeout=60, may_fail=False):
        if words[0] != "status":
            self.note("$ " + " ".join(words))
        done = subprocess.run([self.program, *words], capture_output=True,
                              text=True, timeout=timeout)
        if done.returncode != 0 and not may_fail:
            raise Failure(f"{' '.join(words)}: status {done.returncode}: "
                          f"{done.stderr.strip()}")
        return done.stdout

    def is_mounted(self):
        return rigs.is_mounted(self.mnt)

    def start(self, fault=None, power=(), options=""):
        # The checkpoint comes soon, so that many fall into a short run.
        words = ["mount", "-f", "-o", "checkpoint=0.1" + options,
                 *[s.path for s in self.stores], self.mnt]
        self.point_power = power
        self.frozen = False
        self.note(f"$ {' '.join(words)} {fault or ''} "
                  f"{[s.name for s in power]}")
        self.daemon, _ = rigs.start_daemon(
            [self.program, *words], self.log_path,
            f"mount {options} {fault or ''}", fault)
        if power:
            threading.Thread(target=self.watch, args=(self.daemon, power),
                             daemon=True).start()
        wait_for("mount", 30, lambda: self.daemon.poll() is not None or
                 self.is_mounted())
        return self.daemon.poll() is None

    def watch(self, daemon, power):
        """At its fault point it stops, as a whole; then these stores lose
        their power, all at one moment for it, and it dies."""
        try:
            what = os.waitid(os.P_PID, daemon.pid,
                             os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return
        with self.freezing:
            if self.frozen or what.si_code != os.CLD_STOPPED:
                return
            for store in power:
                store.power_off()
            daemon.kill()

    def alive(self):
        return self.daemon and self.daemon.poll() is None

    def states(self):
        text = self.run("status", "--json", self.mnt, may_fail=True)
        if not text:
            return {}
        return {s["name"]: s["state"] for s in json.loads(text)["stores"]}

    def online(self):
        states = self.states()
        return states and all(v == "online" for v in states.values())

    def unmount(self):
        self.run("unmount", self.mnt)
        code = self.daemon.wait(30)
        self.daemon = None
        if code:
            raise Failure(f"the daemon ended with status {code}")

    def bury(self):
        """The daemon is dead, or dies now."""
        if self.daemon:
            self.daemon.send_signal(signal.SIGKILL)
            self.daemon.wait()
            self.daemon = None
        while self.is_mounted():
            check(libc.umount2(self.mnt.encode(), MNT_DETACH), "umount")

    def freeze(self):
        """No thread of the daemon does anything any more. One that was in an
        fsync when the journal is aborted might be told that all is well."""
        with self.freezing:
            self.frozen = True
            if self.daemon.poll() is not None:
                return
            self.daemon.send_signal(signal.SIGSTOP)
            _, status = os.waitpid(self.daemon.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                self.daemon.returncode = os.waitstatus_to_exitcode(status)

    def crash(self, lost):
        """The daemon and these stores, at one moment."""
        self.note(f"the daemon dies, no power: {[s.name for s in lost]}")
        self.freeze()
        for store in lost:
            store.power_off()
        self.bury()
        # The fault point may have been reached just now.
        for store in {*lost, *self.point_power}:
            store.again()
        self.keep_maps("crash")

    # ---- one volume ----

    def new_volume(self):
        for store in self.stores:
            os.makedirs(store.path, exist_ok=True)
        self.run("init", "--name", ",".join(s.name for s in self.stores),
                 *[s.path for s in self.stores])
        if not self.start():
            raise Failure("mount refused")
        os.chmod(self.mnt, 0o755)
        self.world = powermodel.World(
            self.mnt, THREADS,
            any(store.kind == "btrfs" for store in self.stores))
        self.world.populate()
        self.unmount()

    def check_end(self, exact):
        first = self.stores[0]
        for store in self.stores:
            wrong = storecheck.StoreCheck(store.path, False).run()
            if wrong:
                self.explain({t for w in wrong
                              for t in re.findall("b'([^']+)'", w)})
                raise Failure(f"map of {store.name}:\n  " +
                              "\n  ".join(wrong[:20]))
            if store is not first:
                compare = treecmp.Compare(first.path, store.path,
                                          holes=not self.mixed())
                wrong = compare.run()
                if wrong:
                    self.explain({w.split(": ")[0] for w in wrong})
                    raise Failure(f"{first.name} and {store.name} differ:\n  "
                                  + "\n  ".join(wrong[:20]))
        kind = powerverdict.Exact if exact else powerverdict.Verdict
        verdict = kind(self.world, first.path)
        wrong = verdict.run()
        if wrong:
            self.explain({os.path.relpath(w.split(": ")[0], first.path)
                          for w in wrong if w.startswith("/")})
            raise Failure(f"after the crash (exact: {exact}):\n  " +
                          "\n  ".join(wrong[:20]))
        verdict.follow()

    def explain(self, paths):
        """What the maps said of these at each crash, and what was done."""
        serials = set()
        for path in sorted(paths):
            full = os.path.join(self.stores[0].path, path)
            if os.path.lexists(full):
                serials.add(os.lstat(full).st_gid)
            for moment in sorted(os.listdir(self.maps)):
                for store in self.stores:
                    self.explain_map(path, moment, store)
        for when, serial, what, words in self.world.log:
            if serial in serials:
                self.note(f"{when:.3f} file {serial}: {what} {words}")

    def explain_map(self, path, moment, store):
        place = os.path.join(self.maps, moment, store.name)
        if not os.path.exists(place):
            return
        rows = storecheck.Map(place)
        node = storecheck.ROOT
        for name in path.split("/"):
            name = name.encode()
            node = rows.dentries.get(node, {}).get(name, (None,))[0]
        intents = [i for i in rows.intents if i[0] == node]
        self.note(f"{moment} {store.name}: {path} is node {node} "
                  f"{rows.nodes.get(node)} extents {rows.extents.get(node)} "
                  f"intents {intents} durable {rows.durable_seq}")

    def keep_maps(self, what):
        """For explain(); the maps as they are now."""
        place = os.path.join(self.maps, f"{len(os.listdir(self.maps))}-{what}")
        for store in self.stores:
            to = os.path.join(place, store.name, ".seqmirror")
            os.makedirs(to)
            for name in ("meta.db", "meta.db-wal"):
                full = os.path.join(store.path, ".seqmirror", name)
                if os.path.exists(full):
                    shutil.copy(full, to)

    def mixed(self):
        """xfs keeps blocks beyond the end and may give them later, btrfs finds
        holes of its own."""
        return any(s.kind != "ext4" for s in self.stores)

    # ---- one run ----

    def load(self, rng, steady):
        self.stop = threading.Event()
        self.workers = [
            powermodel.Worker(self.world, i, random.Random(rng.random()),
                              self.stop, steady) for i in range(THREADS)]
        self.early = EarlyWriter(self, random.Random(rng.random()))
        for thread in [*self.workers, self.early]:
            thread.start()

    def end_load(self):
        self.stop.set()
        self.early.end.set()
        for thread in [*self.workers, self.early]:
            thread.join(30)
            if thread.is_alive():
                raise Failure("the application hangs")
        self.synced += self.world.synced
        self.acked += self.world.acked
        self.world.synced = self.world.acked = 0
        self.worker_errors()

    def worker_errors(self):
        for worker in self.workers:
            if worker.error:
                raise Failure(f"the application saw: {worker.error}")

    def some_point(self, rng, recovery=False):
        points = [p for p in self.args.point_names if not recovery or
                  re.match("resync|meta|mirror.record|mirror.ckpt", p)]
        point = rng.choice(points)
        # Some are passed a hundred times in a run, others once.
        return point, rng.choice([1, 1, 2, 3, 5, 8, 20, 50])

    def some(self, rng, least=0):
        return rng.sample(self.stores,
                          rng.randrange(least, len(self.stores) + 1))

    def leave_and_return(self, rng):
        """A store goes and comes back in the background of a load."""
        name = rng.choice(self.stores).name
        time.sleep(rng.random() * 0.06)
        self.run("detach", self.mnt, name, may_fail=True)
        time.sleep(rng.random() * 0.06)
        self.run("attach", self.mnt, name, may_fail=True)

    def act(self, rng, mode):
        """From a sound volume to one that has to recover."""
        fault, power = None, []
        if mode == "point":
            point, at = self.some_point(rng)
            power = rng.choice([[], self.stores, self.stores,
                                self.some(rng)])
            fault = f"{point}:{'stop' if power else 'kill'}:{at}"
        if not self.start(fault, power):
            if mode != "point" or self.daemon.returncode != -9:
                raise Failure("mount refused")
            self.note("died at mount")
            self.after_point(power)
            return
        self.load(rng, steady=mode in self.EXACT)
        time.sleep(rng.random() * 0.02)
        if rng.random() < 0.5 and mode not in self.EXACT:
            self.leave_and_return(rng)
        self.note(f"mode {mode}")
        getattr(self, "mode_" + mode)(rng)

    def after_point(self, power):
        self.bury()
        for store in power:
            store.again()
        self.keep_maps("point")

    def pause(self, rng):
        time.sleep(0.01 + rng.random() * 0.14)

    def mode_daemon(self, rng):
        self.pause(rng)
        self.crash([])
        self.end_load()

    def mode_half(self, rng):
        self.pause(rng)
        self.crash([rng.choice(self.stores)])
        self.end_load()

    def mode_all(self, rng):
        self.pause(rng)
        self.crash(self.stores)
        self.end_load()

    def mode_apart(self, rng):
        self.pause(rng)
        first = rng.choice(self.stores)
        self.note(f"no power: {first.name}")
        first.power_off()
        time.sleep(rng.choice([0, 0.001, 0.01, 0.05]) * rng.random())
        self.freeze()
        for store in self.stores:
            if store is not first:
                store.power_off()
        self.bury()
        for store in self.stores:
            store.again()
        self.keep_maps("apart")
        self.end_load()

    def mode_one(self, rng):
        self.pause(rng)
        store = rng.choice(self.stores)
        self.note(f"no power: {store.name}")
        store.power_off()
        # It is known as soon as anything is written to it.
        def out():
            self.worker_errors()
            return self.states().get(store.name) != "online"
        wait_for(f"{store.name} is out", 20, out)
        store.again()
        if rng.random() < 0.5:
            self.end_load()
            self.run("attach", "--wait", self.mnt, store.name, may_fail=True)
        else:
            self.run("attach", "--wait", self.mnt, store.name, may_fail=True)
            self.end_load()
        wait_for("all online", 30, self.online)

    def mode_full(self, rng):
        """Only what fills it sees it."""
        self.end_load()
        path = os.path.join(self.mnt, "filler")
        try:
            with open(path, "wb", buffering=0) as file:
                while file.write(bytes(1 << 20)):
                    os.fsync(file.fileno())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        if not self.online():
            raise Failure(f"full stores are out: {self.states()}")
        os.unlink(path)
        self.load(rng, steady=True)
        self.pause(rng)
        self.end_load()

    def mode_long(self, rng):
        """Stores come and go, one daemon stays."""
        self.end_load()
        uses = []
        for round_ in range(LONG_ROUNDS):
            self.load(rng, steady=True)
            if rng.random() < 0.5:
                self.leave_and_return(rng)
                wait_for("all online", 30, self.online)
                self.pause(rng)
                self.end_load()
            else:
                self.mode_one(rng)
            uses.append(self.use())
        # Descriptors of files that were used lately come and go: the most.
        most = [[max(column) for column in zip(*part)]
                for part in (uses[:LONG_ROUNDS // 2], uses[LONG_ROUNDS // 2:])]
        rss, fds = (b - a for a, b in zip(*most))
        self.note(f"growth in {LONG_ROUNDS // 2} rounds: {rss} KiB, {fds} "
                  f"descriptors")
        if rss > RSS_KIB_GROWTH or fds > FDS_GROWTH:
            raise Failure(f"the daemon grows: {rss} KiB, {fds} descriptors")

    def use(self):
        """(KiB in memory, descriptors) of the daemon."""
        with open(f"/proc/{self.daemon.pid}/status") as lines:
            rss = next(int(line.split()[1]) for line in lines
                       if line.startswith("VmRSS"))
        return rss, len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def check_use(self):
        rss, fds = self.use()
        self.most["rss_kib"] = max(self.most.get("rss_kib", 0), rss)
        self.most["fds"] = max(self.most.get("fds", 0), fds)
        if rss > RSS_KIB_MAX or fds > FDS_MAX:
            raise Failure(f"the daemon has {rss} KiB, {fds} descriptors")

    def check_maps(self):
        for store in self.stores:
            size = os.stat(os.path.join(store.path, ".seqmirror",
                                        "meta.db")).st_size
            self.most["map"] = max(self.most.get("map", 0), size)
            if size > MAP_BYTES_MAX:
                raise Failure(f"the map of {store.name} has {size} bytes")

    def mode_point(self, rng):
        end = time.monotonic() + 0.25
        while self.alive() and time.monotonic() < end:
            time.sleep(POLL)
        reached = not self.alive()
        self.note(f"reached: {reached}")
        self.counts["reached"] = self.counts.get("reached", 0) + reached
        if reached:
            self.after_point(self.point_power)
        else:
            self.crash(self.some(rng))
        self.end_load()

    def recovery_crash(self, rng):
        """Once more, while it recovers or resyncs."""
        self.counts["second"] = self.counts.get("second", 0) + 1
        power = self.some(rng)
        if rng.random() < 0.7:
            point, at = self.some_point(rng, recovery=True)
            at = min(at, 5)
            if not self.start(f"{point}:{'stop' if power else 'kill'}:{at}",
                              power):
                if self.daemon.returncode != -9:
                    raise Failure("mount refused")
                self.after_point(power)
                return
            end = time.monotonic() + 0.1
            while self.alive() and time.monotonic() < end:
                time.sleep(POLL)
            if not self.alive():
                self.after_point(power)
                return
        elif not self.start():
            raise Failure("mount refused")
        time.sleep(rng.random() * 0.05)
        self.crash(power)

    MODES = [("daemon", 1), ("one", 2), ("half", 2), ("all", 3), ("apart", 3),
             ("point", 9)]
    SOAK_MODES = [("full", 1), ("long", 1)]
    # No crash, so nothing at all may be missing.
    EXACT = ("one", "full", "long")

    def one_run(self, seed):
        rng = random.Random(seed)
        modes, weights = zip(*[
            m for m in self.MODES + (self.SOAK_MODES if self.args.soak else [])
            if self.args.only in ("", m[0])])
        mode = rng.choices(modes, weights)[0]
        self.world.log.clear()
        shutil.rmtree(self.maps, ignore_errors=True)
        os.mkdir(self.maps)
        self.counts[mode] = self.counts.get(mode, 0) + 1
        self.act(rng, mode)
        if mode not in self.EXACT:
            while rng.random() < 0.4:
                self.recovery_crash(rng)
            if not self.start():
                raise Failure("mount refused")
            wait_for("all online", 30, self.return_all)
        self.keep_maps("mounted")
        self.check_use()
        self.unmount()
        self.keep_maps("unmounted")
        self.check_maps()
        self.check_end(exact=mode in self.EXACT)

    def return_all(self):
        """Whoever was detached when it died is told to come back."""
        states = self.states()
        for name, state in states.items():
            if state == "detached":
                self.run("attach", self.mnt, name, may_fail=True)
        return states and all(v == "online" for v in states.values())

    # ---- the end ----

    def tell(self):
        print("what happened:")
        for line in self.trace[-200:]:
            print("  " + line)
        rigs.tell_log(self.log_path, 60)

    def clean_up(self, keep):
        if hasattr(self, "stop"):
            self.stop.set()
            self.early.end.set()
        self.bury()
        if not keep:
            for store in self.stores:
                store.remove()


def all_points(source):
    names = set()
    for part in ("meta", "fs/mirror", "resync"):
        for below, _, files in os.walk(os.path.join(source, part)):
            for name in files:
                if name.endswith(".c"):
                    with open(os.path.join(below, name)) as file:
                        names |= set(re.findall(
                            r'FAULT_(?:POINT|ERR)\("([^"]+)', file.read()))
    return sorted(names)


def main():
    parser = rigs.arguments("run", "images")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int,
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--only", default="", help="one of the modes")
    parser.add_argument("--soak", action="store_true",
                        help="the modes that take seconds, too")
    parser.add_argument("--types", default="ext4,ext4")
    parser.add_argument("--points", default=os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "../.."))
    args = parser.parse_args()
    if "," not in args.types:
        parser.error("--types: two at least, one each; ext4,ext4 is the default")
    args.point_names = all_points(args.points)
    os.umask(0o022)
    begin = time.monotonic()
    failed = done = 0
    rig = None
    totals = {}
    for run in range(args.runs):
        if args.seconds and time.monotonic() - begin > args.seconds:
            break
        seed = args.seed + run
        done += 1
        try:
            if rig is None:
                work = os.path.join(args.work, f"rig{run}")
                os.mkdir(work)
                rig_args = argparse.Namespace(**vars(args))
                rig_args.work = work
                rig = Rig(rig_args, args.types.split(","))
                rig.new_volume()
            rig.trace.clear()
            rig.one_run(seed)
        except Exception as error:
            failed += 1
            print(f"seed {seed}: FAILED: {error}")
            if not isinstance(error, Failure):
                traceback.print_exc(file=sys.stdout)
            if rig is None:
                break
            rig.tell()
            sys.stdout.flush()
            rig.clean_up(args.keep)
            add_up(totals, rig)
            rig = None
            if not args.go_on:
                break
    if rig:
        add_up(totals, rig)
        rig.clean_up(False)
    took = time.monotonic() - begin
    print(f"{done} runs from seed {args.seed} in {took:.0f} s, {failed} "
          f"failed, {len(args.point_names)} fault points: " +
          " ".join(f"{k}:{v}" for k, v in sorted(totals.items())))
    return 1 if failed else 0


def add_up(totals, rig):
    rig.counts["synced"] = rig.synced
    rig.counts["acknowledged"] = rig.acked
    for key, value in rig.counts.items():
        totals[key] = totals.get(key, 0) + value
    for key, value in rig.most.items():
        totals["most_" + key] = max(totals.get("most_" + key, 0), value)


if __name__ == "__main__":
    sys.exit(main())
