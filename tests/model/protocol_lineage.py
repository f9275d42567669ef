"""Who may be brought in step from whom, from which seq on, and what the delta is. Pure: reads maps, changes nothing."""
from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

from protocol_rules import Rules
from protocol_store import (ATTR, BLOCKS, DATA, DIR_OF, DIRS, DOUBT_GEN, ELSEWHERE_GEN, NAME, Epoch, Item, Map,
                            Store)

NEVER = 1 << 60


def tip_of(rules: Rules, source: Store, target: Store) -> list[Epoch]:
    """The target's lineage without its void end."""
    epochs = list(target.map.epochs)
    known = {e.id for e in source.map.epochs}
    while len(epochs) > 1 and epochs[-1].id not in known and (
            (rules.void_epochs and epochs[-1].id not in target.map.confirmed and source.no in epochs[-1].members)
            or (rules.idle_epochs and is_idle(target.map, epochs[-1]))):
        epochs.pop()
    return epochs


def is_idle(m: Map, epoch: Epoch) -> bool:
    """Whether nothing was ever done in that epoch: what is done is armed before, and durable only above its base."""
    return (m.durable_seq <= epoch.base and not m.armed() and not m.laps
            and (m.clean or not m.copy))


def resync_from(rules: Rules, source: Store, target: Store) -> Optional[int]:
    """The seq above which the merely stale target lacks what the source has; None when they have forked."""
    lineage = [e.id for e in source.map.epochs]
    tip = tip_of(rules, source, target)[-1]
    if tip.id not in lineage:
        return None
    start = target.map.durable_seq
    armed = target.map.armed()
    following = source.map.epochs[lineage.index(tip.id) + 1:][:1]
    for epoch in following:
        if rules.beyond_next_epoch and start >= epoch.first_seq:
            return None
        if rules.base:
            start = min(start, epoch.base)
        if rules.copy_epoch and epoch.by_copy and (armed or target.map.durable_seq > epoch.base):
            return None
    if rules.base and not following:
        start = min(start, source.map.durable_seq)
    if rules.copy_epoch and not following and source.map.copy and (
            armed or target.map.durable_seq > source.map.durable_seq):
        return None
    if rules.lap_lineage:
        for lap in target.map.laps:
            if lap[-1].id not in lineage:
                return None
            after = source.map.epochs[lineage.index(lap[-1].id) + 1:][:1]
            start = min([start] + [e.base for e in after])
    if target.map.rebuilt:
        start = 0
    if rules.compare_places and newer_places(source.map, target.map, start):
        return None
    return start


def newer_places(source: Map, target: Map, start: int) -> bool:
    """Whether the target's map numbers something above `start` that is newer than what the source has in its place."""
    for d in DIRS:
        if target.dirs[d] > max(start, source.dirs[d]):
            return True
    for slot, (_, seq) in target.dentries.items():
        here = source.dentries.get(slot, (0, source.dirs[DIR_OF[slot]]))[1]
        if seq > start and seq > max(here, source.dirs[DIR_OF[slot]]):
            return True
    for node, (_, attr, seq) in target.nodes.items():
        if seq <= start:
            continue
        if node not in source.nodes:            # an absent node counts as its directories do
            if seq > max([source.dirs[DIR_OF[s]] for s, (n, _) in target.dentries.items() if n == node], default=seq):
                return True
            continue
        _, their_attr, their_seq = source.nodes[node]
        if attr > max(start, their_attr) or seq > their_seq:
            return True
        for b in BLOCKS:
            mine = target.extents.get((node, b), 0)
            if mine > start and mine > source.block_seq(node, b):
                return True
    return False


def may_lead(rules: Rules, x: Store) -> bool:
    return (not (x.map.resyncing and rules.resyncing_no_source)
            and not (x.unclean_copy and rules.unclean_copy_last))


def pick_source(rules: Rules, present: Sequence[Store]) -> Optional[Store]:
    """The furthest lineage, then the highest durable seq, among those that every other present store may follow."""
    best = None
    for x in present:
        if not may_lead(rules, x):
            continue
        if all(y is x or resync_from(rules, x, y) is not None for y in present):
            if best is None or rank(rules, x.map) > rank(rules, best.map):
                best = x
    return best


def rank(rules: Rules, m: Map) -> tuple[int, int, int, int, bool]:
    wrong, other = (len(m.doubts(DOUBT_GEN)), len(m.doubts(ELSEWHERE_GEN))) if rules.doubt_ranks else (0, 0)
    return len(m.epochs), m.durable_seq, -wrong, other, rules.copy_last and not m.copy


class Delta(NamedTuple):
    """What a resync looks at: numbered above `start`, or under the target's own intents."""
    start: int
    both: bool                  # what either map numbers, not only the source's
    fork_node: int              # node ids from here on were born after a fork and never match
    doubt: frozenset[Item]

    def matches(self, target: Map, node: int) -> bool:
        return node < self.fork_node and node in target.nodes

    def directory(self, source: Map, target: Map, d: int) -> bool:
        return (source.dirs[d] > self.start or (self.both and target.dirs[d] > self.start)
                or (NAME, d, 0) in self.doubt)

    def block(self, source: Map, target: Map, node: int, b: int) -> bool:
        return (source.block_seq(node, b) > self.start or (DATA, node, b) in self.doubt
                or (self.both and node in target.nodes and target.block_seq(node, b) > self.start))

    def attr(self, source: Map, target: Map, node: int) -> bool:
        return (source.nodes[node][1] > self.start or (ATTR, node, 0) in self.doubt
                or (self.both and node in target.nodes and target.nodes[node][1] > self.start))


def stale_delta(rules: Rules, source: Store, target: Store) -> Optional[Delta]:
    start = resync_from(rules, source, target)
    if start is None:
        return None
    doubt = frozenset(target.map.items()) if rules.target_intents else frozenset()
    return Delta(start, False, NEVER, doubt)


def fork_delta(rules: Rules, source: Store, target: Store) -> Delta:
    """The delta when the user named the source as the side to keep."""
    mine = set(source.map.epochs)
    unshared: set[Epoch] = set()
    for lineage in (target.map.epochs, *target.map.laps):
        unshared |= mine ^ set(lineage)
    start = 0 if target.map.rebuilt else min([target.map.durable_seq] + [e.first_seq - 1 for e in unshared])
    fork_node = min((e.first_node for e in unshared), default=NEVER)
    if rules.fork_base:
        start = min([start, source.map.durable_seq] + [e.base for e in unshared])
    doubt = frozenset(target.map.items()) if rules.target_intents else frozenset()
    return Delta(start, rules.both_maps, fork_node if rules.fork_nodes else NEVER, doubt)
