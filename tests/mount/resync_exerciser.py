#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Resyncs that are disturbed in every way, between stores that are not alike.

usage: resync_exerciser.py --work DIR --reference DIR --places KIND:DIR,...
                           [--seeds N] [--first SEED] [--rounds M]
                           [--seconds T] [--go-on] [--keep]

Each seed takes two or three of the places, some of them behind a filesystem
that fails when it is told to, or that cannot punch. In each round a store is
taken away, the volume is changed, and the store comes back: beside changes, with
the daemon killed at any moment and at the fault points of a resync, cancelled,
with reads of the source and calls on the target that fail, on the bench with
the process killed. What disturbs is ended then, and all stores must come to be
equal, in names, contents, holes, attributes and maps, to a plain directory that
was changed alike; `check` and `scrub` must find nothing.

The seed is printed; `--first SEED --seeds 1` does it again. $SEQMIRROR is the
program, $FAULTYFS the filesystem that fails; fault points need
-Dfault_injection=true. Exit status 0 if all went well.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(__file__)
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import exerciser  # noqa: E402
import modelops  # noqa: E402
import resyncops  # noqa: E402
import rigs  # noqa: E402
import treecmp  # noqa: E402
from rigs import Failure, wait_for  # noqa: E402

FAULT_POINTS = ["batch.armed", "batch.copied", "close.after", "close.before",
                "copy.write", "fill.synced", "marked", "unmap", "unmapped"]
# Where the map of a hole is exact, and what is one in one is one in the other.
EXACT = {"ext4", "xfs"}
NO_PUNCH = "fail fallocate 95"


class AfterCrash(exerciser.AfterCrash):
    def regular(self, path, st, other):
        if other.st_size > 2 * modelops.FILE_MAX:
            treecmp.Compare.regular(self, path, st, other)
        else:
            super().regular(path, st, other)


class Place(exerciser.Store):
    """A store on one of the places. @below: its files, past what may fail."""

    def __init__(self, name, kind, below, faulty):
        super().__init__(name, below)
        self.kind = kind
        self.below = below
        self.helper = None
        self.standing = ""
        if faulty:
            self.path = faulty
            self.standing = NO_PUNCH if kind == "nopunch" else ""

    def begin(self):
        os.makedirs(self.below)
        if self.path == self.below:
            return
        os.makedirs(self.path)
        self.helper = subprocess.Popen([os.environ["FAULTYFS"], self.below,
                                        self.path])
        wait_for("faultyfs", 10, lambda: rigs.is_mounted(self.path))
        # Once open it is at hand, whatever fails.
        self.control = os.open(os.path.join(self.path, ".faultyfs"),
                               os.O_WRONLY)
        self.faults("clear")

    def faults(self, *commands):
        for command in [*commands] + (
                [self.standing] if self.standing and "clear" in commands
                else []):
            os.pwrite(self.control, command.encode(), 0)

    def end(self, keep):
        if self.helper:
            os.close(self.control)
            subprocess.run(["umount", "-l", self.path], check=True)
            # Who has copied all mounts (unshare) keeps this one for a while.
            self.helper.terminate()
            self.helper.wait(30)
            os.rmdir(self.path)
        if not keep:
            shutil.rmtree(self.below, ignore_errors=True)


