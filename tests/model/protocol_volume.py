"""A mounted volume of the protocol model: seqs, generations, intents, operations, put-outs and checkpoints."""
from __future__ import annotations

import random
from typing import Iterator, Optional

from protocol_rules import Rules
from protocol_store import (ATTR, BLOCKS, DATA, DIR_OF, DOUBT_GEN, ELSEWHERE_GEN, NAME, Crash, Epoch, Inode, Item,
                            Store, Violation)

SEQ_BLOCK = 8
NODE_BLOCK = 3


class Op:
    """An operation under way."""
    __slots__ = ("id", "kind", "node", "block", "slot", "to", "seq", "gen", "locks", "steps", "arms")

    def __init__(self) -> None:
        self.node = self.block = self.slot = self.to = self.seq = self.gen = self.id = 0
        self.kind = ""
        self.locks: set[Item] = set()
        self.arms: list[Item] = []
        self.steps: Iterator[None] = iter(())


class Volume:
    def __init__(self, seed: int, rules: Rules, stores: int, trace: Optional[list[str]] = None) -> None:
        self.rng = random.Random(seed)
        self.rnd = self.rng.random
        self.rules = rules
        self.stores = [Store(no) for no in range(stores)]
        self.trace = trace
        self.online: list[Store] = []
        self.op_count = 0
        self.epoch_count = 0
        self.counts: dict[str, int] = {}
        self.accepted: dict[int, int] = {}      # epoch -> operations acknowledged in it
        self.restored = False                   # whether any backup was ever put back
        self.saved: Optional[Store] = None      # a backup of one store
        self.saved_mounted = False              # taken while it was mounted: what was not synced may not be in it
        self.forget()

    def forget(self) -> None:
        """What a daemon's end takes with it."""
        self.seq = self.reserved_seq = self.node = self.reserved_node = 0
        self.gen = 1
        self.founded = False            # whether this mount has founded its epoch
        self.base: Optional[int] = None
        self.dirty: dict[int, list[tuple]] = {}
        self.live: dict[int, dict[int, Inode]] = {}
        self.tree: dict[int, int] = {}
        self.born: dict[int, int] = {}
        self.birth: dict[int, int] = {}
        self.armed: set[tuple[str, int, int, int]] = set()
        self.inflight: list[Op] = []
        self.unrecorded_putout = False
        self.held = False
        self.doubts_begun = 0           # those that a store's own map did not take
        # the model's own memory
        self.acked: dict[Item, int] = {}
        self.acked_mask = 0
        self.ops_on: dict[tuple[str, int], int] = {}
        self.touched: dict[tuple[int, int], int] = {}

    # ---- small things

    def log(self, *words: object) -> None:
        if self.trace is not None:
            self.trace.append(" ".join(str(w) for w in words))

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def hazard(self, chance: float, where: str) -> None:
        if self.rnd() < chance:
            self.log("  daemon ends:", where)
            raise Crash

    def shuffled(self) -> list[Store]:
        online = list(self.online)
        self.rng.shuffle(online)
        return online

    def forgive(self) -> None:
        """Something was lost for good reason: from here on only what was made durable counts."""
        for st in [*self.stores, *([self.saved] if self.saved else [])]:
            st.seen = st.hard

    # ---- numbers

    def take_seq(self) -> int:
        if self.seq >= self.reserved_seq:
            self.reserve(SEQ_BLOCK, 0)
        self.seq += 1
        bit = 1 << self.seq
        for st in self.online:
            if st.issued_seqs & bit:
                raise Violation(f"seq {self.seq} issued twice")
            st.issued_seqs |= bit
        return self.seq

    def take_node(self) -> int:
        if self.node >= self.reserved_node:
            self.reserve(0, NODE_BLOCK)
        self.node += 1
        bit = 1 << self.node
        for st in self.online:
            if st.issued_nodes & bit:
                raise Violation(f"node id {self.node} issued twice")
            st.issued_nodes |= bit
        return self.node

    def reserve(self, seqs: int, nodes: int) -> None:
        seq, node = self.reserved_seq + seqs, self.reserved_node + nodes
        for st in self.online if self.rules.reserve_everywhere else self.online[:1]:
            self.hazard(.01, "while reserving numbers")
            st.map.reserved_seq, st.map.reserved_node = seq, node
        self.reserved_seq, self.reserved_node = seq, node

    # ---- epochs

    def found_epoch(self, first: Optional[int] = None, base: Optional[int] = None) -> None:
        self.founded = True
        if first is None:
            first = self.take_seq()
        if base is None:
            base = self.base if self.base is not None else min(st.map.durable_seq for st in self.online)
        self.base = None
        self.epoch_count += 1
        epoch = Epoch(self.epoch_count, first, base, frozenset(st.no for st in self.online), self.node + 1,
                      any(st.map.copy for st in self.online))
        self.log("  epoch", epoch.id, "first", first, "base", base, "members", sorted(epoch.members))
        lost = None
        for st in self.shuffled():
            self.hazard(.04, f"before epoch {epoch.id} is on store {st.no}")
            if len(self.online) > 1 and lost is None and self.rnd() < .01:
                lost = st
                continue
            st.map.epochs.append(epoch)
            st.map.clean = st.map.resyncing = st.map.copy = False
        if lost:
            self.log("  store", lost.no, "cannot record it")
            self.put_out(lost)
            return
        if self.rules.confirm_before_use or self.rnd() < .5:
            self.confirm()

    def confirm(self) -> None:
        for st in self.shuffled():
            self.hazard(.02, f"before store {st.no} confirms its epoch")
            st.map.confirmed.add(st.map.epochs[-1].id)

    def put_out(self, st: Store, op: Optional[Op] = None) -> None:
        """The store takes no further part; the others commit that before anything is acknowledged."""
        if len(self.online) == 1 or st not in self.online:
            return
        self.online.remove(st)
        self.count("put-outs")
        unplugged = self.rnd() < .5
        self.log("  put out store", st.no, "(unplugged)" if unplugged else "")
        if op and op.kind == "write" and self.rnd() < .4 and op.node in self.live:
            inode = self.live[op.node].get(st.no)
            if inode:
                st.late = (inode, op.block, op.id)
        if unplugged:
            self.forgive()
            st.fs.power_loss(self.rng)
        first = min((o.seq for o in self.inflight if o.seq), default=None)
        if not self.rules.first_in_flight:
            first = None
        if self.rules.stale_before_ack:
            self.found_epoch(first=first, base=min(s.map.durable_seq for s in self.online))
        else:
            self.unrecorded_putout = True

    # ---- doubts

    def suspect(self) -> None:
        """A read finds that a store has another file than its map says: somebody changed it behind our back."""
        if len(self.online) < 2 or not self.tree:
            return
        st = self.online[int(self.rnd() * len(self.online))]
        node = self.rng.choice(sorted(set(self.tree.values())))
        inode = self.live[node].get(st.no)
        if inode is None:
            return
        self.log("store", st.no, "has a wrong file for node", node)
        if self.rnd() < .5:
            if self.rules.doubt_own:
                st.map.intents |= {(DATA, node, b, DOUBT_GEN) for b in BLOCKS}
            st.knows = st.knows | {st.no}
        elif not self.suspect_elsewhere(st, node):
            return                      # read-only from here on: nothing more would be done
        # nobody knew of it before, and what a crash had done then is not the protocol's
        inode.blk, inode.dblk = [0, 0, 0], [0, 0, 0]
        inode.attr = inode.dattr = 0
        inode.lost.clear()
        st.wrong = True
        self.count("wrong files")
        self.hazard(.1, f"before store {st.no} is out")
        self.put_out(st)

    def suspect_elsewhere(self, st: Store, node: int) -> bool:
        self.log("  its map does not take that")
        self.doubts_begun += 1
        told = not self.rules.doubt_elsewhere
        for peer in self.shuffled():
            if peer is st or peer not in self.online:
                continue
            self.hazard(.05, f"before store {peer.no} knows")
            if len(self.online) > 2 and self.rnd() < .05:
                self.put_out(peer)
                continue
            if self.rules.doubt_elsewhere:
                peer.map.intents |= {(DATA, node, b, ELSEWHERE_GEN) for b in BLOCKS}
            peer.knows = peer.knows | {st.no}
            told = True
        return told and len(self.online) > 1 and st in self.online

    # ---- intents

    def arm(self, op: Op) -> None:
        rules, gen = self.rules, op.gen
        wanted = []
        for kind, node, b in op.arms:
            if not getattr(rules, {DATA: "arm_data", ATTR: "arm_attr", NAME: "arm_name"}[kind]):
                continue
            if kind != NAME and node in self.born and (self.born[node] == gen or not rules.born_this_generation):
                continue
            key = (kind, node, b, gen)
            if key in self.armed:
                continue
            if not rules.arm_this_generation and any(a[:3] == key[:3] for a in self.armed):
                continue
            wanted.append(key)
        if not wanted:
            return
        for st in self.shuffled() if rules.arm_everywhere else self.online[:1]:
            self.hazard(.01, f"before store {st.no} is armed")
            if len(self.online) > 1 and self.rnd() < .01:
                self.put_out(st, op)
                continue
            st.map.intents.update(wanted)
        self.armed.update(wanted)

    # ---- operations, which protocol_operations brings

    def start(self) -> Optional[Op]:
        raise NotImplementedError

    def finish(self, op: Op) -> None:
        for _ in op.steps:
            pass

    def advance(self) -> None:
        op = self.inflight[int(self.rnd() * len(self.inflight))]
        next(op.steps, None)

    # ---- durability

    def fsync(self) -> None:
        """fsync of a file or of a directory, as an application would call it."""
        nodes = sorted({n for n in self.tree.values()})
        pick = int(self.rnd() * (len(nodes) + 2))
        kind, which = (DATA, nodes[pick]) if pick < len(nodes) else (NAME, pick - len(nodes) + 1)
        key = (kind, self.birth[which] if kind == DATA else which)
        hard = self.ops_on.get(key, 0)
        if kind == DATA:
            must = {k: v for k, v in self.acked.items() if k[0] != NAME and k[1] == key[1]}
        else:
            must = {k: v for k, v in self.acked.items() if k[0] == NAME and DIR_OF[k[1]] == which}
        self.log("fsync", "node" if kind == DATA else "directory", which)
        for st in self.shuffled():
            self.hazard(.02, "in fsync")
            if st not in self.online:
                continue
            if len(self.online) > 1 and self.rnd() < .03 and self.sync_fails(st):
                continue
            if kind == DATA:
                self.live[which][st.no].sync()
            else:
                st.fs.sync_names()
        for st in self.online:
            st.hard |= hard
            st.seen |= hard
            st.must.update(must)

    def sync_fails(self, st: Store) -> bool:
        self.log("  sync fails on store", st.no)
        st.fs.fail_sync(self.rng)
        self.forgive()
        if self.rules.sync_failure_final:
            self.put_out(st)
            return True
        return False

    def interleave(self, chance: float = .35) -> None:
        """Between two steps of a checkpoint or a lap, operations go on."""
        while self.rnd() < chance and not self.held:
            if self.inflight and self.rnd() < .5:
                self.advance()
            else:
                op = self.start()
                if op and self.rnd() < .5:
                    self.finish(op)

    def checkpoint(self) -> int:
        """Returns the seq through which every online store is then durable."""
        if not self.founded:
            return self.online[0].map.durable_seq
        if self.unrecorded_putout:
            self.unrecorded_putout = False
            self.found_epoch()
        if not self.dirty and not self.armed and not any(op.seq for op in self.inflight):
            return self.online[0].map.durable_seq       # nothing was done since the last one
        old, cut = self.gen, self.seq
        self.gen += 1
        self.log("checkpoint, cut", cut)
        self.interleave()
        if self.rules.wait_for_old:
            for op in [o for o in self.inflight if o.gen <= old and o.seq]:
                self.finish(op)
        self.interleave()
        must, hard = dict(self.acked), self.acked_mask
        if self.rules.sync_before_commit:
            for st in self.shuffled():
                self.hazard(.02, "before a sync")
                if st in self.online:
                    if len(self.online) > 1 and self.rnd() < .02 and self.sync_fails(st):
                        continue
                    st.fs.sync()
                self.interleave(.15)
            for st in self.online:
                st.hard |= hard
                st.seen |= hard
                st.must.update(must)
        for st in self.shuffled():
            self.hazard(.04, f"before store {st.no} commits")
            if st not in self.online:
                continue
            if len(self.online) > 1 and self.rnd() < .01:
                self.put_out(st)
                continue
            self.commit(st, cut, old)
            self.interleave(.15)
        for gen in [g for g in self.dirty if g <= old]:
            del self.dirty[gen]
        if self.rules.clear_old_only:
            self.armed = {a for a in self.armed if a[3] > old}
        else:
            self.armed.clear()
        if not self.rules.sync_before_commit:
            for st in self.online:
                st.fs.sync()
        return cut

    def commit(self, st: Store, cut: int, old: int) -> None:
        m = st.map
        self.log("  store", st.no, "commits", cut)
        for record in sorted((r for g, rs in self.dirty.items() if g <= old for r in rs), key=lambda r: r[0]):
            seq, what = record[0], record[1]
            if what == "block":
                m.set_block(record[2], record[3], seq, record[4])
            elif what == "attr":
                m.set_attr(record[2], seq)
            elif what == "dir":
                m.dirs[record[2]] = max(seq, m.dirs[record[2]])
            elif what == "born":
                m.nodes[record[2]] = (self.live[record[2]][st.no].ident, seq, seq)
            elif record[3]:
                m.dentries[record[2]] = (record[3], seq)
            else:
                m.dentries.pop(record[2], None)
        m.drop_nameless()
        m.intents = {i for i in m.intents if i[3] > old} if self.rules.clear_old_only else set()
        m.durable_seq = cut
        for (node, b), seq in self.touched.items():
            if seq <= cut and node in m.nodes and m.block_seq(node, b) < seq:
                raise Violation(f"store {st.no}: block {b} of node {node} numbered {m.block_seq(node, b)}, "
                                f"though operation {seq} may have changed it")
