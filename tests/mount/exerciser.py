#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A volume against a plain directory: random operations, random events.

usage: exerciser.py --work DIR --reference DIR --stores DIR,DIR[,DIR]
                    [--seeds N] [--first SEED] [--ops M] [--seconds T]

Each seed gets fresh stores below the given directories. Between operations
stores are detached and attached, the daemon is killed and mounted again,
stores are missing, are restored from old copies (with hard links or without),
or are brought in step while unmounted. At each quiet point all online stores
are byte-identical, equal to the plain directory, and agree with their maps.
After a kill everything that was made durable is there, and every block is one
that it once was.

The seed is printed; `--first SEED --seeds 1` does it again. $SEQMIRROR is the
program. Exit status 0 if all went well.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

import modelops  # noqa: E402
import rigs  # noqa: E402
import storecheck  # noqa: E402
import treecmp  # noqa: E402
from rigs import Failure, wait_for  # noqa: E402

# With hard links, and without.
COPIES = (["cp", "-a"],
          ["cp", "-r", "--no-dereference",
           "--preserve=mode,ownership,timestamps,xattr"])


class AfterCrash(treecmp.Compare):
    """The mount (A) against the plain directory (B) after a kill."""

    def __init__(self, mount, plain, versions):
        super().__init__(mount, plain, times=False, holes=False)
        self.versions = versions
        self.taken_back = []

    def regular(self, path, st, other):
        data = []
        for root in (self.a, self.b):
            with open(os.path.join(root, path), "rb") as file:
                data.append(file.read())
        if data[0] == data[1]:
            return
        allowed = self.versions.get(other.st_ino)
        why = allowed.allow(data[0]) if allowed else "nothing was in doubt"
        if why:
            self.say(path, why)
        else:
            self.taken_back.append((path, data[0]))


class Store:
    def __init__(self, name, path):
        self.name = name
        self.path = path
        self.state = "online"
        self.backup = None


