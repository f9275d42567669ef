# SPDX-License-Identifier: Apache-2.0
"""Who is compared. dirs: where the workload runs, more than one: at once in all
of them. images: whose block counters are read."""
import os
import shutil
import subprocess

from common import Image, Mountpoint, drop_caches, log, run, stop_proc, wait_for
from gluster import Gluster

URING = "/sys/module/fuse/parameters/enable_uring"


class Contender:
    """The native filesystem: plain ext4 on the first image."""
    text = "ext4, one disk"

    def __init__(self, name, place):
        self.name, self.place = name, place
        self.a, self.b = (os.path.join(top, name) for top in place.tops)
        self.images = place.images
        self.dirs = []

    def setup(self):
        os.makedirs(self.a)
        os.makedirs(self.b)
        self.dirs = [self.a]

    def cold(self):
        drop_caches()

    def skips(self, _workload):
        return False

    def replicas(self):
        """Two directories that must hold the same plain files, if any."""
        return None

    def teardown(self):
        pass


class Dualwrite(Contender):
    """The physical floor of a mirror."""
    text = "the same work on two disks at once"

    def setup(self):
        super().setup()
        self.dirs = [self.a, self.b]

    def skips(self, workload):
        return not workload.write


class Mounted(Contender):
    """What a command mounts and serves in the foreground."""
    mount = ()

    def setup(self):
        super().setup()
        self.mnt = Mountpoint(os.path.join(self.place.work, "mnt-" + self.name))
        self.log = open(os.path.join(self.place.work, self.name + ".log"), "wb")
        self.before()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            wait_for(lambda: os.path.ismount(self.mnt.path) or self.process.poll() is not None, "mount")
            if not os.path.ismount(self.mnt.path):
                with open(self.log.name, encoding="utf-8") as file:
                    raise RuntimeError("mount: " + file.read()[-300:])
            self.after()
        except BaseException:
            self.teardown()
            raise
        self.dirs = [self.mnt.path]

    def before(self):
        pass

    def after(self):
        pass

    def teardown(self):
        self.mnt.umount()
        stop_proc(self.process)
        self.log.close()


class Seqmirror(Mounted):
    text = "two stores"
    options = "io_uring=off"

    def before(self):
        run([self.place.program, "init", "--name", "a,b", self.a, self.b])

    def command(self):
        return [self.place.program, "mount", "-f", "-o", self.options, self.a, self.b, self.mnt.path]

    def replicas(self):
        return self.a, self.b


class SeqmirrorUring(Seqmirror):
    text = "two stores, requests by io_uring"
    options = "io_uring=on"

    def before(self):
        with open(URING, encoding="ascii") as file:
            self.was = file.read().strip()
        with open(URING, "w", encoding="ascii") as file:
            file.write("Y")
        super().before()

    def teardown(self):
        super().teardown()
        with open(URING, "w", encoding="ascii") as file:
            file.write(self.was)


class SeqmirrorDegraded(Seqmirror):
    text = "two stores, one of them away"

    def after(self):
        wait_for(lambda: subprocess.run([self.place.program, "status", self.mnt.path],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                                        ).returncode == 0, "status")
        run([self.place.program, "detach", self.mnt.path, "b"])

    def replicas(self):
        return None


class Mergerfs(Mounted):
    text = "FUSE, pools disks, no mirror"

    def before(self):
        if not shutil.which("mergerfs"):
            raise RuntimeError("mergerfs is not installed")

    def command(self):
        return ["mergerfs", "-f", "-o", "allow_other,minfreespace=64M,category.create=ff,fsname=m",
                self.a + ":" + self.b, self.mnt.path]


class Fuse(Mounted):
    """What FUSE alone costs: libfuse's own example, with all that it can cache."""
    text = "FUSE alone, one disk, no mirror"
    source = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"

    def before(self):
        if not os.path.exists(self.source):
            raise RuntimeError("libfuse's passthrough_ll.c is not there")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True,
                               stdout=subprocess.PIPE, text=True).stdout.split()
        self.program = os.path.join(self.place.work, "passthrough_ll")
        run(["cc", "-O2", "-w", "-o", self.program, self.source] + flags)

    def command(self):
        return [self.program, "-f", "-o",
                "source=%s,writeback,xattr,flock,cache=always,timeout=3600,allow_other" % self.a,
                self.mnt.path]


class Btrfs(Contender):
    text = "in the kernel, raid1"

    def setup(self):
        self.own = [Image(os.path.join(self.place.work, "btrfs-%s.img" % name), self.place.image_mib,
                          self.place.fill) for name in "ab"]
        self.mnt = Mountpoint(os.path.join(self.place.work, "mnt-btrfs"))
        try:
            run(["mkfs.btrfs", "-q", "-K", "-f", "-d", "raid1", "-m", "raid1"] + [i.dev for i in self.own])
            run(["btrfs", "device", "scan"] + [i.dev for i in self.own])
            run(["mount", "-o", "nodiscard,noatime", self.own[0].dev, self.mnt.path])
        except BaseException:
            self.teardown()
            raise
        self.dirs, self.images = [self.mnt.path], self.own

    def teardown(self):
        self.mnt.umount()
        for image in self.own:
            image.destroy()


class Glusterfs(Contender):
    text = "replica 2 on loopback"

    def setup(self):
        if not shutil.which("glusterd"):
            raise RuntimeError("glusterfs-server is not installed")
        super().setup()
        work = os.path.join(self.place.work, "gluster")
        os.makedirs(work, exist_ok=True)
        self.gluster = Gluster(work, self.a + "/brick", self.b + "/brick")
        try:
            self.gluster.start()
        except BaseException:
            self.gluster.stop()
            raise
        os.mkdir(self.gluster.mnt.path + "/d")
        self.dirs = [self.gluster.mnt.path + "/d"]

    def cold(self):
        self.gluster.remount()  # it caches in its own processes too
        drop_caches()

    def replicas(self):
        return self.a + "/brick/d", self.b + "/brick/d"

    def teardown(self):
        self.gluster.stop()


KINDS = {
    "native": Contender,
    "dualwrite": Dualwrite,
    "seqmirror": Seqmirror,
    "seqmirror-uring": SeqmirrorUring,
    "seqmirror-degraded": SeqmirrorDegraded,
    "btrfs-raid1": Btrfs,
    "fuse": Fuse,
    "mergerfs": Mergerfs,
    "glusterfs": Glusterfs,
}


class Place:
    """Two ext4 images, mounted; what contenders share."""

    def __init__(self, work, program, image_mib, fill):
        self.work, self.program, self.image_mib, self.fill = work, program, image_mib, fill
        self.images, self.mounts, self.tops = [], [], []

    def setup(self):
        for name in "AB":
            image = Image(os.path.join(self.work, name + ".img"), self.image_mib, self.fill)
            self.images.append(image)
            run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", image.dev])
            mount = Mountpoint(os.path.join(self.work, name))
            self.mounts.append(mount)
            run(["mount", "-o", "noatime", image.dev, mount.path])
            self.tops.append(mount.path)

    def teardown(self):
        for mount in reversed(self.mounts):
            mount.umount()
        for image in self.images:
            image.destroy()
        if any(os.path.ismount(os.path.join(self.work, x)) for x in os.listdir(self.work)):
            log("left behind for inspection:", self.work)
        else:
            shutil.rmtree(self.work, ignore_errors=True)
