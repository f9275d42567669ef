"""Recovery after a crash, and the one resync that serves everything else."""
from __future__ import annotations

from typing import Iterable, Optional

from protocol_lineage import Delta, fork_delta, stale_delta, tip_of
from protocol_store import (ATTR, BLOCKS, DATA, DIR_OF, DIRS, DOUBT_GEN, ELSEWHERE_GEN, LIMBO, NAME, NOWHERE, SLOTS,
                            SLOTS_OF,
                            Inode, Item, Map, Store, Violation)
from protocol_operations import Operations

FOREIGN = LIMBO + 1000          # limbo keys of files that no map knows


class LapCut(Exception):
    """The lap ends early; the daemon lives on."""


class Resync(Operations):
    # ---- recovery

    def recover(self, source: Store, doubt: Iterable[Item]) -> None:
        """Give everything in doubt a fresh seq on the source, from its files."""
        doubt = set(doubt)
        if not doubt:
            return
        self.found_epoch()
        rules, m, fs = self.rules, source.map, source.fs
        if rules.past_the_cache:
            for inode in fs.inodes():
                inode.lost.clear()                      # rewritten, so that the sync is about what is read
        if rules.sync_at_recovery:
            fs.sync()
        self.hazard(.05, "before recovery commits")
        seq = self.take_seq()
        for d in sorted(d for kind, d, _ in doubt if kind == NAME):
            m.dirs[d] = seq
            for slot in SLOTS_OF[d]:
                inode = fs.at(slot)
                if inode is None:
                    m.dentries.pop(slot, None)
                    continue
                node = m.node_of(inode, not rules.whole_identity)
                if node is None:
                    node = self.take_node()
                    m.nodes[node] = (inode.ident, seq, seq)
                    for b in BLOCKS:
                        m.set_block(node, b, seq, inode.blk[b] > 0)
                m.dentries[slot] = (node, seq)
        m.drop_nameless()
        for kind, node, b in sorted(doubt):
            if kind == NAME or node not in m.nodes:
                continue
            inode = fs.find(m.nodes[node][0])
            if kind == ATTR:
                m.set_attr(node, seq)
            elif inode:
                m.set_block(node, b, seq, inode.blk[b] > 0)
        m.durable_seq = max(m.durable_seq, seq)
        m.intents = set()
        self.log("  recovered", sorted(doubt), "on store", source.no, "as", seq)

    def adopt(self, store: Store) -> None:
        """Fill the live tables from a store that has just become online."""
        m, fs = store.map, store.fs
        for node, (ident, _, _) in m.nodes.items():
            inode = fs.find(ident)
            if inode is None and not self.rules.whole_identity:
                inode = next((i for i in fs.inodes() if i.ident[0] == ident[0]), None)
            if inode is None:
                raise Violation(f"store {store.no}: node {node} is in its map and not on it")
            self.live.setdefault(node, {})[store.no] = inode
            self.birth[node] = inode.birth

    def rebind(self, store: Store) -> None:
        """A restored copy: find its nodes anew by path."""
        store.copied = False
        store.map.copy = True
        if not self.rules.copy_found_by_path:
            return
        m, fs = store.map, store.fs
        doubt = m.items() if self.rules.copy_doubt else set()
        for node, (_, attr, seq) in list(m.nodes.items()):
            m.nodes[node] = (NOWHERE, attr, seq)
        for slot, (node, _) in m.dentries.items():
            inode = fs.at(slot)
            if inode and (NAME, DIR_OF[slot], 0) not in doubt and m.node_of(inode) is None:
                _, attr, seq = m.nodes[node]
                m.nodes[node] = (inode.ident, attr, seq)

    def rebuild(self, target: Store, source: Store, overruled: bool) -> None:
        """An unclean copy: what lies under the source's names is compared, the rest is nobody's."""
        rules, old, fs = self.rules, target.map, target.fs
        m = target.map = Map()
        m.epochs, m.confirmed = source.map.epochs[:1], {source.map.epochs[0].id}
        m.resyncing = m.copy = m.rebuilt = True
        m.clean = False
        if rules.unclean_copy_past and not overruled:
            m.epochs, m.confirmed, m.laps = old.epochs, old.confirmed, old.laps
            m.durable_seq, m.was_armed = old.durable_seq, old.armed()
        if overruled:
            target.seen &= source.seen                  # given up by the user
            target.hard &= source.hard
        m.reserve_at_least(source.map.reserved_seq, source.map.reserved_node)
        if rules.unclean_copy_numbers:
            m.reserve_at_least(old.reserved_seq, old.reserved_node)
        target.copied = False
        if self.rnd() < .25:
            self.log("  rebuild cut")
            raise LapCut
        m.intents = {(NAME, d, 0, 1) for d in DIRS}
        for slot in SLOTS:
            inode, version = fs.names[slot]
            row = source.map.dentries.get(slot)
            if inode is None:
                continue
            if row is None or m.node_of(inode) not in (None, row[0]) or (
                    row[0] in m.nodes and m.nodes[row[0]][0] != inode.ident):
                fs.change({slot: (None, version)})      # to found/
                continue
            inode.birth = self.birth[row[0]]            # the model's own memory: it is that file from now on
            m.dentries[slot] = (row[0], 1)
            m.nodes[row[0]] = (inode.ident, 1, 1)
            m.intents |= {(ATTR, row[0], 0, 1)} | {(DATA, row[0], b, 1) for b in BLOCKS}
            for b in BLOCKS:
                m.set_block(row[0], b, 1, inode.blk[b] > 0)
        fs.change({key: None for key in fs.names if key >= LIMBO})
        fs.sync()
        target.unclean_copy = False
        self.log("  rebuilt store", target.no, "like store", source.no)
        self.count("unclean copies compared")
        if self.rnd() < .25:
            self.log("  rebuild cut behind its end")
            raise LapCut

    # ---- laps

    def join(self, target: Store, keep: bool = False) -> bool:
        """Bring a store in step with the online ones. keep: the user named them as the side to keep."""
        if self.rules.old_calls_end:
            target.late = None
        if target.copied and not (target.unclean_copy and self.rules.unclean_copy_whole):
            self.rebind(target)
        source = self.online[0]
        if target.wrong and not self.known_wrong(target):
            return False
        if stale_delta(self.rules, source, target) is None:
            if not keep:
                self.check_fork(source, target)
                return False
            self.count("forks resolved")
        else:
            self.check_nothing_lost(source, target)
        if self.rules.trim_void:
            target.map.epochs = tip_of(self.rules, source, target)
        if self.rules.doubt_given:
            target.map.intents |= {(*i[:3], DOUBT_GEN) for i in source.map.doubts()}
        self.log("join store", target.no, "from store", source.no, "by the user's word" if keep else "")
        forked = keep
        try:
            if target.unclean_copy and self.rules.unclean_copy_whole:
                self.rebuild(target, source, keep)
            target.unclean_copy = False
            for _ in range(int(self.rnd() * 3)):
                self.lap(target, last=False, keep=forked)
                forked = False
            self.held = self.rules.hold_last_lap
            for op in list(self.inflight) if self.held else ():
                self.finish(op)
            begun = -1
            while begun != self.doubts_begun:
                begun = self.doubts_begun
                self.lap(target, last=True, keep=forked)
                forked = False
                if self.rnd() < .05:
                    self.suspect()
                if source not in self.online:
                    raise LapCut
                if not self.rules.lap_after_doubt:
                    break
        except LapCut:
            self.held = False
            if target.late and self.rnd() < .5:
                target.late = None
            return False
        self.held = False
        target.wrong = False
        target.knows = self.online[0].knows - {target.no}
        for st in self.stores:
            st.knows = st.knows - {target.no}
        self.count("resyncs")
        lead = self.online[0]
        target.seen, target.hard, target.must = lead.seen, lead.hard, dict(lead.must)
        target.issued_seqs, target.issued_nodes = lead.issued_seqs, lead.issued_nodes
        self.online.append(target)
        target.map.reserve_at_least(self.reserved_seq, self.reserved_node)
        self.adopt(target)
        if target.late:
            inode, b, version = target.late
            inode.put(b, version)
            target.late = None
        self.found_epoch(base=lead.map.durable_seq)
        return True

    def mishap(self, target: Store, source: Store) -> None:
        """Anything may end a lap; operations go on between its steps."""
        if self.rnd() < .015:
            if self.rnd() < .5:
                self.hazard(1, "in a lap")
            self.log("  lap cut")
            if self.rnd() < .5:
                target.fs.power_loss(self.rng)
            raise LapCut
        if not self.held:
            self.interleave(.08)
        if self.rnd() < .003:                           # reads go on also while changes are held
            self.suspect()
        if source not in self.online:
            raise LapCut

    def lap(self, target: Store, last: bool, keep: bool) -> None:
        rules = self.rules
        cut = self.checkpoint()
        source = self.online[0]
        sm, tm = source.map, target.map
        if keep:
            delta: Optional[Delta] = fork_delta(rules, source, target)
        else:
            delta = stale_delta(rules, source, target)
        if delta is None:
            raise Violation(f"store {target.no} forks from store {source.no} in the middle of its resync")
        self.log("  lap to store", target.no, "cut", cut, "from", delta.start, "both maps" if delta.both else "",
                 "doubt", sorted(delta.doubt))
        tm.resyncing = True
        if rules.lap_lineage:
            tm.laps = list(dict.fromkeys([*tm.laps, tuple(sm.epochs)]))
        if keep:
            target.seen &= source.seen                  # given up by the user
            target.hard &= source.hard
        if not rules.keep_target_intents:
            tm.intents = set()
        if keep and rules.fork_intents:
            self.cover_fork(target, source, delta)
        whole = self.resync_names(source, target, delta)
        kept = self.resync_blocks(source, target, delta, whole)
        kept |= self.resync_attrs(source, target, delta, whole)
        if rules.sync_before_close:
            target.fs.sync()
        self.mishap(target, source)
        tm.dirs = {d: sm.dirs[d] if delta.directory(sm, tm, d) else tm.dirs[d] for d in DIRS}
        tm.durable_seq = cut
        tm.intents = {(*item, 0) for item in kept}
        if last and rules.doubt_follows and len(self.online) + 1 < len(self.stores):
            tm.intents |= {(*i[:3], ELSEWHERE_GEN) for i in sm.doubts()}
        tm.laps = []
        tm.rebuilt = False
        tm.epochs, tm.confirmed = list(sm.epochs), set(sm.confirmed)
        tm.reserve_at_least(sm.reserved_seq, sm.reserved_node)
        self.log("  lap closed at", cut)

    def cover(self, target: Store, items: Iterable[Item]) -> None:
        if self.rules.lap_intents:
            target.map.intents |= {(*item, 0) for item in items}

    def cover_fork(self, target: Store, source: Store, delta: Delta) -> None:
        """The same (node, block, seq) means two things on the two sides of a fork: nothing of it may be skipped."""
        sm, tm = source.map, target.map
        items: list[Item] = []
        for node in tm.nodes:
            if node in sm.nodes:
                items += [(DATA, node, b) for b in BLOCKS if delta.block(sm, tm, node, b)]
        self.cover(target, items)

    def resync_names(self, source: Store, target: Store, delta: Delta) -> set[int]:
        """Returns the nodes that were absent on the target and must be copied whole."""
        rules, sm, tm, fs = self.rules, source.map, target.map, target.fs
        bare = not rules.whole_identity
        dirs = [d for d in DIRS if delta.directory(sm, tm, d)]
        whole: set[int] = set()
        if not dirs:
            return whole
        self.cover(target, [(NAME, d, 0) for d in dirs])
        self.mishap(target, source)
        slots = [s for d in dirs for s in SLOTS_OF[d]]
        want = {s: sm.dentries[s][0] for s in slots if s in sm.dentries}

        def known(inode: Inode) -> Optional[int]:
            node = tm.node_of(inode, bare)
            return node if node is not None and delta.matches(tm, node) and node in sm.nodes else None

        def version(slot: int) -> int:
            return source.fs.names[slot][1]

        foreign = FOREIGN
        for slot in slots:                              # what must leave its place
            inode = fs.at(slot)
            if inode is None or (node := known(inode)) == want.get(slot, -1):
                continue
            foreign += 1
            changes: dict = {slot: (None, version(slot))}
            if rules.limbo:
                changes[LIMBO + node if node else foreign] = (inode, 0)
            fs.change(changes)
            self.mishap(target, source)
        places: dict[int, Inode] = {}
        for inode in fs.inodes():
            node = known(inode)
            if node is not None:
                places.setdefault(node, inode)
        for node in sorted(set(want.values())):         # what is not there yet is made in limbo
            if node not in places:
                self.cover(target, [(DATA, node, b) for b in BLOCKS] + [(ATTR, node, 0)])
                inode = fs.new_inode(self.birth.get(node, 0))
                fs.change({LIMBO + node: (inode, 0)})
                places[node] = inode
                whole.add(node)
                self.mishap(target, source)
        for slot in slots:                              # everything is placed where the source has it
            if slot in want:
                fs.change({slot: (places[want[slot]], version(slot))})
                self.mishap(target, source)
            else:
                fs.change({slot: (None, version(slot))})
        left: dict = {key: None for key in fs.names if key >= LIMBO}
        if left:
            fs.change(left)
        if self.rnd() < .5:
            fs.sync_names()
        self.mishap(target, source)
        for node in whole:
            if rules.copy_absent_whole:
                tm.drop(node)
                tm.nodes[node] = (places[node].ident, 0, 0)
            else:
                tm.nodes[node] = (places[node].ident, *tm.nodes.get(node, (0, 0, 0))[1:])
        for slot in slots:
            if slot in want:
                tm.dentries[slot] = (want[slot], sm.dentries[slot][1] if slot in sm.dentries else 0)
            else:
                tm.dentries.pop(slot, None)
        tm.drop_nameless()
        self.mishap(target, source)
        return whole

    def source_file(self, source: Store, node: int) -> Optional[Inode]:
        """The source's file of a node, whatever its path is now; None when it has gone meanwhile."""
        if self.rules.verify_source:
            inode = self.live[node][source.no]
            return inode if any(inode is i for i, _ in source.fs.names.values()) else None
        for slot, (there, _) in source.map.dentries.items():
            if there == node:
                return source.fs.at(slot)
        return None

    def resync_blocks(self, source: Store, target: Store, delta: Delta, whole: set[int]) -> set[Item]:
        """Returns what must stay under intents: what was skipped, and what may be ahead of the source's map."""
        rules, sm, tm = self.rules, source.map, target.map
        kept: set[Item] = set()
        work = [(n, b) for n in sm.nodes if n in tm.nodes for b in BLOCKS
                if delta.block(sm, tm, n, b) or (n in whole and rules.copy_absent_whole)]
        self.rng.shuffle(work)
        batch: list[tuple[int, int, int]] = []
        for node, b in work:
            row = sm.extents.get((node, b))
            inode = target.fs.find(tm.nodes[node][0])
            file = self.source_file(source, node)
            if file is None:
                self.skip_block(target, node, b, row, kept)
            if row is None or inode is None or file is None:
                continue
            doubt = any(i[:3] == (DATA, node, b) for i in tm.intents) and rules.skip_outside_intents
            if tm.extents.get((node, b)) == row and not doubt:
                continue
            self.cover(target, [(DATA, node, b)])
            self.mishap(target, source)
            if rules.past_the_cache or inode.blk[b] != file.blk[b]:
                inode.put(b, file.blk[b])
            if rules.keep_ahead and (DATA, node, b) in sm.items(doubts=False):
                kept.add((DATA, node, b))
            batch.append((node, b, row))
            self.mishap(target, source)
            if self.rnd() < .5:
                self.commit_batch(target, batch, kept)
                batch = []
        self.commit_batch(target, batch, kept)
        for node, b in work:                            # unmap: what the target maps and the source does not
            inode = target.fs.find(tm.nodes[node][0]) if node in tm.nodes else None
            file = self.source_file(source, node) if node in sm.nodes else None
            if inode is None or (node, b) in sm.extents:
                continue
            if file is None:                            # gone since the first pass
                self.skip_block(target, node, b, None, kept)
                continue
            if (node, b) in tm.extents or inode.blk[b] > 0 or inode.lost:
                self.cover(target, [(DATA, node, b)])
                self.mishap(target, source)
                inode.put(b, -abs(file.blk[b]))
                tm.extents.pop((node, b), None)
                if not rules.keep_unmap_intents:
                    inode.sync()
                    tm.intents = {i for i in tm.intents if i[:3] != (DATA, node, b)}
            elif not inode.blk[b] > 0:
                inode.blk[b] = -abs(file.blk[b])        # the model's own memory: a hole of the same age
        for node in {n for n, _ in work}:
            if node in sm.nodes and node in tm.nodes:
                ident, attr, seq = tm.nodes[node]
                tm.nodes[node] = (ident, attr, sm.nodes[node][2])
        return kept

    def skip_block(self, target: Store, node: int, b: int, row: Optional[int], kept: set[Item]) -> None:
        """The source's file has gone: number the block like the source's map does, under an intent that stays."""
        if self.rules.keep_skipped:
            kept.add((DATA, node, b))
            self.cover(target, [(DATA, node, b)])
            target.map.set_block(node, b, row or 0, row is not None)

    def commit_batch(self, target: Store, batch: list[tuple[int, int, int]], kept: set[Item]) -> None:
        """What was copied is synced; then one transaction writes the rows and clears the batch's intents."""
        tm = target.map
        for node in {n for n, _, _ in batch}:
            if node in tm.nodes:
                inode = target.fs.find(tm.nodes[node][0])
                if inode:
                    inode.sync()
        done = {(DATA, node, b) for node, b, _ in batch} - kept
        for node, b, row in batch:
            if node in tm.nodes:
                tm.extents[node, b] = row
                tm.touch_node(node, row)
        if done:
            if self.rules.keep_attr_cover:
                tm.intents |= {(ATTR, node, 0, 0) for _, node, _ in {i[:3] for i in tm.intents} & done}
            tm.intents = {i for i in tm.intents if i[:3] not in done}

    def resync_attrs(self, source: Store, target: Store, delta: Delta, whole: set[int]) -> set[Item]:
        rules, sm, tm = self.rules, source.map, target.map
        kept: set[Item] = set()
        for node in sorted(sm.nodes):
            if node not in tm.nodes or not (delta.attr(sm, tm, node) or node in whole):
                continue
            inode, file = target.fs.find(tm.nodes[node][0]), self.source_file(source, node)
            if file is None and rules.keep_skipped:
                kept.add((ATTR, node, 0))
            self.cover(target, [(ATTR, node, 0)])
            tm.nodes[node] = (tm.nodes[node][0], *sm.nodes[node][1:])
            if inode is None or file is None:
                continue
            self.mishap(target, source)
            inode.attr = file.attr
            if rules.keep_ahead and (ATTR, node, 0) in sm.items(doubts=False):
                kept.add((ATTR, node, 0))
        return kept

    # ---- overridden by the world, which knows the truth

    def known_wrong(self, st: Store) -> bool:
        raise NotImplementedError

    def check_fork(self, source: Store, target: Store) -> None:
        raise NotImplementedError

    def check_nothing_lost(self, source: Store, target: Store) -> None:
        raise NotImplementedError
