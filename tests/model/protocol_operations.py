"""The operations of the protocol model, step by step: arm, act on every store, record, acknowledge."""
from __future__ import annotations

from typing import Callable, Iterator, Optional

from protocol_store import ATTR, BLOCKS, DATA, DIR_OF, NAME, Store
from protocol_volume import Op, Volume

ON_A_NODE = ("write", "punch", "truncate", "attr")      # the rest are operations on names

TOUCHES: dict[str, Callable[[Op], tuple[int, ...]]] = {     # the names that an operation changes
    "create": lambda op: (op.slot,),
    "unlink": lambda op: (op.slot,),
    "rename": lambda op: (op.slot, op.to),
    "link": lambda op: (op.to,),
}


class Operations(Volume):
    def choose(self) -> Optional[Op]:
        """An operation that can run now, or nothing."""
        rnd, op = self.rnd, Op()
        used = list(self.tree)
        x = rnd()
        if x < .62 and used:
            op.node = self.tree[used[int(rnd() * len(used))]]
            if x < .30:
                op.kind, op.block = "write", int(rnd() * 3)
            elif x < .42:
                op.kind, op.block = "punch", int(rnd() * 3)
            elif x < .50:
                op.kind, op.block = "truncate", int(rnd() * 3)
            else:
                op.kind = "attr"
            if op.kind == "truncate":
                op.locks = {(DATA, op.node, b) for b in BLOCKS[op.block:]} | {(ATTR, op.node, 0)}
                op.arms = [(DATA, op.node, b) for b in BLOCKS[op.block:]]
            elif op.kind == "attr":
                op.locks = {(ATTR, op.node, 0)}
                op.arms = [(ATTR, op.node, 0)]
            else:
                op.locks = {(DATA, op.node, op.block)}
                op.arms = [(DATA, op.node, op.block)]
        else:
            op.slot, op.to = int(rnd() * 3), int(rnd() * 3)
            there, target = op.slot in self.tree, op.to in self.tree
            dirs = {DIR_OF[op.slot]}
            if not there:
                op.kind = "create"
            elif x < .72 or op.slot == op.to:
                op.kind = "unlink"
            elif target and self.tree[op.slot] == self.tree[op.to]:
                return None
            elif x < .9 or target:
                op.kind = "rename"
                dirs.add(DIR_OF[op.to])
            else:
                op.kind = "link"
                dirs.add(DIR_OF[op.to])
            if there:
                op.node = self.tree[op.slot]
            op.locks = {(NAME, d, 0) for d in dirs}
            gone = op.node if op.kind == "unlink" else self.tree.get(op.to, 0) if op.kind == "rename" else 0
            if gone:
                op.locks |= {(DATA, gone, b) for b in BLOCKS} | {(ATTR, gone, 0)}
            op.arms = [(NAME, d, 0) for d in dirs]
        return op

    def start(self) -> Optional[Op]:
        op = self.choose()
        if op is None or self.held:
            return None
        data_only = op.kind in ("write", "punch", "attr")
        if self.rules.range_locks or not data_only:
            for other in self.inflight:
                if op.locks & other.locks:
                    return None
        self.op_count += 1
        op.id = self.op_count
        op.steps = self.operate(op)
        self.inflight.append(op)
        return op

    def operate(self, op: Op) -> Iterator[None]:
        if not self.founded and self.rules.epoch_per_mount:
            self.found_epoch()
        self.founded = True
        op.seq, op.gen = self.take_seq(), self.gen
        if op.kind == "create":
            op.node = self.take_node()
            self.live[op.node] = {}
        self.log("op", op.id, op.kind, "node", op.node, "block" if op.arms[0][0] == DATA else "name",
                 op.block if op.arms[0][0] == DATA else (op.slot, op.to), "seq", op.seq, "gen", op.gen,
                 "on", [st.no for st in self.online])
        yield
        self.arm(op)
        yield
        order = self.shuffled()
        full = broken = None
        x = self.rnd()
        if len(order) > 1 and x < .12:
            if x < .05:
                full = order[int(self.rnd() * len(order))]
            else:
                broken = order[int(self.rnd() * len(order))]
        applied = []
        destroys = op.kind in ("unlink", "rename") and (op.kind == "unlink" or op.to in self.tree)
        for st in order:
            self.hazard(.012, f"in operation {op.id} before store {st.no}")
            if st not in self.online or st is full or (st is broken and self.rnd() < .5):
                continue
            if full and self.rnd() < .4:                # it failed before this one was asked
                continue
            self.apply(st, op)
            applied.append(st)
            yield
        if full and full in self.online:
            if applied and destroys:
                broken, full = full, None               # what was destroyed elsewhere cannot be undone
                for st in order:
                    if st in self.online and st is not broken and st not in applied:
                        self.apply(st, op)
            else:
                self.log("  no space on store", full.no)
                for st in applied:
                    self.hazard(.03, "while undoing")
                    if st in self.online and self.rnd() < .2:
                        self.put_out(st, op)
                    if st in self.online:
                        self.undo(st, full, op)
                if self.rules.record_failures:
                    self.record(op, full, failed=True)
                self.inflight.remove(op)
                return
        elif full:
            full = None                                 # it was put out meanwhile; some stores may lack the operation
            for st in order:
                if st in self.online and st not in applied:
                    self.apply(st, op)
        if broken and self.online == [broken]:          # the last store is never put out: it was asked again
            if broken not in applied:
                self.apply(broken, op)
            broken = None
        self.record(op, next(st for st in self.online if st is not broken), failed=False)
        if broken:
            self.put_out(broken, op)
        self.acknowledge(op)

    def apply(self, st: Store, op: Op) -> None:
        fs, kind = st.fs, op.kind
        self.log("    op", op.id, "reaches store", st.no)
        if kind in ON_A_NODE:
            inode = self.live[op.node][st.no]
            if kind == "write" or kind == "punch":
                inode.put(op.block, op.id if kind == "write" else -op.id)
                self.touched[op.node, op.block] = op.seq
            elif kind == "truncate":
                for b in BLOCKS[op.block:]:
                    inode.put(b, -op.id)
                    self.touched[op.node, b] = op.seq
            if kind == "attr" or kind == "truncate":
                inode.attr = op.id
            if self.rnd() < .15:
                inode.sync()                            # the kernel wrote it back by itself
            return
        if kind == "create":
            inode = fs.new_inode(op.id)
            inode.attr = inode.dattr = op.id
            self.live[op.node][st.no] = inode
            fs.change({op.slot: (inode, op.id)})
        elif kind == "unlink":
            fs.change({op.slot: (None, op.id)})
        elif kind == "rename":
            fs.change({op.slot: (None, op.id), op.to: (fs.at(op.slot), op.id)})
        else:
            fs.change({op.to: (fs.at(op.slot), op.id)})
        if self.rnd() < .1:
            fs.sync_names()

    def undo(self, st: Store, full: Store, op: Op) -> None:
        """Make what a failed operation did on one store equal to the store that refused it."""
        if op.kind in ON_A_NODE:
            inode, model = self.live[op.node][st.no], self.live[op.node][full.no]
            for b in BLOCKS:
                if (DATA, op.node, b) in op.locks:
                    inode.put(b, model.blk[b])
            if (ATTR, op.node, 0) in op.locks:
                inode.attr = model.attr
            return
        changes = {}
        for slot in TOUCHES[op.kind](op):
            version = full.fs.names[slot][1]
            node = self.tree.get(slot)
            changes[slot] = (self.live[node][st.no] if node else None, version)
        st.fs.change(changes)

    def record(self, op: Op, lead: Store, failed: bool) -> None:
        records = self.dirty.setdefault(op.gen, [])
        seq, kind = op.seq, op.kind
        if kind in ON_A_NODE:
            inode = self.live[op.node][lead.no]
            for k, node, b in sorted(op.locks):
                if k == DATA:
                    records.append((seq, "block", node, b, inode.blk[b] > 0))
                else:
                    records.append((seq, "attr", node))
            return
        for _, d, _ in op.arms:
            records.append((seq, "dir", d))
        if failed:
            return
        if kind == "create":
            self.tree[op.slot] = op.node
            self.born[op.node] = op.gen
            self.birth[op.node] = op.id
            records.append((seq, "born", op.node))
            records.append((seq, "name", op.slot, op.node))
            return
        if kind in ("rename", "link"):
            self.tree[op.to] = op.node
            records.append((seq, "name", op.to, op.node))
        if kind in ("rename", "unlink"):
            del self.tree[op.slot]
            records.append((seq, "name", op.slot, 0))

    def acknowledge(self, op: Op) -> None:
        self.inflight.remove(op)
        bit = 1 << op.id
        self.acked_mask |= bit
        for st in self.online:
            st.seen |= bit
        if op.kind in ON_A_NODE:
            birth = self.birth[op.node]
            for k, _, b in op.locks:
                self.acked[k, birth, b] = op.id
            self.ops_on[DATA, birth] = self.ops_on.get((DATA, birth), 0) | bit
        else:
            for slot in TOUCHES[op.kind](op):
                self.acked[NAME, slot, 0] = op.id
            for _, d, _ in op.arms:
                self.ops_on[NAME, d] = self.ops_on.get((NAME, d), 0) | bit
        epoch = self.online[0].map.epochs[-1].id
        self.accepted[epoch] = self.accepted.get(epoch, 0) + 1
        self.log("  acknowledged", op.id)
