# SPDX-License-Identifier: Apache-2.0
"""Stores as somebody sees them who rotates disks: where each copy of each one
lies, what it stands for, what its map must have heard of the others; and what
has to come of putting some of them together.
"""

import dataclasses
import os

import rotationmodel as model
from rotationmodel import AHEAD, EITHER, FORK

ONLINE, DETACHED, MISSING = "online", "detached", "missing"
UNKNOWN = "?"
YES, NO, PERHAPS = "yes", "no", "perhaps"


def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def rename(old, new):
    """A disk is where somebody put it, whatever becomes of the power."""
    os.rename(old, new)
    fsync(os.path.dirname(old))
    fsync(os.path.dirname(new))


@dataclasses.dataclass
class Row:
    """What a map knows of a member."""
    state: str
    hint: str
    known: model.Commit


@dataclasses.dataclass
class Copy:
    """A directory that holds a store, or a copy of one: two of one name have
    one UUID."""
    name: str
    path: str
    head: model.Commit
    rows: dict
    shelf: str = ""        # where its disk lies while nobody is to find it
    unclean: str = NO      # it was in use when the daemon was killed
    pending: tuple = ()    # (commit, tree): what was under way then
    half: tuple = ()       # commits it may have got a part of
    copied: bool = False   # by cp, and not online since
    as_copy: bool = False  # it has gone on as one, at some time
    peers: frozenset = frozenset()  # names online with it in the end
    may_keep: bool = False  # it was a copy of one in use: what that had too much

    def __str__(self):
        marks = "".join(c for c, on in (
            ("!", self.unclean == YES), ("?", self.unclean == PERHAPS),
            ("/", self.half), ("'", self.copied)) if on)
        return f"{os.path.basename(self.disk)}{marks}@{self.head}"

    @property
    def disk(self):
        """A directory of its own, so that the store's is never renamed: its
        change time would tell."""
        return os.path.dirname(self.path)

    @property
    def where(self):
        return os.path.join(self.shelf, "s") if self.shelf else self.path

    def put_away(self, shelf):
        if not self.shelf:
            self.shelf = os.path.join(shelf, os.path.basename(self.disk))
            rename(self.disk, self.shelf)

    def put_back(self):
        if self.shelf:
            rename(self.shelf, self.disk)
            self.shelf = ""

    def move(self, path):
        self.put_back()
        rename(self.disk, os.path.dirname(path))
        self.path = path

    def settled(self):
        """Nothing is in doubt: it must be as its commit has it."""
        return self.unclean == NO and not self.half

    def is_loose(self):
        """Its files may be none that its map means: no source, and all of it is
        compared."""
        return self.copied and (self.unclean != NO or bool(self.half))

    def is_back(self):
        self.may_keep |= self.is_loose()
        self.copied = False

    def own_rows(self):
        return {n: dataclasses.replace(r) for n, r in self.rows.items()}

    def join(self, commit, rows, peers):
        """It is in step, and left in good order."""
        self.is_back()
        self.head = commit
        self.peers = frozenset(peers)
        self.rows = {n: dataclasses.replace(r) for n, r in rows.items()}
        self.unclean = NO
        self.pending = self.half = ()

    def like(self, other):
        """It has become a copy of that one."""
        self.head, self.rows = other.head, other.own_rows()
        self.unclean, self.pending = other.unclean, other.pending
        self.half, self.as_copy = other.half, other.as_copy
        self.peers, self.copied = other.peers, True
        self.may_keep = other.may_keep


@dataclasses.dataclass
class Forecast:
    works: str            # YES, NO, PERHAPS
    why: str = ""
    fork: str = PERHAPS   # may, must it be called one?
    heads: tuple = ()     # commits that may come of it


def follows(copy, commit):
    """YES: nothing on it is newer than @commit; NO: there is, for sure."""
    found = {model.relation(c, commit) for c in (copy.head, *copy.half)}
    if AHEAD in found and all(c.soft for c in model.parted(
            copy.head, commit)[0]):
        found = found - {AHEAD} | {EITHER}
    if copy.half:
        return YES if found <= {model.SAME, model.BEHIND} else PERHAPS
    if found & {FORK, AHEAD}:
        return NO
    return PERHAPS if EITHER in found else YES