class ResyncExerciser(exerciser.Exerciser):
    crash_compare = AfterCrash

    def __init__(self, args, seed):
        self.program = os.environ["SEQMIRROR"]
        self.rng = rng = random.Random(seed)
        self.seed = seed
        self.rounds = args.rounds
        self.told = args.trace
        self.trace, self.events = [], {}
        self.quiet_points = 0
        self.exact = False
        self.cache = rng.choice(["writeback", "writeback", "writethrough"])
        self.earlier = self.daemon = None
        self.mnt = os.path.join(args.work, "mnt")
        self.log_path = os.path.join(args.work, f"resyncs-{seed}.log")
        self.plain = os.path.join(args.reference, f"plain{seed}")
        places = [p.split(":", 1) for p in args.places.split(",")]
        chosen = rng.sample(places, min(len(places), rng.choice([2, 2, 3])))
        self.stores = []
        for i, (kind, place) in enumerate(chosen):
            fails = kind == "nopunch" or rng.random() < 0.6
            self.stores.append(Place(
                f"s{i}", kind, os.path.join(place, f"seed{seed}"),
                os.path.join(args.work, f"f{seed}-{i}") if fails else None))
        self.holes = {s.kind for s in self.stores} <= EXACT
        self.note("stores: " + " ".join(
            f"{s.name}={s.kind}{'!' if s.path != s.below else ''}"
            for s in self.stores))

    def mount(self, fault=None, expect=True):
        words = ["mount", "-f", "-o", "cache=" + self.cache,
                 *[s.path for s in self.of_state("online")], self.mnt]
        self.note(f"$ {' '.join(words)} {fault or ''}")
        self.daemon, _ = rigs.start_daemon([self.program, *words],
                                           self.log_path, " ".join(words),
                                           fault)
        wait_for("mount", 60, lambda: self.is_mounted() or
                 self.daemon.poll() is not None)
        if not self.is_mounted() and expect:
            raise Failure("mount refused")

    def files_of(self, store):
        return store.below

    # ---- one round ----

    def work(self, count):
        for _ in range(count):
            resyncops.step(self.tree)

    def leave(self):
        """Some store goes, in one of the ways. Afterwards it is detached, or
        the volume is mounted without it."""
        store = self.rng.choice(self.of_state("online"))
        if self.rng.random() < 0.3:
            self.quiet_point()
            store.state = "detached"
            self.mount_without(store)
        else:
            self.run("detach", self.mnt, store.name)
            store.state = "detached"
        return store

    def mount_without(self, store):
        """One that was in step is missing: it must not be found."""
        words = ["mount", "-f", "-o", "degraded,no_auto_attach,cache="
                 + self.cache,
                 *[s.path for s in self.of_state("online")], self.mnt]
        hidden = store.below + ".hidden"
        if store.path == store.below:
            os.rename(store.below, hidden)
        else:
            store.faults("fail all EIO")
        self.note("$ " + " ".join(words))
        self.daemon, _ = rigs.start_daemon([self.program, *words],
                                           self.log_path, " ".join(words))
        wait_for("mount", 60, lambda: self.is_mounted() or
                 self.daemon.poll() is not None)
        if store.path == store.below:
            os.rename(hidden, store.below)
        else:
            store.faults("clear")
        if not self.is_mounted():
            raise Failure("mount refused")

    def try_run(self, *words):
        done = subprocess.run([self.program, *words], capture_output=True,
                              text=True, timeout=120)
        self.note(f"$ {' '.join(words)} = {done.returncode} "
                  f"{done.stderr.strip()[:200]}")
        return done.returncode == 0

    def is_dead(self):
        return self.daemon.poll() is not None

    def come_back(self, store):
        store.state = "online"
        if self.states()[store.name] != "online":
            self.try_run("attach", self.mnt, store.name)

    def all_online(self):
        states = self.states()
        return all(states[s.name] == "online" for s in self.of_state("online"))

    def calm(self):
        """No resync runs: 1 all are online."""
        wait_for("the end of the resyncs", 90, lambda: self.is_dead() or
                 "resyncing" not in self.states().values())

    def bring_back(self):
        for _ in range(30):
            states = self.states()
            for store in self.of_state("online"):
                if states[store.name] not in ("online", "resyncing"):
                    self.try_run("attach", self.mnt, store.name)
            self.calm()
            if self.all_online():
                return
        raise Failure(f"not online after 30 attempts: {self.states()}")

    # ---- what disturbs ----

    def by_work(self, store):
        self.work(self.rng.randrange(12))

    def by_cancel(self, store):
        self.work(self.rng.randrange(3))
        self.try_run("resync", "--cancel", self.mnt, store.name)
        self.come_back(store)

    def by_kill(self, store):
        self.work(self.rng.randrange(4))
        time.sleep(self.rng.random() * 0.05)
        self.kill()
        self.mount()
        self.after_crash()
        self.come_back(store)

    def by_fault_point(self, store):
        """Killed there, as soon as it is passed."""
        self.work(self.rng.randrange(3))
        self.kill()
        point = self.rng.choice(FAULT_POINTS)
        count = self.rng.choice([1, 1, 1, 2, 3, 5, 9])
        self.mount(f"resync.{point}:kill:{count}", expect=False)
        if not self.is_dead():
            self.try_run("attach", self.mnt, store.name)
            wait_for("an end of the resync", 90, lambda: self.is_dead() or
                     self.settled_quietly())
        self.note("died" if self.is_dead() else "lived")
        self.kill()
        self.mount()
        self.after_crash()
        self.come_back(store)

    def settled_quietly(self):
        try:
            return "resyncing" not in self.states().values()
        except Failure:
            return False  # it has just died

    def by_target(self, store):
        """Calls on the target fail."""
        if store.path == store.below:
            return
        ops = self.rng.choice(["write", "fsync", "fsync,fsyncdir", "rename",
                               "link,symlink,mknod,mkdir,create", "setattr",
                               "setxattr,removexattr", "unlink,rmdir",
                               "fallocate", "modify", "read", "all",
                               "lookup,getattr", "open,opendir,readdir"])
        what = self.rng.choice(["EIO", "EIO", "ENOSPC", "EROFS", "EDQUOT"])
        late = self.rng.choice(["", "", "late "]) if what == "EIO" else ""
        rule = (f"after {self.rng.choice([0, 1, 3, 10, 30, 100])} times "
                f"{self.rng.choice([1, 1, 3, 1000])} {late}fail {ops} {what}")
        self.note(f"faults of {store.name}: {rule}")
        store.faults(rule)
        self.come_back(store)
        self.calm()
        store.faults("clear")

    def by_source(self, store):
        """Files of one of the others cannot be read for a while."""
        others = [s for s in self.of_state("online") if s is not store and
                  s.path != s.below and self.states()[s.name] == "online"]
        if not others:
            return
        other = self.rng.choice(others)
        rule = (f"after {self.rng.choice([0, 1, 5, 20])} times "
                f"{self.rng.choice([1, 2, 5, 40])} fail read EIO [0-9]*")
        self.note(f"faults of {other.name}: {rule}")
        other.faults(rule)
        self.come_back(store)
        self.calm()
        other.faults("clear")

    def by_bench(self, store):
        """Unmounted, by a process that is killed."""
        present = [s.path for s in self.stores]
        self.tree.close_pairs()
        self.run("unmount", self.mnt)
        self.daemon.wait(60)
        for _ in range(self.rng.randrange(4)):
            env = dict(os.environ)
            point = ""
            if self.rng.random() < 0.6:
                point = env["SEQMIRROR_FAULT"] = (
                    f"resync.{self.rng.choice(FAULT_POINTS)}:kill:"
                    f"{self.rng.choice([1, 1, 2, 3, 8])}")
            self.note(f"$ resync {point} (killed)")
            child = subprocess.Popen([self.program, "resync", *present],
                                     env=env, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            if not point:
                time.sleep(self.rng.random() * 0.2)
                child.kill()
            child.wait(90)
        if self.rng.random() < 0.7:
            self.run("resync", *present)
        self.mount()
        self.after_crash()
        self.come_back(store)

    KINDS = [("work", 5), ("cancel", 3), ("kill", 4), ("fault_point", 5),
             ("target", 8), ("source", 4), ("bench", 2)]

    def round(self):
        self.work(self.rng.randrange(10))
        away = [self.leave()]
        self.work(self.rng.randrange(1, 50))
        if len(self.of_state("online")) > 1 and self.rng.random() < 0.4:
            self.run("detach", self.mnt,
                     (second := self.rng.choice(self.of_state("online"))).name)
            second.state = "detached"
            away.append(second)
            self.work(self.rng.randrange(30))
        for store in away:
            self.come_back(store)
            for _ in range(self.rng.randrange(4)):
                name = self.rng.choices([n for n, _ in self.KINDS],
                                        [w for _, w in self.KINDS])[0]
                self.events[name] = self.events.get(name, 0) + 1
                self.note(f"disturbed by {name}")
                getattr(self, "by_" + name)(store)
        self.bring_back()
        self.scrub()
        self.quiet_point()
        self.mount()

    def scrub(self):
        if self.try_run("scrub", "--wait", self.mnt):
            return
        first, *others = self.of_state("online")
        for store in others:
            self.equal(first.below, store.below, holes=False)
        raise Failure("scrub finds what is no difference")

    # ---- one seed ----

    def prepare(self):
        os.makedirs(self.mnt, exist_ok=True)
        os.mkdir(self.plain)
        for store in self.stores:
            store.begin()
        self.run("init", "--name", ",".join(s.name for s in self.stores),
                 *[s.path for s in self.stores])
        self.mount()
        os.chmod(self.plain, os.stat(self.mnt).st_mode & 0o7777)
        self.tree = resyncops.Tree(os.fsencode(self.mnt),
                                   os.fsencode(self.plain), self.rng,
                                   self.note)
        self.tree.large_xattrs = all(s.kind in ("ext4", "xfs")
                                     for s in self.stores)
        # A filesystem of FUSE takes the umask away before it sees one.
        self.tree.default_acls = all(s.path == s.below for s in self.stores)
        self.tree.preallocates = all(s.kind != "nopunch" for s in self.stores)

    def go(self):
        self.prepare()
        self.work(60)
        for _ in range(self.rounds):
            self.round()
        self.quiet_point()

    def clean_up(self, keep):
        if hasattr(self, "tree"):
            self.tree.close_pairs()
        if self.daemon:
            self.kill()
        for store in self.stores:
            store.end(keep)
        if not keep:
            shutil.rmtree(self.plain, ignore_errors=True)


def main():
    parser = rigs.arguments("seed", "stores", 60)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--places", required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    begun = time.monotonic()
    failed = 0
    for seed in range(args.first, args.first + args.seeds):
        if args.seconds and time.monotonic() - begun > args.seconds:
            break
        one = ResyncExerciser(args, seed)
        started = time.monotonic()
        bad = False
        try:
            one.go()
        except (Failure, modelops.Mismatch, OSError, KeyError,
                subprocess.SubprocessError) as error:
            bad = True
            failed += 1
            print(f"seed {seed}: FAILED: {error}")
            if not isinstance(error, Failure):
                traceback.print_exc(file=sys.stdout)
            one.tell()
        finally:
            one.clean_up(bad and args.keep)
        events = " ".join(f"{n}:{c}" for n, c in sorted(one.events.items()))
        print(f"seed {seed}: {'FAILED' if bad else 'ok'} "
              f"{time.monotonic() - started:.1f} s, {one.trace[0]}, {events}",
              flush=True)
        if bad and not args.go_on:
            break
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