class Exerciser:
    crash_compare = AfterCrash

    def __init__(self, args, seed):
        self.program = os.environ["SEQMIRROR"]
        self.rng = random.Random(seed)
        self.seed = seed
        self.ops = args.ops
        self.told = args.trace
        self.trace = []
        self.events = {}
        self.quiet_points = 0
        # XFS preallocates of its own accord: the second store may be one.
        # Where it has zeros and another store a hole, both maps may say either.
        self.exact = seed % 3 == 1 and not args.mixed
        self.holes = self.exact
        self.cache = "writethrough" if seed % 4 == 0 else "writeback"
        self.earlier = None
        self.daemon = None
        self.mnt = os.path.join(args.work, "mnt")
        self.log_path = os.path.join(args.work, f"exerciser-{seed}.log")
        self.plain = os.path.join(args.reference, f"plain{seed}")
        places = args.stores.split(",")
        if self.exact:
            places = places[::2]
        elif len(places) > 2 and seed % 2:
            places = places[:2]
        self.stores = [Store(f"s{i}", os.path.join(p, f"seed{seed}"))
                       for i, p in enumerate(places)]

    # ---- the program ----

    def note(self, text):
        self.trace.append(text)

    def run(self, *words, timeout=120):
        if words[0] != "status":
            self.note("$ " + " ".join(words))
        done = subprocess.run([self.program, *words], capture_output=True,
                              text=True, timeout=timeout)
        if done.returncode != 0:
            raise Failure(f"{' '.join(words)}: status {done.returncode}: "
                          f"{done.stderr.strip()}")
        return done.stdout

    def is_mounted(self):
        return rigs.is_mounted(self.mnt)

    def status(self):
        return json.loads(self.run("status", "--json", self.mnt))

    def states(self):
        return {s["name"]: s["state"] for s in self.status()["stores"]}

    def present(self):
        return [s for s in self.stores if s.state != "away"]

    def mount(self):
        named = self.of_state("online")
        for store in self.of_state("detached"):
            # Whoever names a detached store wants it back.
            if self.rng.random() < 0.2:
                store.state = "online"
                named.append(store)
        words = ["mount", "-f", "-o", "cache=" + self.cache,
                 *[s.path for s in named], self.mnt]
        self.note("$ " + " ".join(words))
        self.daemon, _ = rigs.start_daemon([self.program, *words],
                                          self.log_path, " ".join(words))
        wait_for("mount", 60, lambda: self.is_mounted() or
                 self.daemon.poll() is not None)
        if not self.is_mounted():
            raise Failure("mount refused")

    def settle(self):
        """No resync runs, and all that can be online is."""
        def calm():
            states = self.states()
            return all(states[s.name] == "online" for s in self.stores
                       if s.state == "online")
        wait_for("stores online", 90, calm)
        states = self.states()
        for store in self.stores:
            want = {"away": ("missing", "detached")}.get(
                store.state, (store.state,))
            if states[store.name] not in want:
                raise Failure(f"{store.name} is {states[store.name]}, "
                              f"wanted {want}")

    def unmount(self):
        self.tree.close_pairs()
        self.run("unmount", self.mnt)
        code = self.daemon.wait(60)
        self.daemon = None
        if code != 0:
            raise Failure(f"the daemon ended with status {code}")

    def kill(self):
        self.note("kill -9")
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.daemon = None
        self.tree.close_pairs()
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.mnt], check=True)

    # ---- what must hold ----

    def complain(self, where, differences):
        if differences:
            raise Failure(where + ":\n  " + "\n  ".join(differences[:25]))

    def equal(self, a, b, **kind):
        compare = treecmp.Compare(a, b, **kind)
        self.complain(f"{a} and {b} differ", compare.run())

    def after_crash(self):
        compare = self.crash_compare(self.mnt, self.plain, self.tree.versions)
        self.complain("after the crash (A: mount, B: plain)", compare.run())
        for path, data in compare.taken_back:
            self.note(f"taken back: {path}")
            with open(os.path.join(os.fsencode(self.plain), path),
                      "r+b") as file:
                file.truncate(0)
                file.write(data)
        self.tree.all_durable()

    def files_of(self, store):
        """Where they lie: past what a test lets fail."""
        return store.path

    def check_stores(self):
        """All stores that were online at the unmount."""
        online = [s for s in self.stores if s.state == "online"]
        first = self.files_of(online[0])
        checks = []
        for store in online:
            check = storecheck.StoreCheck(
                self.files_of(store), self.exact,
                [self.files_of(s) for s in online])
            self.complain(f"map of {store.name}", check.run())
            checks.append(check)
            if store is not online[0]:
                self.equal(first, self.files_of(store), holes=self.holes)
                checks[0].same_map(check)
                self.complain("maps", checks[0].complaints)
        self.equal(first, self.plain, times=False, holes=False)
        for store in online:
            self.run("check", store.path)
        if self.earlier:
            checks[0].since(self.earlier)
            self.complain("numbers since the last quiet point",
                          checks[0].complaints)
        self.earlier = checks[0]

    def quiet_point(self):
        self.note("quiet point")
        self.settle()
        self.unmount()
        self.check_stores()
        self.tree.all_durable()
        self.quiet_points += 1

    # ---- events ----

    def of_state(self, state):
        return [s for s in self.stores if s.state == state]

    def event_remount(self):
        self.quiet_point()
        self.mount()

    def event_detach(self):
        self.settle()
        store = self.rng.choice(self.of_state("online"))
        self.run("detach", self.mnt, store.name)
        store.state = "detached"
        self.tree.all_durable()
        self.equal(store.path, self.plain, times=False, holes=False)
        if self.rng.random() < 0.4:
            self.note(f"backup of {store.name}")
            store.backup = store.path + ".backup"
            subprocess.run(["rm", "-rf", store.backup], check=True)
            subprocess.run(["cp", "-a", store.path, store.backup], check=True)

    def restore_backup(self, store):
        how = self.rng.choice(COPIES)
        self.note(f"{store.name} is replaced by its backup: {' '.join(how)}")
        # cp makes holes of zeros and of what is preallocated.
        self.exact = self.holes = False
        subprocess.run(["rm", "-rf", store.path], check=True)
        subprocess.run([*how, store.backup, store.path], check=True)

    def event_attach(self):
        store = self.rng.choice(self.of_state("detached"))
        if store.backup and self.rng.random() < 0.5:
            self.restore_backup(store)
        wait = self.rng.random() < 0.5
        self.run("attach", *(["--wait"] if wait else []), self.mnt,
                 store.name)
        store.state = "online"
        if wait and self.states()[store.name] != "online":
            raise Failure(f"{store.name} is not online after attach --wait")

    def event_kill(self):
        self.kill()
        self.mount()
        self.after_crash()

    def event_kill_in_attach(self):
        self.event_attach()
        time.sleep(self.rng.random() * 0.2)
        self.event_kill()
        # It goes on by itself, or when it is told so.
        for store in self.of_state("online"):
            if self.states()[store.name] == "detached":
                self.take_back(store)

    def event_missing(self):
        """A clean end, and the next mount without one of the members."""
        self.quiet_point()
        store = self.rng.choice(self.of_state("online"))
        store.state = "away"
        os.rename(store.path, store.path + ".away")
        self.mount()

    def take_back(self, store):
        """The daemon looks for it too, and may have seen it first."""
        self.run("attach", self.mnt, store.name)

    def event_return(self):
        for store in self.of_state("away"):
            os.rename(store.path + ".away", store.path)
            store.state = "online"
            if self.rng.random() < 0.5:
                self.take_back(store)

    def event_offline(self):
        """Stores brought in step on the bench."""
        self.quiet_point()
        self.run("resync", *[s.path for s in self.present()])
        for store in self.of_state("detached"):
            self.equal(self.of_state("online")[0].path, store.path,
                       holes=self.holes)
        self.mount()
        for store in self.of_state("detached"):
            # In step, but out until it is told to come back.
            if self.states()[store.name] == "detached":
                self.run("attach", "--wait", self.mnt, store.name)
            store.state = "online"

    EVENTS = [("remount", 2), ("detach", 6), ("attach", 6), ("kill", 4),
              ("kill_in_attach", 3), ("missing", 2), ("return", 3),
              ("offline", 1)]

    def possible(self, name):
        if name in ("attach", "kill_in_attach", "offline"):
            return bool(self.of_state("detached"))
        if name == "return":
            return bool(self.of_state("away"))
        if name in ("detach", "missing"):
            return len(self.of_state("online")) > 1
        return True

    def event(self):
        events = [e for e in self.EVENTS if self.possible(e[0])]
        name = self.rng.choices([n for n, _ in events],
                                [w for _, w in events])[0]
        self.note(f"event {name}")
        self.events[name] = self.events.get(name, 0) + 1
        getattr(self, "event_" + name)()

    # ---- one seed ----

    def prepare(self):
        os.mkdir(self.plain)
        for store in self.stores:
            os.mkdir(store.path)
        self.run("init", "--name", ",".join(s.name for s in self.stores),
                 *[s.path for s in self.stores])
        self.mount()
        os.chmod(self.plain, os.stat(self.mnt).st_mode & 0o7777)
        self.tree = modelops.Tree(os.fsencode(self.mnt),
                                  os.fsencode(self.plain), self.rng,
                                  self.note)
        self.tree.preallocates = not self.exact

    def finish(self):
        self.event_return()
        for store in self.of_state("detached"):
            self.run("attach", self.mnt, store.name)
            store.state = "online"
        self.quiet_point()

    def go(self):
        self.prepare()
        for _ in range(self.ops):
            modelops.step(self.tree)
            if self.rng.random() < 0.03:
                self.event()
        self.finish()

    def clean_up(self, keep):
        if hasattr(self, "tree"):
            self.tree.close_pairs()
        if self.daemon:
            self.kill()
        if not keep:
            paths = [self.plain]
            for store in self.stores:
                paths += [store.path, store.path + ".away",
                          store.path + ".backup"]
            for path in paths:
                shutil.rmtree(path, ignore_errors=True)

    def tell(self):
        """How it came to this."""
        print("the last steps:")
        for line in self.trace[-self.told:]:
            print("  " + line[:300])
        rigs.tell_log(self.log_path, 40)


