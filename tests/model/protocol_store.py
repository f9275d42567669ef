"""One store of the protocol model: a backing filesystem that may lose what was not synced, and the map beside it.

A *version* is the number of the operation that produced a value: positive for data, zero or negative for a hole.
Versions lie on the disk and serve as the model's own memory of what happened; the protocol itself never looks at them.
"""
from __future__ import annotations

import random
from typing import NamedTuple, Optional

BLOCKS = range(3)
SLOTS = range(3)                # the names: two in the first directory, one in the second
DIR_OF = (1, 1, 2)              # node id of the directory of each name
DIRS = (1, 2)
SLOTS_OF = {1: (0, 1), 2: (2,)}
FIRST_FILE = 3                  # node id of the file that exists from the start
LIMBO = 10                      # name keys from here on are limbo entries: LIMBO + node id

DATA, ATTR, NAME = "d", "a", "n"
DOUBT_GEN = 1 << 40             # generations that no checkpoint drops: about this store's own files,
ELSEWHERE_GEN = DOUBT_GEN - 1   # and about those of a store whose map could not be told
Item = tuple[str, int, int]     # (DATA, node, block), (ATTR, node, 0) or (NAME, directory, 0)
Ident = tuple[int, int]         # inode number and generation: what recognises a node on a store
NOWHERE: Ident = (0, 0)


class Crash(Exception):
    """The daemon ends here, without a word."""


class Violation(Exception):
    """A promise of the design was broken."""


class Epoch(NamedTuple):
    id: int
    first_seq: int
    base: int
    members: frozenset[int]
    first_node: int
    by_copy: bool = False


class Inode:
    """A file of the backing filesystem, as it is (blk, attr) and as it would be after a power loss (dblk, dattr)."""
    __slots__ = ("ident", "birth", "blk", "dblk", "attr", "dattr", "lost")

    def __init__(self, ident: Ident, birth: int) -> None:
        self.ident = ident
        self.birth = birth
        self.blk = [0, 0, 0]
        self.dblk = [0, 0, 0]
        self.attr = self.dattr = 0
        self.lost: set[int] = set()     # blocks that a failed sync dropped: in memory, marked clean, not on the disk

    def put(self, b: int, version: int) -> None:
        self.blk[b] = version
        self.lost.discard(b)

    def sync(self) -> None:
        for b in BLOCKS:
            if b not in self.lost:
                self.dblk[b] = self.blk[b]
        self.dattr = self.attr

    def settled(self) -> bool:
        return self.blk == self.dblk and self.attr == self.dattr


Name = tuple[Optional[Inode], int]      # what a name leads to, and the version of that


