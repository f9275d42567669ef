# SPDX-License-Identifier: Apache-2.0
"""Stores on loop-mounted images that lose their power.

The shutdown ioctl of ext4 and xfs aborts the journal without flushing it, and
no dirty page is ever written; whatever was not synced is gone when the image
is mounted again. btrfs has none: its image lies on a faultyfs ($FAULTYFS), and
every call to the disk fails from that moment on.
"""

import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import threading

import powermodel
from rigs import Failure, wait_for

IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = struct.pack("=I", 2)
MS_NOATIME = 1024
# xfs makes no smaller one.
SIZE_MIB = {"ext4": 160, "xfs": 320, "btrfs": 320}
MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-N",
                 "2000", "-J", "size=4", "-E", "lazy_itable_init=1"],
        "xfs": ["mkfs.xfs", "-q", "-f"],
        "btrfs": ["mkfs.btrfs", "-q", "-f"]}
# btrfs loses synced names by itself otherwise: crash/plain_btrfs.py shows it.
OPTIONS = {"ext4": "", "xfs": "", "btrfs": "notreelog"}
libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


class Image:
    """A store on a filesystem of its own."""

    def __init__(self, work, name, kind):
        self.name = name
        self.kind = kind
        self.path = os.path.join(work, name)
        self.image = self.path + ".img"
        self.disk = None
        os.mkdir(self.path)
        self.device = None
        try:
            self.make()
        except BaseException:
            self.remove()
            raise

    def make(self):
        if self.kind == "btrfs":
            self.start_disk()
        with open(self.image, "wb") as file:
            file.truncate(SIZE_MIB[self.kind] << 20)
        self.device = subprocess.run(
            ["losetup", "--show", "-f", self.image], check=True,
            stdout=subprocess.PIPE, text=True).stdout.strip()
        self.format()

    def start_disk(self):
        below, shown = self.path + ".below", self.path + ".disk"
        os.mkdir(below)
        os.mkdir(shown)
        self.image = os.path.join(shown, "img")
        self.disk = subprocess.Popen([os.environ["FAULTYFS"], below, shown],
                                     start_new_session=True)
        wait_for("faultyfs", 10, lambda: os.path.ismount(shown))

    def tell_disk(self, rule):
        with open(os.path.join(os.path.dirname(self.image), ".faultyfs"),
                  "w") as control:
            control.write(rule)

    def format(self):
        done = subprocess.run([*MKFS[self.kind], self.device],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"mkfs of {self.name}: {done.stderr.strip()}")
        self.mount()
        if self.kind == "ext4":
            os.rmdir(os.path.join(self.path, "lost+found"))

    def mount(self):
        check(libc.mount(self.device.encode(), self.path.encode(),
                         self.kind.encode(), MS_NOATIME,
                         OPTIONS[self.kind].encode()),
              f"mount {self.name}")

    def umount(self):
        """Whoever used it is dead or has let go of it, or does so soon. It need
        not be mounted: what is off cannot be asked."""
        def done():
            if not libc.umount2(self.path.encode(), 0):
                return True
            if ctypes.get_errno() == errno.EINVAL:
                return True
            if ctypes.get_errno() != errno.EBUSY:
                check(1, f"umount {self.name}")
            return False
        wait_for(f"umount of {self.name}", 10, done)

    def power_off(self):
        if self.disk:
            self.tell_disk("fail read,write,fsync,fallocate EIO")
            return
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.EIO:  # off already
                raise
            return
        try:
            fcntl.ioctl(fd, IOC_SHUTDOWN, NOLOGFLUSH)
        finally:
            os.close(fd)

    def is_off(self):
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.EIO:  # an xfs does not even let it be opened
                raise
            return True
        try:
            os.fsync(fd)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def again(self):
        """What a machine does that has power again. Who copied all mounts
        (unshare, a service that starts) keeps the old one for a while; an
        ext4 or xfs is then off as before, a btrfs cannot be mounted."""
        def on():
            self.umount()
            if self.disk:
                self.tell_disk("clear")
            try:
                self.mount()
            except OSError as error:
                if self.kind != "btrfs" or error.errno != errno.EINVAL:
                    raise
                return False
            return not self.is_off()
        wait_for(f"power of {self.name}", 30, on)

    def remove(self):
        self.umount()
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=True)
        if os.path.exists(self.image):
            os.unlink(self.image)
        if self.disk:
            check(libc.umount2(os.path.dirname(self.image).encode(), 0),
                  "umount of faultyfs")
            self.disk.wait(10)


class EarlyWriter(threading.Thread):
    """Writes some of what is dirty below, as the kernel may at any time."""

    def __init__(self, rig, rng):
        super().__init__(daemon=True)
        self.rig = rig
        self.rng = rng
        self.end = threading.Event()

    def files(self, root):
        return [os.path.join(below, name) for below, dirs, names in
                os.walk(root) if not below.endswith(".seqmirror")
                for name in names
                if ".seqmirror" not in below]

    def step(self):
        store = self.rng.choice(self.rig.stores)
        if self.rng.random() < 0.1:
            fd = os.open(store.path, os.O_RDONLY)
            try:
                check(libc.syncfs(fd), "syncfs")
            finally:
                os.close(fd)
            return
        files = self.files(store.path)
        if not files:
            return
        fd = os.open(self.rng.choice(files), os.O_RDWR)
        try:
            first = self.rng.randrange(powermodel.BLOCKS) * 4096
            # SYNC_FILE_RANGE_*: wait, write, wait.
            check(libc.sync_file_range(
                fd, ctypes.c_int64(first),
                ctypes.c_int64(4096 * self.rng.randrange(1, 8)), 7),
                "sync_file_range")
        finally:
            os.close(fd)

    def run(self):
        while not self.end.wait(self.rng.random() * 0.05):
            try:
                self.step()
            except OSError:
                # The file is gone, or the filesystem.
                continue
