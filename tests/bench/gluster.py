# SPDX-License-Identifier: Apache-2.0
"""GlusterFS: a replicated volume of two bricks in a network namespace that has
a loopback interface and nothing else."""
import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree

from common import Mountpoint, run, stop_proc, wait_for


class Gluster:
    """glusterd, a replica-2 volume and a FUSE client in a network namespace
    of their own that has a loopback interface and nothing else."""

    VOL = "benchvol"

    def __init__(self, work, brick_a, brick_b):
        self.work, self.bricks = work, (brick_a, brick_b)
        self.ns = self.daemon = self.client = None
        self.mnt = Mountpoint(os.path.join(work, "mnt"))
        self.wd = os.path.join(work, "gd")
        self.sock = os.path.join(work, "gd.sock")
        self.host = "127.0.0.2"

    def nsrun(self, cmd):
        return ["nsenter", "-t", str(self.ns.pid), "-n"] + cmd

    def cli(self, *args, check=True, timeout=120):
        return run(self.nsrun(["gluster", "--mode=script", "--glusterd-sock=" + self.sock] + list(args)),
                   check=check, timeout=timeout)

    def start(self):
        self.ns = subprocess.Popen(["unshare", "-n", "sleep", "86400"])
        me = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink("/proc/%d/ns/net" % self.ns.pid) != me, "network namespace")
        run(self.nsrun(["ip", "link", "set", "lo", "up"]))
        os.makedirs(self.wd, exist_ok=True)
        vf = os.path.join(self.work, "glusterd.vol")
        with open(vf, "w") as f:
            f.write("volume management\n    type mgmt/glusterd\n"
                    "    option working-directory %s\n    option transport-type socket\n"
                    "    option run-directory %s/run\n"
                    "    option glusterd-sockfile %s\n"
                    "    option transport.socket.listen-port 24007\n"
                    "    option ping-timeout 0\n    option event-threads 1\n"
                    "end-volume\n" % (self.wd, self.work, self.sock))
        os.makedirs(os.path.join(self.work, "run"), exist_ok=True)
        self.daemon = subprocess.Popen(
            self.nsrun(["glusterd", "-N", "-f", vf, "-l", os.path.join(self.work, "glusterd.log"),
                        "-p", os.path.join(self.work, "glusterd.pid")]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: subprocess.run(self.nsrun(
            ["gluster", "--mode=script", "--glusterd-sock=" + self.sock, "volume", "list"]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0, "glusterd", 40, 0.3)
        for b in self.bricks:
            os.makedirs(b, exist_ok=True)
        self.cli("volume", "create", self.VOL, "replica", "2",
                 "%s:%s" % (self.host, self.bricks[0]), "%s:%s" % (self.host, self.bricks[1]), "force")
        self.cli("volume", "start", self.VOL)
        self.mount()

    def mount(self):
        self.client = subprocess.Popen(
            self.nsrun(["glusterfs", "-N", "--volfile-server=" + self.host, "--volfile-id=/" + self.VOL,
                        "-l", os.path.join(self.work, "client.log"), self.mnt.path]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.ismount(self.mnt.path), "client mount", 30)

        def usable():
            try:
                os.statvfs(self.mnt.path)
                t = os.path.join(self.mnt.path, ".probe")
                open(t, "w").close()
                os.unlink(t)
                return True
            except OSError:
                return False
        wait_for(usable, "usable volume", 30, 0.2)

    def remount(self):
        self.mnt.umount()
        stop_proc(self.client)
        self.mount()

    def brick_pids(self):
        """[(brick path, pid)], pid 0 when down."""
        out = self.cli("volume", "status", self.VOL, "--xml")
        res = []
        for n in ElementTree.fromstring(out).iter("node"):
            path, pid = n.findtext("path"), n.findtext("pid")
            if path in self.bricks:
                res.append((path, int(pid) if pid and pid.isdigit() and int(pid) > 0 else 0))
        return res

    def all_pids(self):
        """Every process that lives in our namespace, except the holder."""
        me = os.readlink("/proc/%d/ns/net" % self.ns.pid)
        pids = []
        for d in os.listdir("/proc"):
            if d.isdigit() and int(d) != self.ns.pid:
                try:
                    if os.readlink("/proc/%s/ns/net" % d) == me:
                        pids.append(int(d))
                except OSError:
                    pass
        return pids

    def stop(self):
        try:
            self.mnt.umount()
            stop_proc(self.client)
            if self.daemon and self.daemon.poll() is None:
                try:
                    self.cli("volume", "stop", self.VOL, "force", check=False, timeout=60)
                except subprocess.TimeoutExpired:
                    pass
            stop_proc(self.daemon)
            if self.ns and self.ns.poll() is None:
                for sig in (signal.SIGTERM, signal.SIGKILL):
                    for pid in self.all_pids():
                        try:
                            os.kill(pid, sig)
                        except ProcessLookupError:
                            pass
                    for _ in range(20):
                        if not self.all_pids():
                            break
                        time.sleep(0.2)
        finally:
            if self.ns:
                self.ns.kill()
                self.ns.wait()