class Backing:
    """The backing filesystem of one store."""

    def __init__(self) -> None:
        self.names: dict[int, Name] = {s: (None, 0) for s in SLOTS}
        self.durable_names: dict[int, Name] = dict(self.names)
        self.journal: list[tuple[tuple[int, ...], dict[int, Name]]] = []
        self.next_gen = 0

    def new_inode(self, birth: int) -> Inode:
        """Like ext4, takes the lowest free inode number, with a generation of its own."""
        used = {inode.ident[0] for inode, _ in self.names.values() if inode}
        ino = 1
        while ino in used:
            ino += 1
        self.next_gen += 1
        return Inode((ino, self.next_gen), birth)

    def at(self, key: int) -> Optional[Inode]:
        entry = self.names.get(key)
        return entry[0] if entry else None

    def change(self, changes: dict[int, Optional[Name]]) -> None:
        """One atomic change of names; None removes a limbo entry."""
        for key, name in changes.items():
            if name is None:
                self.names.pop(key, None)
            else:
                self.names[key] = name
        self.journal.append((tuple(changes), dict(self.names)))

    def inodes(self) -> list[Inode]:
        return list({id(i): i for i, _ in self.names.values() if i}.values())

    def find(self, ident: Ident) -> Optional[Inode]:
        for inode, _ in self.names.values():
            if inode and inode.ident == ident:
                return inode
        return None

    def sync_names(self) -> None:
        if self.journal:
            self.durable_names = dict(self.names)
            self.journal = []

    def sync(self) -> None:
        for inode in self.inodes():
            inode.sync()
        self.sync_names()

    def fail_sync(self, rng: random.Random) -> None:
        """A sync that failed: some unwritten blocks are now believed clean."""
        for inode in self.inodes():
            for b in BLOCKS:
                if inode.blk[b] != inode.dblk[b] and rng.random() < .7:
                    inode.lost.add(b)

    def power_loss(self, rng: random.Random) -> None:
        """Every change that was not synced survives or not, each for itself."""
        rnd = rng.random
        entries = list(self.names.values()) + list(self.durable_names.values())
        for _, names in self.journal:
            entries += names.values()
        for inode in {id(i): i for i, _ in entries if i}.values():
            if inode.blk != inode.dblk:
                for b in BLOCKS:
                    if inode.blk[b] != inode.dblk[b] and b not in inode.lost and rnd() < .5:
                        inode.dblk[b] = inode.blk[b]
                inode.blk = list(inode.dblk)
            if inode.attr != inode.dattr:
                if rnd() < .5:
                    inode.dattr = inode.attr
                inode.attr = inode.dattr
            inode.lost.clear()
        if self.journal:
            self.names = self._surviving_names(rng)
            self.durable_names = dict(self.names)
            self.journal = []

    def _surviving_names(self, rng: random.Random) -> dict[int, Name]:
        if rng.random() < .5:           # an ordered journal: a prefix survives
            n = rng.randrange(len(self.journal) + 1)
            return dict(self.journal[n - 1][1] if n else self.durable_names)
        group: dict[int, int] = {}      # else names survive each for itself; what one rename joined stays together

        def root(key: int) -> int:
            while group.get(key, key) != key:
                key = group[key]
            return key
        for keys, _ in self.journal:
            for key in keys[1:]:
                group[root(key)] = root(keys[0])
        kept = {}
        names: dict[int, Name] = {}
        for key in list(dict.fromkeys([*self.durable_names, *self.names])):
            top = root(key)
            if top not in kept:
                kept[top] = rng.random() < .5
            name = (self.names if kept[top] else self.durable_names).get(key)
            if name:
                names[key] = name
        by_number: dict[int, Inode] = {}
        for key, (inode, version) in list(names.items()):   # two files cannot share one inode number
            if inode and by_number.setdefault(inode.ident[0], inode) is not inode:
                if key >= LIMBO:
                    del names[key]
                else:
                    names[key] = (None, version)
        return names

    def clone(self, rng: random.Random, new_identities: bool) -> Backing:
        """A copy of what is there now: an image of the disk, or a file by file copy with other inode numbers."""
        other = Backing()
        memo: dict[int, Inode] = {}
        inodes = self.inodes()
        idents = [i.ident for i in inodes]
        if new_identities:
            rng.shuffle(idents)
        for inode, ident in zip(inodes, idents):
            twin = Inode(ident, inode.birth)
            twin.blk, twin.dblk = list(inode.blk), list(inode.blk)
            twin.attr = twin.dattr = inode.attr
            memo[id(inode)] = twin
        other.names = {k: (memo[id(i)] if i else None, v) for k, (i, v) in self.names.items()}
        other.durable_names = dict(other.names)
        other.next_gen = self.next_gen
        return other


