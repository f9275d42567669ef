# SPDX-License-Identifier: Apache-2.0
"""What both benchmarks share: commands, loop images and their block counters."""
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def log(*a):
    print(time.strftime("%H:%M:%S"), *a, file=sys.stderr, flush=True)


def run(cmd, check=True, timeout=600, **kw):
    """Run CMD (list, or string for the shell); return stdout."""
    r = subprocess.run(cmd, shell=isinstance(cmd, str), text=True, timeout=timeout,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    if check and r.returncode:
        raise RuntimeError("%s: rc %d: %s" % (cmd, r.returncode, (r.stderr or r.stdout)[-400:]))
    return r.stdout


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def wait_for(pred, what, secs=30.0, step=0.05):
    end = time.monotonic() + secs
    while time.monotonic() < end:
        if pred():
            return
        time.sleep(step)
    raise RuntimeError("timed out waiting for " + what)


class Mountpoint:
    """A path that must be unmounted at the end, whatever happens."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)

    def umount(self, lazy_ok=True):
        if not os.path.ismount(self.path):
            return
        for _ in range(40):
            r = subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL)
            if r.returncode == 0 or not os.path.ismount(self.path):
                return
            time.sleep(0.25)
        if lazy_ok:
            log("lazy umount of", os.path.basename(self.path))
            subprocess.run(["umount", "-l", self.path])


class Image:
    """One loop-backed image. Filled with zeros first, so that the host file's
    block allocation is not part of any measurement."""

    def __init__(self, path, size_mib, fill=True):
        self.path, self.dev = path, None
        with open(path, "wb") as f:
            f.truncate(size_mib << 20)
        if fill:
            run(["dd", "if=/dev/zero", "of=" + path, "bs=4M", "conv=notrunc,fsync",
                 "count=%d" % (size_mib // 4), "status=none"])
        self.attach()

    def attach(self):
        try:
            self.dev = run(["losetup", "--direct-io=on", "-f", "--show", self.path]).strip()
            self.dio = True
        except RuntimeError:
            self.dev = run(["losetup", "-f", "--show", self.path]).strip()
            self.dio = False

    def detach(self):
        if self.dev:
            subprocess.run(["losetup", "-d", self.dev])
            self.dev = None

    def stat(self):
        """(bytes read, bytes written, flush requests) so far."""
        with open("/sys/block/%s/stat" % os.path.basename(self.dev)) as f:
            v = [int(x) for x in f.read().split()]
        return v[2] * 512, v[6] * 512, (v[15] if len(v) > 15 else 0)

    def destroy(self):
        self.detach()
        if os.path.exists(self.path):
            os.unlink(self.path)


def stop_proc(p, secs=10):
    """End one process that we started, by its PID."""
    if p is None or p.poll() is not None:
        return
    try:
        p.wait(timeout=1)
        return
    except subprocess.TimeoutExpired:
        pass
    p.terminate()
    try:
        p.wait(timeout=secs)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()


def med(v):
    v = [x for x in v if x is not None]
    return statistics.median(v) if v else None


def machine():
    """What every report begins with."""
    return {"date": time.strftime("%Y-%m-%d"), "kernel": os.uname().release, "cpus": os.cpu_count()}


def save(report, path):
    """As JSON, if PATH is one."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