def main():
    parser = rigs.arguments("seed", "stores", 40)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--stores", required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--ops", type=int, default=300)
    parser.add_argument("--mixed", action="store_true",
                        help="the stores are not alike in what they allocate")
    args = parser.parse_args()
    begun = time.monotonic()
    done = failed = 0
    for seed in range(args.first, args.first + args.seeds):
        if args.seconds and time.monotonic() - begun > args.seconds:
            break
        started = time.monotonic()
        one = Exerciser(args, seed)
        bad = False
        try:
            one.go()
        except (Failure, modelops.Mismatch, OSError, KeyError,
                subprocess.SubprocessError) as error:
            bad = True
            print(f"seed {seed}: FAILED: {error}")
            if not isinstance(error, Failure):
                traceback.print_exc(file=sys.stdout)
            one.tell()
        finally:
            one.clean_up(bad and args.keep)
        done += 1
        if bad:
            failed += 1
            print(f"again: exerciser --first {seed} --seeds 1 "
                  f"--ops {args.ops}", flush=True)
            if not args.go_on:
                break
            continue
        events = " ".join(f"{n}:{c}" for n, c in sorted(one.events.items()))
        print(f"seed {seed}: ok, {one.ops} operations, {one.quiet_points} "
              f"quiet points, {events or 'no events'}, "
              f"{time.monotonic() - started:.1f} s", flush=True)
    print(f"{done} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
