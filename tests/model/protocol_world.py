"""The world around a volume: mounts of any subset, power losses, kills, copies, users; and what must always hold."""
from __future__ import annotations

from typing import Optional

from protocol_lineage import may_lead, pick_source, resync_from, stale_delta
from protocol_resync import Resync
from protocol_store import (ATTR, BLOCKS, DATA, DIR_OF, DOUBT_GEN, ELSEWHERE_GEN, FIRST_FILE, NAME, SLOTS, Crash, Epoch,
                            Store, Violation)


class World(Resync):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)             # type: ignore[arg-type]
        self.op_count = self.epoch_count = 1
        self.older: dict[int, Store] = {}       # as a slow copy has found its first half
        epoch = Epoch(1, 1, 0, frozenset(st.no for st in self.stores), FIRST_FILE)
        for st in self.stores:
            m, fs = st.map, st.fs
            inode = fs.new_inode(1)
            inode.blk, inode.attr = [1, 1, 0], 1
            fs.change({0: (inode, 1)})
            fs.sync()
            m.nodes[FIRST_FILE] = (inode.ident, 1, 1)
            m.dentries[0] = (FIRST_FILE, 1)
            m.dirs = {1: 1, 2: 1}
            m.extents = {(FIRST_FILE, 0): 1, (FIRST_FILE, 1): 1}
            m.durable_seq, m.reserved_seq, m.reserved_node = 1, 8, 6
            m.epochs, m.confirmed = [epoch], {1}
            st.seen = st.hard = 2
            st.issued_seqs, st.issued_nodes = 2, 14

    # ---- a run

    def run(self, steps: int) -> None:
        for _ in range(steps):
            try:
                self.step()
            except Crash:
                self.crash()

    def step(self) -> None:
        rnd = self.rnd
        if self.online and rnd() < .1:
            st = self.online[int(rnd() * len(self.online))]
            self.older[st.no] = st.clone(self.rng, False, image=False)
        if not self.online:
            if rnd() < .15:
                self.copy()
            else:
                self.mount()
                self.check_in_step()
            return
        x = rnd()
        if x < .40:
            op = self.start()
            if op:
                self.finish(op)
        elif x < .52:
            op = self.start()
            if op:
                next(op.steps, None)
        elif x < .58:
            if self.inflight:
                self.advance()
        elif x < .66:
            self.fsync()
        elif x < .76:
            self.checkpoint()
        elif x < .86:
            away = [st for st in self.stores if st not in self.online]
            if away:
                self.join(away[int(rnd() * len(away))], keep=False)
        elif x < .88:
            self.detach()
        elif x < .90:
            self.unmount()
        elif x < .92:
            self.copy()
        elif x < .98:
            self.log("power fails" if x < .96 else "killed")
            self.crash(power=x < .96)
        elif x < .99:
            self.suspect()
        elif self.inflight:
            self.put_out(self.online[int(rnd() * len(self.online))])
        self.check_in_step()

    def crash(self, power: Optional[bool] = None) -> None:
        if power is None:
            power = self.rnd() < .6
        self.check_cover()
        if power:
            self.log("power loss on every store")
            self.forgive()
            for st in self.stores:
                st.fs.power_loss(self.rng)
        for st in self.stores:
            st.late = None
        self.online = []
        self.forget()
        self.count("crashes")

    def hold(self) -> None:
        for op in list(self.inflight):
            self.finish(op)
        self.held = True
        self.checkpoint()
        for op in list(self.inflight):      # none: kept for ablations that let operations through
            self.finish(op)
        self.held = False

    def detach(self) -> None:
        if len(self.online) < 2:
            return
        self.hold()
        if len(self.online) < 2:
            return
        st = self.online[int(self.rnd() * len(self.online))]
        self.log("detach store", st.no)
        self.online.remove(st)
        self.found_epoch()
        st.map.clean = True

    def unmount(self) -> None:
        self.hold()
        self.log("unmount")
        for st in self.online:
            self.hazard(.05, "while unmounting")
            st.map.clean = True
        self.online = []
        self.forget()

    def copy(self) -> None:
        """A backup of one store is taken, or put back."""
        rnd = self.rnd
        if self.saved is None or rnd() < .4:
            st = self.stores[int(rnd() * len(self.stores))]
            if st.wrong:
                return
            online = st in self.online
            self.saved_mounted = online
            plain = st.map.clean and not online         # only a tidy image may come back unrecognised
            self.saved = st.clone(self.rng, not plain or rnd() < .5, image=online)
            how = " while mounted" if online else ""
            older = self.older.get(st.no)
            if older and not older.wrong and rnd() < .7:
                how = self.copy_slowly(st, older) or how
            self.log("backup of store", st.no, "taken" + how)
            return
        no = self.saved.no
        # what it alone knows of a wrong file goes with its map
        if self.stores[no] not in self.online and not self.stores[no].map.doubts(ELSEWHERE_GEN):
            self.log("backup of store", no, "restored")
            self.count("restores")
            self.restored = True
            if self.saved_mounted:
                self.forgive()
            late = self.stores[no].late
            self.stores[no] = self.saved.clone(self.rng, rnd() < .5, image=False)
            if late and not self.rules.old_calls_end:
                self.stores[no].late = None

    def copy_slowly(self, st: Store, older: Store) -> str:
        """File by file, from one moment to another, within which the store was in use."""
        files_first = self.rnd() < .5
        if (st if files_first else older).map.in_order():
            return ""
        self.saved = older.clone(self.rng, True, image=False)
        if files_first:
            self.saved.map = st.map.clone()
        else:
            self.saved.fs = st.fs.clone(self.rng, True)
        self.saved.unclean_copy = True
        # nobody relies on what it has
        self.saved.seen = self.saved.hard = older.hard & st.hard
        self.saved.must = {}
        self.saved.issued_seqs, self.saved.issued_nodes = st.issued_seqs, st.issued_nodes
        self.count("copies of a store in use")
        return ", its files first" if files_first else ", its map first"

    # ---- mounting

    def mount(self) -> None:
        rules, rnd = self.rules, self.rnd
        present = [st for st in self.stores if rnd() < .7]
        if not present:
            return
        self.rng.shuffle(present)
        for st in present:
            if st.copied and not (st.unclean_copy and rules.unclean_copy_whole):
                self.rebind(st)
        source = pick_source(rules, present)
        keep = False
        if source is None:
            able = [st for st in present if may_lead(rules, st)]
            if not able:
                return
            source = able[0]
            keep = True
            for st in present:
                if st is not source and resync_from(rules, source, st) is None:
                    self.check_fork(source, st)
            if rnd() < .3:
                return
            if rnd() < .4:
                present = [source]
        if any(st.wrong and not any(st.no in peer.knows for peer in present) for st in present):
            return                          # nobody here knows: no protocol could
        if source.wrong:
            self.check_wrong(source, present)
            self.count("sources with a wrong file")     # what it says then is an error
            return
        absent = source.map.epochs[-1].members - {st.no for st in present}
        if absent and not source.map.clean and rules.degraded_refused and rnd() < .5:
            self.count("mounts refused")
            return
        if absent and not source.map.clean:
            self.count("degraded mounts")
        elif absent:
            self.count("alone mounts")
        m = source.map
        self.forget()
        known = present if rules.highest_reserve else [source]
        self.seq = self.reserved_seq = max(st.map.reserved_seq for st in known)
        self.node = self.reserved_node = max(st.map.reserved_node for st in known)
        self.base = m.durable_seq
        self.online = [source]
        self.log("mount", [st.no for st in present], "source", source.no, "by the user's word" if keep else "")
        targets = [st for st in present if st is not source]
        relations = {st.no: stale_delta(rules, source, st) for st in targets}
        for st in targets:
            if relations[st.no] is not None:
                self.check_nothing_lost(source, st)
        doubt = set(m.items()) if rules.recover_source else set()
        if rules.union_recovery:
            for st in targets:
                if relations[st.no] is not None:
                    doubt |= st.map.items()
        if not rules.recover_source:
            m.intents = set()
        self.recover(source, doubt)
        self.adopt(source)
        self.tree = {slot: node for slot, (node, _) in m.dentries.items()}
        self.check_tree(source)
        for st in targets:
            self.join_at_mount(source, st, keep)

    def join_at_mount(self, source: Store, st: Store, keep: bool) -> None:
        a, b = source.map, st.map
        if (not self.founded and a.clean and b.clean and not b.intents and not b.resyncing
                and a.durable_seq == b.durable_seq and a.epochs == b.epochs and st.no in a.epochs[-1].members):
            self.log("store", st.no, "is in step")      # both left cleanly together
            self.online.append(st)
            self.adopt(st)
            b.reserve_at_least(a.reserved_seq, a.reserved_node)
            return
        self.join(st, keep and stale_delta(self.rules, self.online[0], st) is None)

    # ---- what must hold

    def known_wrong(self, st: Store) -> bool:
        return any(st.no in peer.knows for peer in (*self.online, st))

    def check_wrong(self, source: Store, present: list[Store]) -> None:
        """Somebody knows of it: was there another store as good?"""
        for st in present:
            if (not st.wrong and may_lead(self.rules, st)
                    and len(st.map.epochs) == len(source.map.epochs)
                    and st.map.durable_seq == source.map.durable_seq
                    and (len(source.map.doubts(DOUBT_GEN)) > len(st.map.doubts(DOUBT_GEN))
                         or len(st.map.doubts(ELSEWHERE_GEN)) > len(source.map.doubts(ELSEWHERE_GEN)))
                    and all(resync_from(self.rules, st, y) is not None for y in present if y is not st)):
                raise Violation(f"store {source.no}, known to have a wrong file, goes before store {st.no}")

    def check_tree(self, st: Store) -> None:
        for slot in SLOTS:
            inode, row = st.fs.at(slot), st.map.dentries.get(slot)
            if (inode is None) != (row is None) or (inode and st.map.nodes[row[0]][0] != inode.ident):
                raise Violation(f"store {st.no}: name {slot} is {inode and inode.ident} and recorded as {row}")

    def check_in_step(self) -> None:
        """Stores that claim to be in step are equal, and have what was made durable."""
        if not self.online or self.inflight:
            return
        lead = self.online[0]
        for st in self.online[1:]:
            for slot in SLOTS:
                a, b = lead.fs.at(slot), st.fs.at(slot)
                if (a is None) != (b is None):
                    raise Violation(f"name {slot} differs on stores {lead.no} and {st.no}")
                node = self.tree.get(slot, 0)
                if a is None or b is None:
                    continue
                if self.live[node].get(lead.no) is not a or self.live[node].get(st.no) is not b:
                    raise Violation(f"name {slot} leads to another file on store {lead.no} or {st.no}")
                if a.blk != b.blk and any(x != y and (x > 0 or y > 0) for x, y in zip(a.blk, b.blk)):
                    raise Violation(f"blocks of name {slot} differ: {a.blk} on store {lead.no}, {b.blk} on {st.no}")
                if a.attr != b.attr:
                    raise Violation(f"attributes of name {slot} differ on stores {lead.no} and {st.no}")
            if any(key > 2 for key in st.fs.names):
                raise Violation(f"limbo of store {st.no} is not empty")
        for st in self.online:
            self.check_kept(st)

    def check_kept(self, st: Store) -> None:
        must = st.must
        for slot in SLOTS:
            inode, version = st.fs.names[slot]
            if version < must.get((NAME, slot, 0), 0):
                raise Violation(f"store {st.no}: synced change {must[NAME, slot, 0]} of name {slot} is lost")
            if inode is None:
                continue
            for b in BLOCKS:
                if abs(inode.blk[b]) < must.get((DATA, inode.birth, b), 0):
                    raise Violation(f"store {st.no}: synced write {must[DATA, inode.birth, b]} of block {b} of name "
                                    f"{slot} is lost, it holds {inode.blk[b]}")
            if inode.attr < must.get((ATTR, inode.birth, 0), 0):
                raise Violation(f"store {st.no}: synced attributes of name {slot} are lost")

    def check_cover(self) -> None:
        """What a crash now may change on a store lies under an intent committed there."""
        for st in self.stores:
            m = st.map
            if st.fs.journal or any(not i.settled() for i in st.fs.inodes()) or st in self.online:
                self.check_cover_of(st, m.items())

    def check_cover_of(self, st: Store, covered: set) -> None:
        peers = [p for p in self.online if p is not st and not p.wrong] if st in self.online and not st.wrong else []
        m, fs = st.map, st.fs
        for slot in SLOTS:
            here = fs.at(slot)
            doubt = here is not fs.durable_names.get(slot, (None, 0))[0]
            for peer in peers:
                there = peer.fs.at(slot)
                doubt = doubt or (here is None) != (there is None) or (
                    here is not None and here.birth != there.birth)
            if doubt and (NAME, DIR_OF[slot], 0) not in covered:
                raise Violation(f"I2: store {st.no} may lose a change of name {slot} and no intent covers it")
            if here is None:
                continue
            node = m.node_of(here)
            if node is None:
                if (NAME, DIR_OF[slot], 0) not in covered:
                    raise Violation(f"I2: store {st.no} has an unknown file at name {slot} outside intents")
                continue
            twins = [self.live[node][p.no] for p in peers if node in self.live and p.no in self.live[node]]
            for b in BLOCKS:
                v = here.blk[b]
                others = [here.dblk[b], *(t.blk[b] for t in twins)]
                if any(x != v and (x > 0 or v > 0) for x in others) and (
                        DATA, node, b) not in covered:
                    raise Violation(f"I2: block {b} of node {node} in doubt on store {st.no}, no intent covers it")
            if (here.attr != here.dattr or any(t.attr != here.attr for t in twins)) and (
                    ATTR, node, 0) not in covered:
                raise Violation(f"I2: attributes of node {node} in doubt on store {st.no}, no intent covers them")

    def check_nothing_lost(self, source: Store, target: Store) -> None:
        lost = target.seen & ~source.seen
        if lost:
            ops = [i for i in range(lost.bit_length()) if lost >> i & 1]
            raise Violation(f"undetected fork: store {source.no} is to overwrite store {target.no}, "
                            f"which alone has operations {ops}")

    def check_fork(self, source: Store, target: Store) -> None:
        """Measured: a newer store that is itself half resynced waits for its source, which is no fork. Where one side
        accepted nothing since they parted, calling it a fork was mere caution."""
        if target.map.resyncing and stale_delta(self.rules, target, source):
            self.count("waits for a source")
            return
        self.count("forks detected")
        mine = {e.id for e in source.map.epochs}
        theirs = {e.id for lineage in (target.map.epochs, *target.map.laps) for e in lineage}
        sides = [sum(self.accepted.get(e, 0) for e in side) for side in (mine - theirs, theirs - mine)]
        if self.restored and not (source.seen & ~target.seen and target.seen & ~source.seen):
            self.count("forks of a backup with nothing of its own")
        if not all(sides) and not self.restored:
            self.count("needless forks")
            if self.trace is not None:
                self.log("  needless fork between stores", source.no, "and", target.no, "accepted", sides)
