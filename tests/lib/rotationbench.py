# SPDX-License-Identifier: Apache-2.0
"""The part of tests/mount/rotations.py on the bench: nothing is mounted."""

import dataclasses
import json
import os
import shutil
import subprocess

import rotationmodel as model
import rotationstores as stores
import storecheck
import treecmp
from rigs import Failure
from rotationmodel import AHEAD, BEHIND, FORK, SAME
from rotationstores import DETACHED, MISSING, NO, ONLINE, PERHAPS, YES

COPIES_MAX = 7
SAYS_FORK = ("independently", "on its own", "half overwritten")
# What a forecast has to tell to the last byte.
COUNTED = ("from_seq", "to_seq", "nodes", "entries_created", "entries_removed",
           "entries_renamed", "bytes_copied", "bytes_unmapped", "found")
CUTS = ("resync.marked", "resync.batch.armed", "resync.batch.copied",
        "resync.copy.write", "resync.fill.synced", "resync.unmap",
        "resync.unmapped", "resync.close.before", "resync.close.after",
        "meta.commit.before", "meta.commit.after")


def says_fork(text):
    return any(words in text for words in SAYS_FORK)


def results_of(text):
    """{store: counts} and the remark of a resync's report."""
    report = json.loads(text)
    results = report.get("results", [report])
    remark = report.get("remark") or next(
        (r["remark"] for r in results if r.get("remark")), None)
    return {r["store"]: r for r in results}, remark


