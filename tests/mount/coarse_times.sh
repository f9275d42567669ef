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

rc=0
python3 - "$mnt" <<'EOF' || rc=$?
import os, sys, time

TICK = time.clock_getres(5)  # CLOCK_REALTIME_COARSE
WRITES = 500

fd = os.open(sys.argv[1] + "/file", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 65536, 0)
os.fsync(fd)
fast = False
# Anybody on this machine may make the clock finer for a while: it is enough
# that it is coarse once. A daemon that does it does it each time.
for _ in range(20):
    seen = set()
    start = time.monotonic()
    for i in range(WRITES):
        os.pwrite(fd, b"%08d" % i, 4096 * (i % 16))
        os.fsync(fd)
        seen.add(os.fstat(fd).st_mtime_ns)
    passed = time.monotonic() - start
    print("%d writes in %.0f ms, ticks of %.0f ms: %d times" %
          (WRITES, passed * 1e3, TICK * 1e3, len(seen)))
    if passed / WRITES > TICK / 4:
        continue  # each has a tick of its own, nearly
    fast = True
    if len(seen) < WRITES / 2:
        sys.exit(0)
sys.exit(1 if fast else 77)
EOF
((rc != 77)) || skip "writes take as long as the clock's ticks here"
((rc == 0)) || fail "the time moved with nearly each write"
unmount_volume
same_tree "$work/a" "$work/b"