class Map:
    """meta.db of one store as of its last commit."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[Ident, int, int]] = {}      # id -> identity, attr_seq, seq
        self.dirs: dict[int, int] = {d: 0 for d in DIRS}        # id -> seq
        self.dentries: dict[int, tuple[int, int]] = {}          # name -> node, seq
        self.extents: dict[tuple[int, int], int] = {}           # node, block -> seq
        self.intents: set[tuple[str, int, int, int]] = set()    # item and generation
        self.durable_seq = 0
        self.reserved_seq = 0
        self.reserved_node = 0
        self.epochs: list[Epoch] = []
        self.confirmed: set[int] = set()
        self.laps: list[tuple[Epoch, ...]] = []                 # the lineages that laps not yet closed came from
        self.resyncing = False
        self.clean = True
        self.copy = False               # recognised as a restored copy, not in step with anybody since

        self.rebuilt = False            # made anew, and no lap closed since: all is in doubt, whatever else it says
        self.was_armed = False          # of the map before it

    def clone(self) -> Map:
        other = Map()
        for key, value in self.__dict__.items():
            other.__dict__[key] = value.copy() if isinstance(value, (dict, set, list)) else value
        return other

    def in_order(self) -> bool:
        """Nothing is under way: a copy that is made then has files and map of one moment."""
        return self.clean and not self.resyncing and self.intents <= self.doubts()

    def node_of(self, inode: Inode, bare_number: bool = False) -> Optional[int]:
        for node, (ident, _, _) in self.nodes.items():
            if ident == inode.ident or (bare_number and ident[0] == inode.ident[0]):
                return node
        return None

    def block_seq(self, node: int, b: int) -> int:
        """A hole counts as its node's seq."""
        seq = self.extents.get((node, b))
        return self.nodes[node][2] if seq is None else seq

    def set_block(self, node: int, b: int, seq: int, mapped: bool) -> None:
        if node in self.nodes:
            if mapped:
                self.extents[node, b] = seq
            else:
                self.extents.pop((node, b), None)
            self.touch_node(node, seq)

    def touch_node(self, node: int, seq: int) -> None:
        ident, attr, old = self.nodes[node]
        if seq > old:
            self.nodes[node] = (ident, attr, seq)

    def set_attr(self, node: int, seq: int) -> None:
        if node in self.nodes:
            ident, attr, old = self.nodes[node]
            self.nodes[node] = (ident, max(attr, seq), max(old, seq))

    def reserve_at_least(self, seq: int, node: int) -> None:
        self.reserved_seq = max(self.reserved_seq, seq)
        self.reserved_node = max(self.reserved_node, node)

    def drop_nameless(self) -> None:
        named = {node for node, _ in self.dentries.values()}
        if len(named) != len(self.nodes):
            for node in [n for n in self.nodes if n not in named]:
                self.drop(node)

    def drop(self, node: int) -> None:
        self.nodes.pop(node, None)
        for b in BLOCKS:
            self.extents.pop((node, b), None)

    def doubts(self, gen: int = 0) -> set[tuple[str, int, int, int]]:
        return {i for i in self.intents if (i[3] == gen if gen else i[3] >= ELSEWHERE_GEN)}

    def armed(self) -> bool:
        """Whether operations were under way: a file in doubt is none, nor what a new map has in doubt."""
        return self.was_armed if self.rebuilt else not self.intents <= self.doubts()

    def items(self, doubts: bool = True) -> set[Item]:
        """Everything under this map's intents; a data intent covers the attributes too."""
        items = {(kind, node, b) for kind, node, b, gen in self.intents if doubts or gen < ELSEWHERE_GEN}
        items |= {(ATTR, node, 0) for kind, node, _ in items if kind == DATA}
        return items


class Store:
    def __init__(self, no: int) -> None:
        self.no = no
        self.fs = Backing()
        self.map = Map()
        self.copied = False                             # restored with other identities, not yet found anew by path
        self.unclean_copy = False                       # of a store not in good order: the map says nothing of the files
        self.late: Optional[tuple[Inode, int, int]] = None      # a call still running on a store that was put out
        # the model's own memory, of which the protocol knows nothing
        self.wrong = False                              # has a file that was changed behind our back
        self.knows: set[int] = set()                    # stores with one, of which this one's map speaks
        self.seen = 0                                   # bit mask of acknowledged operations this store has
        self.hard = 0                                   # those that were made durable by fsync or checkpoint
        self.must: dict[Item, int] = {}                 # item -> version that must not be lost
        self.issued_seqs = 0
        self.issued_nodes = 0

    def clone(self, rng: random.Random, new_identities: bool, image: bool) -> Store:
        other = Store(self.no)
        source = self.fs
        if image:                                       # what a power loss now would leave, without causing one
            source = _deep(self.fs)
            source.power_loss(rng)
        other.fs = source.clone(rng, new_identities)
        other.map = self.map.clone()
        other.copied = self.copied or new_identities
        other.unclean_copy = self.unclean_copy or (new_identities and not self.map.in_order())
        other.wrong, other.knows = self.wrong, self.knows
        other.seen, other.hard = self.hard if image else self.seen, self.hard
        other.must = dict(self.must)
        other.issued_seqs, other.issued_nodes = self.issued_seqs, self.issued_nodes
        return other


def _deep(fs: Backing) -> Backing:
    """An independent double of a backing filesystem, unsynced changes included."""
    memo: dict[int, Inode] = {}

    def twin(inode: Optional[Inode]) -> Optional[Inode]:
        if inode is None:
            return None
        if id(inode) not in memo:
            new = Inode(inode.ident, inode.birth)
            new.blk, new.dblk = list(inode.blk), list(inode.dblk)
            new.attr, new.dattr = inode.attr, inode.dattr
            new.lost = set(inode.lost)
            memo[id(inode)] = new
        return memo[id(inode)]

    def names(table: dict[int, Name]) -> dict[int, Name]:
        return {k: (twin(i), v) for k, (i, v) in table.items()}
    other = Backing()
    other.names, other.durable_names = names(fs.names), names(fs.durable_names)
    other.journal = [(keys, names(table)) for keys, table in fs.journal]
    other.next_gen = fs.next_gen
    return other
