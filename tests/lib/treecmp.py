#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare two trees completely and print every difference.

usage: treecmp.py [--no-times] [--no-holes] [--no-root] A B

Names of any bytes, types, contents, modes, owners, modification times in
nanoseconds, extended attributes (ACLs are among them), link groups, symlink
targets, device numbers and hole maps. `.seqmirror` and `lost+found` in the
root are left out. Exit status 0 if equal, 1 if not, 2 on errors.

Hole maps are what SEEK_DATA and SEEK_HOLE say. A range that one side has
written and the other preallocated is no difference: both are mapped, and
when a filesystem writes out preallocated blocks is its own business.
"""

import array
import argparse
import fcntl
import os
import stat
import struct
import sys

BLOCK = 4096
CHUNK = 1 << 20
PRIVATE = {b".seqmirror", b"lost+found"}
FS_IOC_FIEMAP = 0xC020660B
FIEMAP_FLAG_SYNC = 1
FIEMAP_EXTENT_LAST = 1
FIEMAP_COUNT = 256


def show(name):
    """A name of any bytes as text that fits on a line."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def settle(fd):
    """Write out and forget what is cached of a file: in preallocated blocks
    a cached page counts as data."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def seek_map(fd, size):
    """[(start, end)] that SEEK_DATA and SEEK_HOLE call data."""
    ranges = []
    pos = 0
    while pos < size:
        try:
            start = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(fd, start, os.SEEK_HOLE)
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
        pos = end
    return ranges


def fiemap(fd):
    """[(start, end)] that have blocks, preallocated ones too; or None."""
    ranges = []
    pos = 0
    while True:
        buf = array.array("B", struct.pack(
            "=QQIIII", pos, (1 << 63) - 1 - pos, FIEMAP_FLAG_SYNC, 0,
            FIEMAP_COUNT, 0) + bytes(56 * FIEMAP_COUNT))
        try:
            fcntl.ioctl(fd, FS_IOC_FIEMAP, buf, True)
        except OSError:
            return None
        count = struct.unpack_from("=I", buf, 20)[0]
        flags = FIEMAP_EXTENT_LAST
        for i in range(count):
            start, _, length = struct.unpack_from("=QQQ", buf, 32 + 56 * i)
            flags = struct.unpack_from("=I", buf, 32 + 56 * i + 40)[0]
            pos = start + length
            ranges = union(ranges, [(start, pos)])
        if flags & FIEMAP_EXTENT_LAST:
            return ranges


def union(a, b):
    out = []
    for start, end in sorted(a + b):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def subtract(a, b):
    """What is in the sorted ranges a and not in the sorted ranges b."""
    out = []
    i = 0
    for start, end in a:
        while i < len(b) and b[i][1] <= start:
            i += 1
        j = i
        while start < end and j < len(b) and b[j][0] < end:
            if b[j][0] > start:
                out.append((start, b[j][0]))
            start = max(start, b[j][1])
            j += 1
        if start < end:
            out.append((start, end))
    return out


def blocks(ranges):
    """The ranges rounded outwards to whole blocks."""
    return union([(s // BLOCK * BLOCK, -(-e // BLOCK) * BLOCK)
                  for s, e in ranges], [])


def ranges_text(ranges):
    return " ".join(f"{s}-{e}" for s, e in ranges[:6]) + (
        f" and {len(ranges) - 6} more" if len(ranges) > 6 else "")


def xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {n: os.getxattr(path, n, follow_symlinks=False) for n in names
            if not n.startswith("trusted.SGI_ACL_")}  # as xfs shows ACLs


class Reach:
    """Paths of any length: what is too long for one call goes by way of a
    descriptor of the directory."""
    LONG = 3800  # and a name below that

    def __init__(self):
        self.open = {}  # root: (directory, descriptor)

    def directory(self, root, below):
        if self.open.get(root, (None,))[0] != below:
            fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
            for name in below.split(b"/"):
                deeper = os.open(name, os.O_PATH | os.O_DIRECTORY |
                                 os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = deeper
            if root in self.open:
                os.close(self.open[root][1])
            self.open[root] = (below, fd)
        return self.open[root][1]

    def __call__(self, root, path):
        full = os.path.join(root, path)
        if len(full) < self.LONG:
            return full
        below, name = os.path.split(path)
        return b"/proc/self/fd/%d/%s" % (self.directory(root, below), name)


reach = Reach()


def walk(root):
    """{path: lstat} of everything below the root, and b"." for itself."""
    found = {b".": os.lstat(root)}
    todo = [b""]
    while todo:
        below = todo.pop()
        with os.scandir(reach(root, below)) as entries:
            for entry in entries:
                if not below and entry.name in PRIVATE:
                    continue
                path = os.path.join(below, entry.name)
                st = entry.stat(follow_symlinks=False)
                found[path] = st
                if stat.S_ISDIR(st.st_mode):
                    todo.append(path)
    return found


def link_groups(found):
    """{path: first path of its group} for files with several names."""
    groups = {}
    for path in sorted(found):
        st = found[path]
        if not stat.S_ISDIR(st.st_mode):
            groups.setdefault((st.st_dev, st.st_ino), []).append(path)
    return {p: g[0] for g in groups.values() if len(g) > 1 for p in g}


class Compare:
    def __init__(self, a, b, times=True, holes=True, root=True, owners=True):
        self.a = os.fsencode(a)
        self.b = os.fsencode(b)
        self.times = times
        self.holes = holes
        self.root = root
        self.owners = owners
        self.differences = []
        self.seen = set()  # pairs of inodes, of those with several names
        self.files = 0
        self.bytes = 0

    def say(self, path, text):
        self.differences.append(f"{show(path)}: {text}")

    def data(self, path, size):
        fds = []
        try:
            for root in (self.a, self.b):
                fds.append(os.open(reach(root, path),
                                   os.O_RDONLY | os.O_NOFOLLOW))
            maps = [seek_map(fd, size) for fd in fds]
            for start, end in union(*maps):
                self.contents(path, fds, start, end)
            if self.holes and self.one_sided(fds, maps):
                for fd in fds:
                    settle(fd)
                maps = [seek_map(fd, size) for fd in fds]
                self.hole_maps(path, fds, maps)
        finally:
            for fd in fds:
                os.close(fd)

    def contents(self, path, fds, start, end):
        while start < end:
            length = min(CHUNK, end - start)
            one, two = (os.pread(fd, length, start) for fd in fds)
            self.bytes += len(one)
            if one != two:
                at = next((i for i, (x, y) in enumerate(zip(one, two))
                           if x != y), min(len(one), len(two)))
                self.say(path, f"contents differ from byte {start + at}")
                return
            start += length

    @staticmethod
    def one_sided(fds, maps):
        """[("A" or "B", the ranges that only the other one has)]."""
        maps = [blocks(m) for m in maps]
        found = []
        for here, there, which in ((0, 1, "B"), (1, 0, "A")):
            extra = subtract(maps[here], maps[there])
            if extra:
                extra = subtract(extra, blocks(fiemap(fds[there]) or []))
            if extra:
                found.append((which, extra))
        return found

    def hole_maps(self, path, fds, maps):
        for which, extra in self.one_sided(fds, maps):
            self.say(path, f"a hole in {which} only: {ranges_text(extra)}")

    def regular(self, path, st, other):
        if st.st_size != other.st_size:
            self.say(path, f"size {st.st_size} and {other.st_size}")
        else:
            self.data(path, st.st_size)

    def one(self, path, st, other):
        if stat.S_IFMT(st.st_mode) != stat.S_IFMT(other.st_mode):
            self.say(path, f"type {stat.S_IFMT(st.st_mode):o} and "
                     f"{stat.S_IFMT(other.st_mode):o}")
            return
        kind = stat.S_IFMT(st.st_mode)
        self.files += 1
        if kind != stat.S_IFDIR and st.st_nlink > 1:
            pair = (st.st_dev, st.st_ino, other.st_dev, other.st_ino)
            if pair in self.seen:
                return
            self.seen.add(pair)
        if st.st_mode != other.st_mode:
            self.say(path, f"mode {st.st_mode:o} and {other.st_mode:o}")
        if self.owners and (st.st_uid, st.st_gid) != (
                other.st_uid, other.st_gid):
            self.say(path, f"owner {st.st_uid}:{st.st_gid} and "
                     f"{other.st_uid}:{other.st_gid}")
        if self.times and st.st_mtime_ns != other.st_mtime_ns:
            self.say(path, f"mtime {st.st_mtime_ns} and {other.st_mtime_ns}")
        full = [reach(root, path) for root in (self.a, self.b)]
        if kind != stat.S_IFDIR and st.st_nlink != other.st_nlink:
            self.say(path, f"links {st.st_nlink} and {other.st_nlink}")
        one, two = xattrs(full[0]), xattrs(full[1])
        if one != two:
            self.say(path, f"xattrs {one} and {two}")
        if kind == stat.S_IFREG:
            self.regular(path, st, other)
        elif kind == stat.S_IFLNK:
            one, two = os.readlink(full[0]), os.readlink(full[1])
            if one != two:
                self.say(path, f"target {show(one)} and {show(two)}")
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            if st.st_rdev != other.st_rdev:
                self.say(path, f"device {st.st_rdev:x} and {other.st_rdev:x}")

    def run(self):
        found, other = walk(self.a), walk(self.b)
        if not self.root:
            del found[b"."], other[b"."]
        for path in sorted(found.keys() | other.keys()):
            if path not in other:
                self.say(path, "only in A")
            elif path not in found:
                self.say(path, "only in B")
            else:
                self.one(path, found[path], other[path])
        one, two = link_groups(found), link_groups(other)
        for path in sorted(one.keys() | two.keys()):
            if path in found and path in other and (
                    one.get(path) != two.get(path)):
                self.say(path, "belongs to another group of links")
        return self.differences


def main():
    parser = argparse.ArgumentParser(
        description="Compare two trees completely.")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--no-holes", action="store_true")
    parser.add_argument("--no-root", action="store_true",
                        help="not the attributes of the roots themselves")
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    args = parser.parse_args()
    compare = Compare(args.a, args.b, not args.no_times, not args.no_holes,
                      not args.no_root)
    try:
        differences = compare.run()
    except OSError as error:
        print(f"treecmp: {error}", file=sys.stderr)
        return 2
    if not differences:
        print(f"equal: {compare.files} entries, {compare.bytes} bytes")
        return 0
    print(f"A is {args.a}, B is {args.b}")
    print("\n".join(differences))
    print(f"{len(differences)} differences")
    return 1


if __name__ == "__main__":
    sys.exit(main())
