# SPDX-License-Identifier: Apache-2.0
"""The part of tests/mount/rotations.py while the volume is mounted."""

import dataclasses
import json
import os
import shutil
import subprocess
import time

import rotationmodel as model
import rotationstores as stores
from rigs import Failure, wait_for
from rotationbench import CUTS
from rotationstores import DETACHED, MISSING, NO, ONLINE, PERHAPS, UNKNOWN, YES


class Session:
    def some_session(self):
        copies = self.some_set()
        self.only(copies)
        options = ["-o", "checkpoint=0.2,cache=" + self.rng.choice(
            ("writethrough", "writeback"))]
        want = stores.forecast(copies)
        if want.why == "one is missing" and self.rng.random() < 0.3:
            self.refused_mount(copies, want, options)
        if want.why in ("one is missing", "one may be missing"):
            options[1] += ",degraded"
            want = stores.forecast(copies, go_on_without=True)
        if want.works == YES and self.faults and self.rng.random() < 0.15:
            self.killed_mount(copies, want, options)
            return
        self.try_mount(copies, want, options)

    def named(self, copies):
        """The rest are where they were last, and are found there."""
        def is_found(copy):
            return all(
                copy.name in c.rows and
                c.rows[copy.name].state == ONLINE and
                c.rows[copy.name].hint == copy.path for c in copies)
        found = [c for c in copies if is_found(c) and not c.half]
        if len(found) < len(copies) or len(copies) == 1:
            return copies
        count = self.rng.randrange(1, len(copies) + 1)
        return self.rng.sample(copies, count)

    def refused_mount(self, copies, want, options):
        said = self.start([*options, *[c.path for c in copies]])
        if said is None:
            raise Failure(f"mounted: {want}")
        self.judge("mount", copies, want, False, said)

    def try_mount(self, copies, want, options):
        named = self.named(copies) if want.works == YES else copies
        self.note(f"mount of {' '.join(map(str, copies))}, "
                  f"{len(named)} named: {want}")
        said = self.start([*options, *[c.path for c in named]])
        self.judge("mount", copies, want, said is None, said or "")
        if said is None:
            self.session(copies, want)

    # ---- one mount ----

    def session(self, copies, want=None, calm=False):
        if want is None:
            self.only(copies)
            want = stores.forecast(copies)
            said = self.start([c.path for c in copies])
            if said:
                raise Failure(f"refused: {said}")
        self.begin(copies, want)
        if calm:
            self.work(12)
            self.end()
            return
        for _ in range(self.rng.randrange(5)):
            self.mounted_event()
            if not self.daemon:
                return
        if self.rng.random() < 0.2:
            self.crash()
        else:
            self.end()

    def begin(self, copies, want):
        base, self.current = self.observe(copies, want.heads, self.mnt)
        self.rows = stores.merged_rows(copies, base)
        # Of two equal ones one may have heard more.
        told = self.states()
        for copy in copies:
            for name, row in copy.rows.items():
                self.rows.setdefault(name, dataclasses.replace(
                    row, state=UNKNOWN))
        for name in [n for n in self.rows if n not in told and
                     any(n not in c.rows or not c.peers for c in copies)]:
            del self.rows[name]
        self.online = []
        self.paused = False
        # An epoch is founded with the first change; until then no map tells.
        # Where a crash perhaps left something, perhaps one is.
        self.changed = self.certain = any(
            c.unclean == YES or c.half or c.head is not base for c in copies)
        self.begun = False
        leads = [c for c in copies if c.head is base]
        self.by_copy = all(c.copied or c.as_copy for c in leads)
        halves = [c for c in copies if c.half and c.head is not base]
        for row in self.rows.values():
            if row.state == ONLINE:
                row.state = MISSING
        for copy in copies:
            self.wait_online(copy)
            self.is_online(copy)
        self.begun = True
        for copy in halves:
            self.count("healed")
        self.look_at_volume()

    def wait_online(self, copy):
        wait_for(f"{copy} online", 60,
                      lambda: self.state(copy.name) == ONLINE)

    def is_online(self, copy):
        behind = copy.head is not self.current
        self.changed |= behind
        self.certain |= behind and self.begun
        copy.head = self.current
        copy.is_back()
        copy.unclean, copy.pending, copy.half = PERHAPS, (), ()
        self.online.append(copy)
        if not copy.rows.keys() <= self.rows.keys():
            stores.learn(self.rows, [copy], self.states())
        self.rows[copy.name] = stores.Row(ONLINE, copy.path, self.current)

    def states(self):
        return {s["name"]: s for s in self.json("status", self.mnt)["stores"]}

    def state(self, name):
        return self.states().get(name, {}).get("state")

    def counted(self):
        """The status when a checkpoint has come after the last change; before
        that it says that not all is counted."""
        report = {}

        def is_counted():
            report.update(self.json("status", self.mnt))
            return not report["resync"] and all(
                s["behind"]["exact"] for s in report["stores"])
        wait_for("how far they are behind", 10, is_counted)
        return report

    def look_at_volume(self):
        """What status says of it, in step or behind."""
        report = self.counted()
        said = {s["name"]: s for s in report["stores"]}
        if said.keys() != self.rows.keys():
            raise Failure(f"members {list(said)}, not {list(self.rows)}")
        here = {c.name for c in self.online}
        healthy = here == said.keys()
        if (report["state"] == "healthy") != healthy:
            raise Failure(f"{report['state']} with {here} of {list(said)}")
        for name, one in said.items():
            row = self.rows[name]
            want = {ONLINE} if name in here else {
                DETACHED: {DETACHED}, MISSING: {MISSING},
                UNKNOWN: {DETACHED, MISSING}}[row.state]
            if one["state"] not in want:
                raise Failure(f"{name} is {one['state']}, not {want}")
            if name not in here and model.has(self.current, row.known):
                self.at_least(f"status: {name}", one["behind"], self.current,
                              row.known)
            if name in here and one["behind"]["nodes"]:
                raise Failure(f"{name} is online and behind: {one}")
        for copy in self.copies:
            if copy not in self.online and self.rng.random() < 0.2:
                self.look_at_live_pair(copy)

    def look_at_live_pair(self, copy):
        if copy.name in {c.name for c in self.online} or copy.half or \
                copy.name not in self.rows:
            return
        status, out, err = self.call("diff", "--json", self.mnt, copy.where)
        if status:
            raise Failure(f"diff of the volume and {copy}: {err}")
        said = json.loads(out)["relation"]
        want = model.relation(copy.head, self.current)
        if self.by_copy and copy.unclean != NO or stores.may_have_parted(
                copy, {c.name for c in self.online}):
            return
        if (said == "fork") != (want == model.FORK) and want != model.EITHER:
            raise Failure(f"diff of the volume and {copy}: {said}, is {want}")

    # ---- its end ----

    def leave(self, unclean, pending=()):
        for row in self.rows.values():
            if row.state == MISSING and not self.certain:
                row.state = UNKNOWN
        for copy in self.online:
            self.rows[copy.name].known = self.current
        names = {c.name for c in self.online}
        for copy in self.online:
            copy.join(self.current, self.rows, names)
            copy.unclean, copy.pending = unclean, pending
            copy.as_copy |= self.by_copy and (self.changed or unclean != NO)
        online, self.online = self.online, []
        return online

    def end(self):
        self.note(f"unmount at {self.current}")
        self.run("unmount", self.mnt)
        code = self.daemon.wait(60)
        self.daemon = None
        if code:
            raise Failure(f"the daemon ended with status {code}")
        self.sound(self.leave(NO))

    def is_durable(self):
        report = self.json("status", self.mnt)
        return not report["resync"] and all(
            s["durable_seq"] >= report["seq"] for s in report["stores"]
            if s["state"] == ONLINE)

    def power_cut(self):
        """When a checkpoint has come after a change: nothing may be gone."""
        self.work(1)
        self.changed = self.certain = True
        subprocess.run(["sync", "-f", self.mnt], check=True)
        wait_for("a checkpoint", 10, self.is_durable)
        self.lose_power()
        self.leave(YES)
        self.note(f"off at {self.current}")

    def crash(self):
        if self.power_fails():
            self.power_cut()
        else:
            self.kill()

    def says(self, text, after):
        """The daemon's log, behind that place."""
        with open(self.log_path, errors="replace") as log:
            log.seek(after)
            return text in log.read()

    def kill(self, works=True):
        self.count("kill")
        before = self.current
        pending = ()
        if works:
            pending = self.work_until_killed(self.rng.random() * 0.03)
        self.bury()
        self.changed |= self.current is not before
        self.certain |= self.current is not before
        # The call that was under way may have begun an epoch, in which nothing
        # was acknowledged: to those that were not there it is a change.
        self.current = model.Commit(self.current, self.current.tree,
                                    soft=True, what="under way")
        # Where it was the first one, perhaps no map tells of it.
        self.leave(YES if self.changed else PERHAPS,
                   tuple((self.current, t) for _, t in pending))
        self.note(f"killed at {self.current}")

    def killed_mount(self, copies, want, options):
        """It dies while stores are being brought in step, or a little later."""
        self.count("killed_mount")
        fault = None
        if self.rng.random() < 0.7:
            fault = (f"{self.rng.choice(CUTS)}:kill:"
                     f"{self.rng.choice((1, 1, 2, 3, 5))}")
        said = self.start([*options, *[c.path for c in copies]], fault)
        if said is None:
            time.sleep(self.rng.random() * 0.05)
        self.bury()
        if self.power_fails():
            self.lose_power()
        self.note("killed")
        self.cut_all(copies, want.heads)

    def cut_all(self, copies, heads):
        pending = [p for c in copies for p in c.pending if p[0] in heads]
        doubt = any(c.unclean != NO for c in copies)
        for copy in copies:
            if not doubt:
                self.cut_one(copy, heads)
            for name, row in copy.rows.items():
                row.state = UNKNOWN
                # It may have come in step before.
                if name in {c.name for c in copies}:
                    row.known = max(heads, key=lambda head: head.depth)
                # And so, what its source knows of the others.
                for other in copies:
                    if name in other.rows and model.has(
                            other.rows[name].known, row.known):
                        row.known = other.rows[name].known
            copy.unclean, copy.peers = PERHAPS, frozenset()
            if doubt and (copy.head not in heads or self.json(
                    "status", copy.where)["state"] == "resyncing"):
                copy.half = tuple({*copy.half, *heads})
            # A recovery may have founded an epoch, and another one may lack it.
            elif doubt:
                copy.head = model.Commit(copy.head, copy.head.tree, soft=True,
                                         what="perhaps recovered")
                copy.pending = tuple((copy.head, t) for _, t in pending)
        # And who was brought in step may have got a part of that.
        soft = {c.head for c in copies if c.head.soft}
        for copy in copies:
            if copy.half:
                copy.half = tuple({*copy.half, *soft})
        by_copy = any(c.copied or c.as_copy for c in copies)
        for copy in copies:
            copy.as_copy |= by_copy

    # ---- events ----

    def mounted_event(self):
        events = [e for e in self.MOUNTED if self.possible(e[0])]
        kind = self.rng.choices(*zip(*events))[0]
        if getattr(self, "event_" + kind)() is not False:
            self.count(kind)
        if self.daemon:
            self.look_at_volume()

    def possible(self, kind):
        if kind in ("detach", "remove_online"):
            return len(self.online) > 1
        return True

    def event_work(self):
        self.work(self.rng.randrange(1, 7))
        self.changed = self.certain = True

    def event_detach(self):
        copy = self.rng.choice(self.online)
        self.run("detach", self.mnt, copy.name)
        self.note(f"detached {copy} at {self.current}")
        self.rows[copy.name].known = self.current
        for other in self.online:
            self.rows[other.name].known = self.current
        self.rows[copy.name].state = DETACHED
        names = {c.name for c in self.online}
        self.online.remove(copy)
        copy.join(self.current, self.rows, names)
        # The epoch in which it is gone is not on its own map.
        for row in copy.rows.values():
            if row.state == MISSING and not self.certain:
                row.state = UNKNOWN
        self.changed = self.certain = True
        copy.as_copy |= self.by_copy
        self.sound([copy])

    def wanted_of(self, copy):
        """What has to come of an attach."""
        if copy.name in {c.name for c in self.online}:
            return stores.Forecast(NO, "a copy of one that is online", fork=NO)
        if copy.name not in self.rows:
            return stores.Forecast(PERHAPS, "no member")
        said = stores.follows(copy, self.current)
        if said == YES and (self.by_copy and copy.unclean != NO or
                            stores.may_have_parted(
                                copy, {c.name for c in self.online})):
            said = PERHAPS
        if said == YES:
            return stores.Forecast(YES, fork=NO)
        if said == NO:
            ahead = model.relation(copy.head, self.current) == model.AHEAD
            return stores.Forecast(NO, "ahead" if ahead else "a fork",
                                   fork=NO if ahead else YES)
        return stores.Forecast(PERHAPS)

    def event_attach(self):
        """Wherever it lies now."""
        away = [c for c in self.copies if c not in self.online]
        if not away:
            return False
        copy = self.rng.choice(away)
        want = self.wanted_of(copy)
        copy.put_back()
        dry = None
        if want.works == YES and self.rows[copy.name].hint == copy.path and \
                self.state(copy.name) == DETACHED and copy.settled():
            dry = self.call("resync", "--dry-run", "--json", self.mnt,
                            copy.name)
            self.untouched([copy])
        status, out, err = self.call("attach", "--json", "--wait", self.mnt,
                                     copy.path)
        # The daemon looks for members as well, and may have been first.
        if status and "is being" in err:
            raise Failure(f"attach: {err}")
        self.judge("attach", [copy], want, status == 0, err)
        if status:
            copy.put_away(self.shelf)
            return True
        if dry and dry[0] == 0:
            self.compare_live_forecast(dry[1], out, copy)
        self.is_online(copy)
        self.attached(copy)
        return True

    def compare_live_forecast(self, dry, out, copy):
        forecast, result = json.loads(dry), json.loads(out)
        if copy.copied:
            return
        for key in ("nodes", "entries_created", "entries_removed",
                    "entries_renamed", "bytes_copied", "bytes_unmapped"):
            if forecast.get(key) != result.get(key):
                raise Failure(f"dry run of {copy}: {key} "
                              f"{forecast.get(key)}, and was {result.get(key)}")
        self.count("live_forecasts")

    def attached(self, copy):
        wrong = model.differences(self.current.tree, self.mnt)
        self.complain(f"after {copy} came back", wrong)
        wrong = model.differences(self.current.tree, copy.path)
        self.complain(f"{copy} after it came back", wrong)

    def event_reappear(self):
        """A member is plugged in where it was."""
        away = [c for c in self.copies if c not in self.online and c.shelf and
                c.name in self.rows and self.state(c.name) == MISSING and
                self.rows[c.name].hint == c.path]
        if not away:
            return False
        copy = self.rng.choice(away)
        want = self.wanted_of(copy)
        self.note(f"{copy} reappears: {want}")
        copy.put_back()
        if want.works == YES:
            self.wait_online(copy)
            self.is_online(copy)
            self.attached(copy)
            return True
        # It is looked at, and stays out.
        status, _, err = self.call("attach", "--wait", self.mnt, copy.path)
        if status == 0 and self.state(copy.name) == ONLINE:
            self.judge("reappearance", [copy], want, True, "")
            self.is_online(copy)
            self.attached(copy)
            return True
        self.judge("reappearance", [copy], want, False, err)
        copy.put_away(self.shelf)
        return True

    def event_scrub(self):
        report = self.json("scrub", "--wait", self.mnt)
        if report["found"] or report["findings"]:
            raise Failure(f"scrub: {report['findings'][:5]}")

    def event_add(self):
        names = [n for n in "ABCDEFGH" if n not in self.rows and
                 n not in {c.name for c in self.copies}]
        if not names or len(self.rows) > 4:
            return False
        path = self.new_place(names[0])
        os.mkdir(path)
        stores.fsync(os.path.dirname(path))
        self.note(f"add {names[0]}")
        self.run("add", "--wait", "--name", names[0], self.mnt, path)
        copy = stores.Copy(names[0], path, self.current, {})
        self.copies.append(copy)
        self.is_online(copy)
        self.members_changed()
        self.attached(copy)
        return True

    def members_changed(self):
        """No contents, but whoever was not there has not heard of it."""
        self.changed = self.certain = True
        self.current = model.Commit(self.current, self.current.tree,
                                    soft=True, what="members")

    def event_remove(self):
        """For good: all copies of it are thrown away."""
        gone = [n for n in self.rows if n not in {c.name for c in self.online}]
        if self.online[1:] and self.rng.random() < 0.3:
            gone = [self.rng.choice(self.online).name]
        if not gone or len(self.rows) < 3:
            return False
        name = self.rng.choice(gone)
        self.run("remove", self.mnt, name)
        del self.rows[name]
        self.members_changed()
        self.online = [c for c in self.online if c.name != name]
        for copy in [c for c in self.copies if c.name == name]:
            shutil.rmtree(copy.where)
            self.copies.remove(copy)
        self.backups = [b for b in self.backups if b.name != name]
        return True

    def event_pause(self):
        """What is attached meanwhile waits, and then goes on."""
        away = [c for c in self.copies if c not in self.online and
                self.wanted_of(c).works == YES]
        if not away:
            return False
        copy = self.rng.choice(away)
        self.run("resync", "--pause", self.mnt)
        copy.put_back()
        self.run("attach", self.mnt, copy.path)
        self.work(2)
        self.changed = self.certain = True
        if self.state(copy.name) == ONLINE:
            raise Failure(f"{copy} came online in a pause")
        how = self.rng.random()
        if how < 0.2:
            self.paused_out(copy)
            self.end()
            self.cut_one(copy, (self.current,))
            return True
        told = os.path.getsize(self.log_path)
        self.run("resync", "--resume", self.mnt)
        if how < 0.4:
            time.sleep(self.rng.random() * 0.02)
            self.paused_out(copy)
            # What is done while it comes in step it may have, or not.
            self.kill(works=False)
            copy.half = tuple({*copy.half, self.current})
            if self.says(f"in step again: store={copy.name} ", told):
                copy.head, copy.half = self.current, ()
            return True
        self.wait_online(copy)
        self.is_online(copy)
        self.attached(copy)
        return True

    def paused_out(self, copy):
        """Nobody knows how far its resync came."""
        copy.unclean = PERHAPS
        self.rows[copy.name] = stores.Row(UNKNOWN, copy.path, self.current)
        for row in copy.rows.values():
            row.state = UNKNOWN

    MOUNTED = [("work", 8), ("detach", 4), ("attach", 4), ("reappear", 3),
               ("scrub", 1), ("add", 1), ("remove", 1), ("pause", 1)]

    # ---- the end of the story ----

    def come_together(self):
        """Whatever it is by now, somebody can make one volume of it."""
        seen = {}
        for copy in self.copies:
            seen.setdefault(copy.name, copy)
        copies = list(seen.values())
        self.only(copies)
        whole = [c for c in copies if not c.half]
        if not whole:
            return
        keep = self.rng.choice(whole)
        want = stores.forecast(copies, go_on_without=True)
        if want.works != YES:
            status, _, err = self.call(*self.resync_words(
                copies, "--prefer", keep.path))
            if status:
                self.note(f"not preferred: {err}")
                return
            want = stores.Forecast(YES, heads=(keep.head,))
        said = self.start(["-o", "degraded", *[c.path for c in copies]])
        if said:
            raise Failure(f"they do not come together: {said}")
        for copy in copies:
            self.wait_online(copy)
        _, self.current = self.observe(copies, tuple(
            {*want.heads, keep.head, *keep.half}), self.mnt)
        self.event_scrub()
        self.run("unmount", self.mnt)
        self.daemon.wait(60)
        self.daemon = None
        self.equal(copies)
        self.count("together")