class Bench:
    # ---- what must hold ----

    def complain(self, where, lines):
        if lines:
            raise Failure(f"{where}:\n  " + "\n  ".join(map(str, lines[:25])))

    def untouched(self, copies):
        """What nothing had a reason to change stands for what it did."""
        for copy in copies:
            if copy.settled():
                self.complain(f"{copy} is not as it was",
                              model.differences(copy.head.tree, copy.where))

    def equal(self, copies):
        for copy in copies[1:]:
            compare = treecmp.Compare(copies[0].where, copy.where,
                                      holes=False)
            self.complain(f"{copies[0]} and {copy} differ", compare.run())

    def sound(self, copies):
        """Those that were online, against their maps."""
        self.equal(copies)
        for copy in copies:
            self.complain(f"{copy} is not what was acknowledged",
                          model.differences(copy.head.tree, copy.where))
        first = storecheck.StoreCheck(copies[0].where, False,
                                      may_keep=copies[0].may_keep)
        self.complain(f"map of {copies[0]}", first.run())
        for copy in copies[1:]:
            other = storecheck.StoreCheck(copy.where, False,
                                          may_keep=copy.may_keep)
            self.complain(f"map of {copy}", other.run())
            first.same_map(other)
            self.complain(f"maps of {copies[0]} and {copy}", first.complaints)
        self.check(self.rng.choice(copies))

    def check(self, copy):
        status, out, err = self.call("check", "--json", copy.where)
        if status == 0:
            return
        report = json.loads(out) if out else {}
        wrong = [f for f in report.get("findings", []) if
                 f["class"] == "wrong"]
        raise Failure(f"check of {copy}: status {status} {err} {wrong[:5]}")

    def at_least(self, what, behind, commit, known):
        """@behind is what status or diff says of one that has @known."""
        nodes, size = commit.tree.lacks(known.tree)
        if behind["nodes"] < nodes or behind["bytes"] < size:
            raise Failure(
                f"{what} is said to be behind by {behind['nodes']} nodes, "
                f"{behind['bytes']} bytes, and lacks {nodes}, {size}")

    def look_at_pair(self, a, b):
        self.count("diff")
        status, out, err = self.call("diff", "--json", a.where, b.where)
        if status:
            raise Failure(f"diff of {a} and {b}: {err}")
        report = json.loads(out)
        said = report["relation"]
        if a.half or b.half or stores.beyond_copy([a, b]) or \
                stores.may_have_parted(a, {b.name}) or \
                stores.may_have_parted(b, {a.name}):
            return
        want = model.relation(a.head, b.head)
        text = f"diff: {a} and {b}: {said}, and that is {want}"
        late, other = {AHEAD: (b, a), BEHIND: (a, b)}.get(want, (None, None))
        if (said == "fork") != (want == FORK) and want != model.EITHER:
            raise Failure(text)
        if said == "resyncing" or (said == "equal" and want != SAME and
                                   a.head.tree is not b.head.tree):
            raise Failure(text)
        if said == "doubt" and a.unclean == NO and b.unclean == NO:
            raise Failure(text)
        if said != "behind" or not late:
            return
        name = late.name if a.name != b.name else late.where
        if report["behind"]["store"] != name and late.unclean == NO and \
                other.unclean == NO:
            raise Failure(f"{text}; {report['behind']}")
        # What was being written at a crash no map may have.
        if other.unclean == NO:
            self.at_least(f"diff: {late}", report["behind"], other.head,
                          late.head)

    def look_at_status(self, copy):
        """What its own map says, while nothing is mounted."""
        self.count("status")
        report = self.json("status", copy.where)
        words = self.run("status", copy.where)
        if copy.half:
            return
        if copy.unclean == NO and not report["clean"]:
            raise Failure(f"status: {copy} was left cleanly")
        if report["resync"] or report["state"] == "resyncing":
            raise Failure(f"status: {copy} is said to be resyncing")
        for said in report["stores"]:
            row = copy.rows.get(said["name"])
            if row is None and not copy.peers:
                continue
            if row is None:
                raise Failure(f"status: {copy} has a member {said['name']}")
            what = f"status of {copy}: {said['name']}"
            out = row.state in (DETACHED, MISSING)
            if out and (said["state"] == ONLINE or
                        f"{said['name']}  in step" in words):
                raise Failure(f"{what} is {said['state']}, not {row.state}")
            if copy.unclean == NO and model.has(copy.head, row.known) and \
                    said["name"] != copy.name:
                self.at_least(what, said["behind"], copy.head, row.known)
        if copy.peers and {r["name"] for r in report["stores"]} != \
                copy.rows.keys():
            raise Failure(f"status: members of {copy}: {report['stores']}")

    def look(self):
        self.untouched(self.copies)
        pairs = [(a, b) for i, a in enumerate(self.copies)
                 for b in self.copies[:i]]
        for a, b in self.rng.sample(pairs, min(len(pairs), 6)):
            self.look_at_pair(a, b)
        for copy in self.rng.sample(self.copies, min(len(self.copies), 2)):
            self.look_at_status(copy)
            if copy.settled() and not copy.copied:
                self.check(copy)

    # ---- sets ----

    def some_set(self, least=1):
        """One copy each of some of the stores, most often."""
        names = sorted({c.name for c in self.copies})
        count = self.rng.randrange(least, len(names) + 1) \
            if len(names) >= least else len(names)
        chosen = [self.rng.choice([c for c in self.copies if c.name == n])
                  for n in self.rng.sample(names, count)]
        twins = [c for c in self.copies if c not in chosen and
                 c.name in {d.name for d in chosen}]
        if twins and self.rng.random() < 0.1:
            chosen.append(self.rng.choice(twins))
        return chosen

    def only(self, copies):
        """The others are where nobody finds them."""
        for copy in self.copies:
            if copy in copies:
                copy.put_back()
            else:
                copy.put_away(self.shelf)

    # ---- events ----

    def bench(self):
        for _ in range(self.rng.randrange(3)):
            kind = self.rng.choices(*zip(*self.BENCH))[0]
            done = getattr(self, "bench_" + kind)()
            if done is not False:
                self.count(kind)
                self.look()
        self.look()

    def bench_backup(self):
        copy = self.rng.choice(self.copies)
        self.serial += 1
        path = os.path.join(self.place, f"backup{self.serial}")
        self.note(f"backup {path} of {copy}")
        subprocess.run(["cp", "-a", copy.where, path], check=True)
        kept = stores.Copy(copy.name, path, copy.head, {})
        kept.like(copy)
        self.backups.append(kept)

    def bench_restore(self):
        """A store is put back to an older copy of it."""
        if not self.backups:
            return False
        backup = self.rng.choice(self.backups)
        same = [c for c in self.copies if c.name == backup.name]
        if not same:
            return False
        copy = self.rng.choice(same)
        self.note(f"{copy} is put back to {backup}")
        shutil.rmtree(copy.where)
        subprocess.run(["cp", "-a", backup.path, copy.where], check=True)
        copy.like(backup)
        return True

    def bench_clone(self):
        if len(self.copies) >= COPIES_MAX:
            return False
        copy = self.rng.choice(self.copies)
        clone = stores.Copy(copy.name, self.new_place(copy.name), copy.head,
                            {})
        clone.like(copy)
        self.note(f"{clone} is a clone of {copy}")
        subprocess.run(["cp", "-a", copy.where, clone.path], check=True)
        self.copies.append(clone)
        return True

    def bench_lose(self):
        """A twin is thrown away, or one of many."""
        twins = [c for c in self.copies if
                 len([d for d in self.copies if d.name == c.name]) > 1]
        if not twins:
            return False
        copy = self.rng.choice(twins)
        self.note(f"{copy} is thrown away")
        shutil.rmtree(copy.where)
        self.copies.remove(copy)
        return True

    def bench_move(self):
        """A disk is mounted elsewhere from now on."""
        copy = self.rng.choice(self.copies)
        path = self.new_place(copy.name)
        self.note(f"{copy} lies at {path} now")
        copy.move(path)

    def resync_words(self, copies, *options):
        return ["resync", "--json", *options, *[c.path for c in copies]]

    def bench_resync(self):
        """Stores are brought in step, or refused."""
        copies = self.some_set(2)
        if len(copies) < 2:
            return False
        self.only(copies)
        want = stores.forecast(copies)
        self.note(f"resync of {' '.join(map(str, copies))}: {want}")
        dry = self.call(*self.resync_words(copies, "--dry-run"))
        self.untouched(copies)
        status, out, err = self.call(*self.resync_words(copies))
        self.judge("resync", copies, want, status == 0, err)
        if dry[0] != status and not any(c.unclean != NO or c.half
                                        for c in copies):
            raise Failure(f"a dry run says {dry[0]} {dry[2]}")
        if status == 0:
            self.compare_forecast(dry[1], out, copies)
            self.brought_in_step(copies, want)
        elif want.fork == YES and self.rng.random() < 0.7:
            self.prefer(copies)
        return True

    def judge(self, what, copies, want, worked, said):
        """Did it work, or was it refused, as it had to be?"""
        text = f"{what} of {' '.join(map(str, copies))}: {said}; {want}"
        if worked and want.works == NO:
            raise Failure(f"not refused: {text}")
        if not worked and want.works == YES:
            raise Failure(f"refused: {text}")
        if not worked and want.fork == NO and says_fork(said):
            raise Failure(f"called a fork: {text}")
        if not worked and want.fork == YES and not says_fork(said) and \
                not any(c.unclean != NO for c in copies):
            raise Failure(f"refused for another reason: {text}")
        if not worked:
            self.untouched(copies)
        self.count(f"{'done' if worked else 'refused'}_{want.works}")

    def compare_forecast(self, dry, done, copies):
        if any(c.unclean != NO or c.half for c in copies):
            return
        forecast, remark = results_of(dry)
        result, _ = results_of(done)
        if remark:
            return
        for store, counts in result.items():
            differ = [f"{k}: {forecast[store][k]}, and was {counts[k]}"
                      for k in COUNTED if forecast[store][k] != counts[k]]
            self.complain(f"dry run of {store}", differ)
        self.count("forecasts")

    def observe(self, copies, heads, root):
        """What came of it: one of these commits, or one of what was under way
        at a crash."""
        wrong = []
        for base, tree, acknowledged in stores.possible_trees(copies, heads):
            found = model.differences(tree, root)
            if not found:
                break
            wrong.append(f"{base} {'' if acknowledged else 'and a call'}: "
                         f"{found[:6]}")
        else:
            raise Failure(f"{root} is none of what it may be:\n  " +
                          "\n  ".join(wrong))
        # A recovery numbers anew what it finds, and founds an epoch.
        if any(c.unclean != NO for c in copies) or not acknowledged:
            return base, model.Commit(base, tree, soft=True, what="recovery")
        return base, base

    def brought_in_step(self, copies, want):
        base, commit = self.observe(copies, want.heads, copies[0].path)
        rows = stores.merged_rows(copies, base)
        told = {s["name"] for s in self.json("status",
                                             copies[0].path)["stores"]}
        stores.learn(rows, copies, told)
        # Several may have led, and one of them have removed a member.
        for name in [n for n in rows if n not in told and
                     any(n not in c.rows for c in copies)]:
            del rows[name]
        led_by_copy = all(c.copied or c.as_copy for c in copies
                          if c.head is base)
        for copy in copies:
            hint = copy.path
            rows[copy.name] = stores.Row(ONLINE, hint, commit)
        self.joined(copies, commit, rows, led_by_copy,
                    any(c.unclean != NO for c in copies))

    def joined(self, copies, commit, rows, by_copy, unclean):
        for copy in copies:
            copy.join(commit, rows, {c.name for c in copies})
            copy.as_copy |= by_copy
            if unclean:
                self.left_missing(copy, copies)
        self.sound(copies)

    def left_missing(self, copy, copies):
        """One that was online at a crash and was not there: the mount goes on
        saying so."""
        names = {c.name for c in copies}
        if any(r.state != DETACHED for n, r in copy.rows.items()
               if n not in names):
            copy.unclean = PERHAPS

    def all_know(self, copies):
        """None of them was removed, or added, where another one was away."""
        return all(c.name in d.rows for c in copies for d in copies)

    def prefer(self, copies):
        """Somebody chooses."""
        keep = self.rng.choice(copies)
        if any(c.half for c in copies) or keep.is_loose() or \
                not self.all_know(copies):
            return
        self.count("prefer")
        words = self.resync_words(copies, "--prefer", keep.path)
        dry = self.call(*words, "--dry-run")
        self.untouched(copies)
        heads = (keep.head,)
        out = self.run(*words)
        if keep.unclean == NO and not any(c.is_loose() for c in copies):
            self.compare_forecast(dry[1], out, copies)
        _, commit = self.observe([keep], heads, keep.path)
        rows = stores.merged_rows([keep], keep.head)
        for copy in copies:
            rows[copy.name] = stores.Row(ONLINE, copy.path, commit)
        self.joined(copies, commit, rows, keep.copied or keep.as_copy,
                    keep.unclean != NO)

    def bench_cut(self):
        """An unmounted resync dies at some point."""
        copies = self.some_set(2)
        want = stores.forecast(copies)
        if not self.faults or len(copies) < 2 or \
                any(c.unclean != NO or c.half for c in copies) or \
                want.works == PERHAPS or not self.all_know(copies):
            return False
        self.only(copies)
        fault = f"{self.rng.choice(CUTS)}:kill:{self.rng.choice((1, 1, 2, 3, 5))}"
        words = self.resync_words(copies)
        if want.fork == YES:
            source = self.rng.choice(copies)
            words += ["--prefer", source.path]
        elif want.works == YES:
            source = next(c for c in copies if c.head in want.heads)
        else:
            return False
        self.sync()
        status, _, err = self.call(*words, fault=fault)
        if status == -9:
            if self.power_fails():
                self.lose_power()
            self.cut(source, copies)
        elif status:
            raise Failure(f"a resync to be cut: {status} {err}")
        else:
            self.brought_in_step(copies, stores.Forecast(
                YES, heads=(source.head,)))
        return True

    def cut(self, source, copies):
        """What each may be now."""
        self.note(f"cut: {' '.join(map(str, copies))}, source {source}")
        for copy in copies:
            for name, row in source.rows.items():
                copy.rows.setdefault(name, dataclasses.replace(row))
            self.cut_one(copy, (source.head,))
            copy.as_copy |= copy.copied or source.copied or source.as_copy

    def cut_one(self, copy, heads):
        """A resync of it may have been cut: it says that it was half
        overwritten, or it is what it was, or all that it was to be."""
        for row in copy.rows.values():
            row.state = stores.UNKNOWN
        copy.peers = frozenset()
        said = self.json("status", copy.where)["state"] == "resyncing"
        if said or copy.half:
            copy.half = tuple({*copy.half, *heads})
            self.count("half")
            return
        wrong = []
        for head in (copy.head, *heads):
            found = model.differences(head.tree, copy.where)
            if not found and head is copy.head and any(
                    h.tree is head.tree and h is not head for h in heads):
                # Its files do not tell whether it was that already.
                copy.head = model.Commit(head, head.tree, soft=True,
                                         what="perhaps another")
                return
            if not found:
                copy.head = head
                return
            wrong += [f"{head}: {line}" for line in found[:5]]
        self.complain(f"{copy} is half overwritten and does not say so", wrong)

    BENCH = [("backup", 3), ("restore", 2), ("clone", 1), ("lose", 2),
             ("move", 2), ("resync", 6), ("cut", 2)]
