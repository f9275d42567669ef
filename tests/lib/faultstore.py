# SPDX-License-Identifier: Apache-2.0
"""Stores that fail as they are told, how they fail, and whether they are equal;
for crash/fault_series.py."""

import ctypes
import os
import subprocess
import time

import faultmodel
import storecheck
import treecmp
from powerimage import Image
from rigs import wait_for

MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)

# Names of the application's files, and those of maps.
OURS, MAPS = "[ftsxd]*", "meta.db*"
CALLS = ["write", "read", "fsync", "create", "mknod", "mkdir", "unlink",
         "rmdir", "symlink", "link", "rename", "setattr", "setxattr",
         "removexattr", "fallocate", "open", "lookup", "getattr", "opendir",
         "readdir", "readlink", "getxattr", "listxattr", "lseek", "statfs",
         "write,fsync", "modify", "sync", "rename,link,unlink", "all",
         "read,getattr,lookup"]
# Which a full disk answers so, and nothing was destroyed elsewhere by then.
TAKING = ["write", "create", "mkdir", "mknod", "symlink", "link", "setxattr",
          "write,create", "create,mkdir,symlink,link,mknod"]
HARD = ["EIO", "EIO", "EIO", "EIO", "EROFS", "ENODEV", "ESTALE"]
SPACE = ["ENOSPC", "ENOSPC", "EDQUOT"]


class Store:
    """On an image of its own, perhaps below a faultyfs."""

    def __init__(self, work, name, faulty, scarce, kind):
        self.name = name
        self.faulty = faulty
        self.scarce = scarce
        self.server = None
        self.control = -1
        self.image = Image(work, name + ".fs", kind)
        self.below = os.path.join(self.image.path, "store")
        os.mkdir(self.below)
        if scarce:
            self.fill()
        self.path = os.path.join(work, name) if faulty else self.below
        if faulty:
            self.start()

    def fill(self):
        """So little room is left that "no space" is believed."""
        fd = os.open(os.path.join(self.image.path, "filler"),
                     os.O_CREAT | os.O_WRONLY, 0o600)
        v = os.fstatvfs(fd)
        faultmodel.fallocate(fd, 0, 0,
                             v.f_bavail * v.f_frsize - (56 << 20))
        os.close(fd)

    def start(self):
        os.mkdir(self.path)
        self.server = subprocess.Popen(
            [os.environ["FAULTYFS"], self.below, self.path],
            start_new_session=True)
        wait_for("faultyfs", 10, lambda: os.path.ismount(self.path))
        # To be looked up it would wait for the directory's lock.
        self.control = os.open(os.path.join(self.path, ".faultyfs"), os.O_RDWR)

    def command(self, text):
        os.pwrite(self.control, text.encode(), 0)

    def hits(self):
        """[(how often it struck, the rule)]"""
        text = os.pread(self.control, 1 << 16, 0).decode()
        return [(int(line[5:line.index(" ")]), line.split(" ", 2)[2])
                for line in text.splitlines()]

    def remove(self):
        if self.server:
            if self.control >= 0:
                self.command("clear")
                os.close(self.control)
            end = time.monotonic() + 10
            while libc.umount2(self.path.encode(), 0) and (
                    ctypes.get_errno() != errno.EINVAL):
                if time.monotonic() > end:
                    libc.umount2(self.path.encode(), MNT_DETACH)
                    self.server.kill()
                    break
                time.sleep(0.02)
            self.server.wait(10)
        self.image.remove()


class Equal(treecmp.Compare):
    """Two stores. Where a store could not say what is mapped, it counts as
    written: both maps say so then, and one has zeros where the other has a
    hole. What xfs and btrfs allocate by themselves is not compared: the one
    ahead of the end, the other the last block of a file that gets longer."""

    def __init__(self, a, b, settled):
        holes = settled and a.image.kind == b.image.kind == "ext4"
        super().__init__(a.below, b.below, times=settled, holes=holes)
        self.maps = [storecheck.Map(s.below) for s in (a, b)] if holes else []

    def mapped(self, path):
        found = []
        for rows in self.maps:
            node = storecheck.ROOT
            for name in path.split(b"/"):
                node = rows.dentries[node][name][0]
            found.append(rows.mapped(node))
        return found

    def hole_maps(self, path, fds, maps):
        before = len(self.differences)
        super().hole_maps(path, fds, maps)
        if len(self.differences) == before:
            return
        both = [treecmp.blocks(m) for m in maps]
        extra = treecmp.union(treecmp.subtract(both[0], both[1]),
                              treecmp.subtract(both[1], both[0]))
        known = self.mapped(path)
        if all(not treecmp.subtract(extra, m) for m in known):
            del self.differences[before:]
        else:
            self.say(path, f"mapped {known[0]} and {known[1]}")


class Rules:
    """Commands for a faultyfs, by the kind of a run."""

    def how_often(self, rng):
        times = rng.choice([0, 0, 1, 1, 1, 2, 3, 10])
        return (f"after {rng.choice([0, 0, 0, 1, 3, 10, 40])} " +
                (f"times {times} " if times else "") +
                ("late " if rng.random() < 0.25 else ""))

    def rule_hard(self, rng):
        name = rng.choice(["", "", OURS, OURS, "f*", MAPS, "limbo"])
        return self.on_time(self.how_often(rng) +
                            f"fail {rng.choice(CALLS)} {rng.choice(HARD)} "
                            f"{name}")

    def on_time(self, rule):
        """The kernel does a call again that is told to be stale: the second
        time it would find what the first has left. Who has no room has done
        nothing."""
        late = not any(e in rule for e in ["ESTALE", *SPACE])
        return rule if late else rule.replace("late ", "")

    rule_all = rule_hard

    def rule_last(self, rng):
        if rng.random() < 0.5:
            return self.rule_hard(rng)
        return (f"after {rng.choice([0, 0, 1, 3, 10])} "
                f"times {rng.choice([1, 1, 2, 3])} fail "
                f"{rng.choice(['modify', 'write', 'sync', 'write,fsync'])} "
                f"EIO {rng.choice(['', '', MAPS])}")

    def rule_map(self, rng):
        name = rng.choice([MAPS, "meta.db", "meta.db-wal"])
        calls = rng.choice(["write", "fsync", "read", "write,fsync", "all"])
        errors = HARD + SPACE
        return self.on_time(self.how_often(rng) +
                            f"fail {calls} {rng.choice(errors)} {name}")

    def rule_space(self, rng):
        return (self.how_often(rng).replace("late ", "") +
                f"fail {rng.choice(TAKING)} {rng.choice(SPACE)} {OURS}")

    def rule_dying(self, rng):
        calls = rng.choice(TAKING + ["modify", "rename", "setattr", "fsync",
                                     "fallocate"])
        name = rng.choice(["", OURS])
        return (self.how_often(rng).replace("late ", "") +
                f"fail {calls} {rng.choice(SPACE)} {name}")

    def rule_hang(self, rng):
        return f"hang {rng.choice(CALLS)} {rng.choice(['', OURS, MAPS])}"

    def rule_slow(self, rng):
        return f"delay {rng.choice(CALLS)} {rng.choice([1, 5, 20, 60])}"
