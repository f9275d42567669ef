#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a mount asks of its stores' files makes no time finer than the clock's
# tick. Since Linux 6.13 a write takes a stamp of its own when somebody has asked
# for the time of the one before it, on that filesystem, and no other gives an
# older one from then on. Then each write moves a time, and each fsync has an
# inode to write: half the speed of a database.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3

# In memory: many writes within one tick.
for s in a b; do
	mkdir "$s"
	mount -t tmpfs -o size=256M none "$work/$s"
done
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"

python3 - "$mnt" <<'EOF' || fail "see above"
import os, sys, time

mnt = sys.argv[1]
tick = time.clock_getres(5)  # CLOCK_REALTIME_COARSE
fd = os.open(mnt + "/file", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 65536, 0)
os.fsync(fd)
writes, seen = 0, set()
start = time.monotonic()
while writes < 500 or time.monotonic() - start < 10 * tick:
    os.pwrite(fd, b"%08d" % writes, 4096 * (writes % 16))
    os.fsync(fd)
    seen.add(os.fstat(fd).st_mtime_ns)
    writes += 1
passed = time.monotonic() - start
print("%d writes in %.0f ms, ticks of %.0f ms: %d times" %
      (writes, passed * 1e3, tick * 1e3, len(seen)))
# Others on this machine may make the clock finer: twice is not much.
if len(seen) > 2 * passed / tick + 2:
    sys.exit("FAIL: the time moved with nearly each write")
EOF
unmount_volume
same_tree "$work/a" "$work/b"