def may_have_parted(copy, names):
    """Of a copy of what was in use at a crash nobody can tell that it has done
    nothing in an epoch that only it knows: its files may be newer than its
    map."""
    return copy.copied and copy.unclean != NO and not names <= copy.peers


def beyond_copy(copies):
    """A restored copy does not speak for what came after it was taken, and
    where another one was in use at a crash nobody can tell what that was."""
    return (any(c.copied or c.as_copy for c in copies) and
            any(c.unclean != NO for c in copies))


def leaders(copies):
    """Those of which all others may be a past; and whether that is sure."""
    whole = [c for c in copies if not c.half and not c.is_loose()]
    sure, perhaps = [], []
    for lead in whole:
        said = {follows(c, lead.head) for c in copies if c is not lead}
        if any(not c.half and may_have_parted(c, {lead.name})
               for c in copies if c is not lead):
            said.add(PERHAPS)
        if NO not in said:
            (perhaps if PERHAPS in said else sure).append(lead)
    return sure, perhaps


def missing_from(lead, names):
    """Members that the map of one in use at a crash has online."""
    found = [lead.rows[n].state for n in lead.rows if n not in names]
    if lead.unclean == NO:
        return NO
    if ONLINE in found:
        return lead.unclean
    return PERHAPS if UNKNOWN in found else NO


def forecast(copies, go_on_without=False):
    """What has to come of a mount or a resync of these."""
    names = [c.name for c in copies]
    if len(set(names)) < len(names):
        return Forecast(NO, "two copies of one store", fork=NO)
    sure, perhaps = leaders(copies)
    heads = tuple({c.head for c in sure or perhaps})
    if any(c.is_loose() for c in copies):
        return Forecast(PERHAPS, "a copy of one in use", heads=tuple(
            {h for c in copies for h in (c.head, *c.half)}))
    if not sure and not perhaps:
        if any(c.half for c in copies):
            return Forecast(PERHAPS, "half overwritten", heads=tuple(
                {h for c in copies for h in (c.head, *c.half)}))
        return Forecast(NO, "a fork", fork=YES)
    if not sure or beyond_copy(copies):
        return Forecast(PERHAPS, "a crash alone", heads=tuple(
            {c.head for c in sure + perhaps}))
    if any(n not in lead.rows for n in names for lead in sure):
        return Forecast(PERHAPS, "no member", fork=NO, heads=heads)
    gone = NO if go_on_without else {missing_from(c, names) for c in sure}
    if gone == {YES}:
        return Forecast(NO, "one is missing", fork=NO)
    if gone == NO or gone == {NO}:
        return Forecast(YES, fork=NO, heads=heads)
    return Forecast(PERHAPS, "one may be missing", fork=NO, heads=heads)


def learn(rows, copies, told):
    """Who was added where one was away comes in with it."""
    for copy in copies:
        for name, row in copy.rows.items():
            if name in told:
                rows.setdefault(name, dataclasses.replace(row, state=UNKNOWN))


def possible_trees(copies, heads):
    """(commit, tree, whether it is what was acknowledged)"""
    found = [(head, head.tree, True) for head in heads]
    for copy in copies:
        found += [(base, tree, False) for base, tree in copy.pending
                  if base in heads]
    return found


def merged_rows(copies, commit):
    """What the volume knows of members when it is mounted from these: the
    map of whoever leads says it, and several may."""
    ahead = [c for c in copies if c.head is commit and not c.half] or copies
    rows = ahead[0].own_rows()
    for copy in ahead[1:]:
        for name, row in copy.rows.items():
            mine = rows.setdefault(name, dataclasses.replace(
                row, state=UNKNOWN))
            if mine.state != row.state or mine.hint != row.hint:
                mine.state = UNKNOWN
    # After a crash it may be another one that leads: who has heard the most is
    # the least that is known.
    for copy in copies:
        for name, row in copy.rows.items():
            if name in rows and model.has(row.known, rows[name].known):
                rows[name].known = row.known
    return rows
