# SPDX-License-Identifier: Apache-2.0
"""The random operations of modelops, and those that are hard to bring to a
store that was away: other kinds under one name, the same inode again,
directories that change places, ACLs, files far larger than any disk.
"""

import os
import shutil
import struct

import modelops

HUGE = b"huge"
HUGE_MAX = 1 << 40
ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"


class Tree(modelops.Tree):
    """What is called huge is changed by the operations here alone, which make
    it durable at once."""

    large_xattrs = True
    default_acls = True

    def scan(self):
        super().scan()
        self.huge = [p for p in self.files if HUGE in os.path.basename(p)]
        self.files = [p for p in self.files if p not in self.huge]


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def put(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def retype(t):
    """Another kind of thing under the same name."""
    path, data = t.any_path(), t.rng.randbytes(5000)

    def file(full):
        put(full, data)

    def directory(full):
        os.mkdir(full)
        put(os.path.join(full, b"inside"), data)

    def symlink(full):
        os.symlink(b"target", full)

    def fifo(full):
        os.mkfifo(full, 0o600)
    make = t.rng.choice([file, directory, symlink, fifo])

    def run(full):
        remove(full)
        make(full)
    t.both(f"retype {make.__name__}", run, path)
    t.scan()
    for known in t.files:
        if known.startswith(path):
            t.durable(known)


def recreate(t):
    """ext4 gives the inode's number away at once."""
    path, data = t.any_file(), t.rng.randbytes(t.rng.randrange(9000))

    def run(full):
        os.unlink(full)
        put(full, data)
    t.both("recreate", run, path)
    t.durable(path)


def swap(t):
    """Two names change places by way of a third."""
    one, two = t.any_path(), t.any_path()
    if one == two or one.startswith(two + b"/") or two.startswith(one + b"/"):
        return

    def run(a, b):
        aside = os.path.join(os.path.dirname(a), b".aside")
        os.rename(a, aside)
        os.rename(b, a)
        os.rename(aside, b)
    t.both("r swap", run, one, two)


def turn_over(t):
    """What was below is above: a/b becomes b/a."""
    inner = [d for d in t.dirs[1:] if b"/" in d]
    if not inner:
        return
    below = t.rng.choice(inner)
    above = os.path.dirname(below)
    # Both have a place outside meanwhile.
    place = os.path.dirname(above)

    def run(a, b, where):
        aside = os.path.join(where, b".turned")
        os.rename(b, aside)
        os.rename(a, os.path.join(aside, b".above"))
        os.rename(aside, a)
    t.both("r turn_over", run, above, below, place)


def acl_bytes(rng):
    entries = [(0x01, 6, 0xffffffff)]
    for uid in sorted(rng.sample(range(1000, 1010), rng.randrange(1, 4))):
        entries.append((0x02, rng.randrange(8), uid))
    entries += [(0x04, 4, 0xffffffff), (0x10, rng.randrange(8), 0xffffffff),
                (0x20, rng.randrange(8), 0xffffffff)]
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry) for entry in entries)


def set_acl(t):
    value = acl_bytes(t.rng)
    if t.default_acls and t.rng.random() < 0.4 and len(t.dirs) > 1:
        t.both("default acl", lambda p: os.setxattr(p, DEFAULT_ACL, value),
               t.rng.choice(t.dirs[1:]))
    else:
        t.both("acl", lambda p: os.setxattr(p, ACL, value),
               t.rng.choice(t.files))


def remove_acl(t):
    name = t.rng.choice([ACL, DEFAULT_ACL])
    path = t.rng.choice(t.dirs[1:] or t.files)

    def run(full):
        # Some filesystems have it that it was there, some do not.
        if name in os.listxattr(full):
            os.removexattr(full, name)
    t.both("remove acl", run, path)


def large_xattr(t):
    if not t.large_xattrs: # as large as a block of one of the stores
        return
    value = t.rng.randbytes(t.rng.randrange(600, 2000))
    t.both("large xattr", lambda p: os.setxattr(p, "user.large", value),
           t.rng.choice(t.files + t.dirs))


def huge(t):
    """A few blocks far apart."""
    path = t.rng.choice(t.huge) if t.huge and t.rng.random() < 0.7 else \
        os.path.join(t.rng.choice(t.dirs), HUGE + b"%d" % t.rng.randrange(4))
    at = t.rng.randrange(HUGE_MAX)
    if t.rng.random() < 0.5:
        at &= ~(modelops.BLOCK - 1)
    data = t.rng.randbytes(t.rng.randrange(1, 9000))
    what = t.rng.choice(["write", "write", "punch", "cut"])

    def run(full):
        fd = os.open(full, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            size = os.fstat(fd).st_size
            if what == "write" or size < HUGE_MAX // 2:
                os.pwrite(fd, data, at)
                os.ftruncate(fd, max(size, HUGE_MAX))
            elif what == "punch":
                modelops.fallocate(fd, 3, at & ~4095, 1 << 38)
            else:
                os.ftruncate(fd, max(at, HUGE_MAX // 2))
            os.fsync(fd)
            return os.fstat(fd).st_size
        finally:
            os.close(fd)
    t.both(f"huge {what} {at}", run, path)


def huge_unlink(t):
    if t.huge:
        t.both("huge unlink", os.unlink, t.rng.choice(t.huge))


def whiteout(t):
    """ext4 gives one the directory's default ACL, others do not."""
    for path in t.dirs:
        if DEFAULT_ACL in os.listxattr(os.path.join(t.plain, path)):
            return
    modelops.whiteout(t)


KINDS = [(whiteout if kind is modelops.whiteout else kind, weight)
         for kind, weight in modelops.KINDS] + [
    (retype, 8), (recreate, 8), (swap, 6), (turn_over, 3), (set_acl, 4),
    (remove_acl, 2), (large_xattr, 2), (huge, 5), (huge_unlink, 1),
]
FUNCTIONS = [k for k, _ in KINDS]
WEIGHTS = [w for _, w in KINDS]


def step(t):
    """One random operation."""
    t.scan()
    if not t.files:
        modelops.create(t)
        return
    kind = t.rng.choices(FUNCTIONS, WEIGHTS)[0]
    if kind in modelops.PREALLOCATING and not t.preallocates:
        kind = modelops.write
    if kind in modelops.GROWING and t.full():
        kind = modelops.remove_tree if t.rng.random() < 0.3 \
            else modelops.unlink
    kind(t)
