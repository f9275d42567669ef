#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Sparse files as large as any may be, with something in their last blocks: they
# are mirrored, resynced, recovered, compared and checked like others, in no time.
# What is larger still has no place in a map, and is not taken in.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need_fs xfs

image a 320 xfs
image b 320 xfs

# write MODE: changes files below the mount.
write()
{
	python3 - "$mnt" "$1" <<'EOF'
import ctypes, errno, os, sys

where, mode = sys.argv[1:]
END = (2**63 - 1) & ~4095
libc = ctypes.CDLL(None, use_errno=True)


def opened(name):
    return os.open(f"{where}/{name}", os.O_RDWR | os.O_CREAT)


def allocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)):
        return ctypes.get_errno()
    return 0


last, middle, hole = opened("last"), opened("middle"), opened("hole")
if mode == "first":
    for size in 2**62, END, END - 4096, 12345, END - 1:
        os.ftruncate(last, size)
        assert os.fstat(last).st_size == size
    for off in 0, 2**40, 2**62 + 77, END - 4096, END - 11:
        assert os.pwrite(last, b"0123456789", off) == 10
    assert allocate(last, 3, 2**62, 2**40) == 0
    assert allocate(last, 3, 1, 2**62 - 1) == 0
    assert allocate(last, 0x10, END - 8192, 4096) == 0
    assert allocate(last, 3, END - 4096, 4097) == errno.EFBIG
    assert allocate(last, 0x10, END - 4096, 8192) == errno.EFBIG
    assert allocate(last, 0, 0, 2**62) == errno.ENOSPC
    os.ftruncate(middle, 2**62 + 1)
    os.pwrite(middle, b"m" * 100000, 2**61)
    os.ftruncate(hole, END)
elif mode == "away":
    os.pwrite(last, b"new", END - 5)
    os.ftruncate(middle, 2**61 + 5000)
    os.ftruncate(middle, END)
    os.ftruncate(hole, 3)
else:
    os.ftruncate(last, 2**62)
    os.pwrite(last, b"late", 2**62 + 4096)
    os.pwrite(hole, b"late", END - 4)
for fd in last, middle, hole:
    os.fsync(fd)
EOF
}

# same: what no comparison that reads all of it would end with.
same()
{
	timeout 60 "$SEQMIRROR" scrub --wait --restart "$mnt" >scrub.txt ||
		fail "scrub: status $?: $(<scrub.txt)"
	grep -q '^4 nodes compared' scrub.txt || fail "$(<scrub.txt)"
}

mkdir a/s b/s
sm init --name a,b "$work/a/s" "$work/b/s" >/dev/null
mount_volume "$work/a/s" "$work/b/s"
write first
same
detach b
write away
attach b
same
write killed
kill_daemon
mount_volume "$work/a/s" "$work/b/s"
wait_until 60 store_is b online
same
unmount_volume
for store in a b; do
	timeout 60 "$SEQMIRROR" check "$work/$store/s" >/dev/null ||
		fail "check $store: status $?"
done

# Beyond that only a filesystem's own hands get. Whoever meets such a file says
# so, or takes what the others have, and goes on.
far()
{
	python3 - "$1" <<'EOF'
import os, sys

fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 2**63 - 1)
os.pwrite(fd, b"far", 2**63 - 4)
os.fsync(fd)
EOF
}

far b/s/hole
! timeout 60 "$SEQMIRROR" check "$work/b/s" >check.txt 2>&1 ||
	fail "check found nothing"
grep -q 'hole' check.txt || fail "$(<check.txt)"
mount_volume "$work/a/s" "$work/b/s"
! timeout 60 "$SEQMIRROR" scrub --wait --restart "$mnt" >scrub.txt 2>&1 ||
	fail "the scrub found nothing"
timeout 60 "$SEQMIRROR" scrub --repair --prefer a --wait --restart "$mnt" \
	>scrub.txt 2>&1 || fail "repair: status $?: $(<scrub.txt)"
eq "size of hole, repaired" "$(stat -c %s b/s/hole)" "$(stat -c %s a/s/hole)"
detach b
far b/s/hole
far b/s/middle
write away
sm attach --wait --rebuild "$mnt" b >/dev/null
attach b
rm -r b/s/.seqmirror/meta.*
unmount_volume
sm check --rebuild "$work/b/s" >/dev/null || :
mount_volume "$work/a/s"
far b/s/middle
sm attach --wait --rebuild "$mnt" "$work/b/s" >/dev/null
same
unmount_volume
eq "size of middle, rebuilt" "$(stat -c %s b/s/middle)" "$(stat -c %s a/s/middle)"

mount_volume "$work/a/s" "$work/b/s"
write killed
kill_daemon
far a/s/hole
far b/s/hole
mount_volume "$work/a/s" "$work/b/s"
wait_until 60 store_is b online
unmount_volume

mkdir a/c b/c
far a/c/far
! sm init "$work/a/c" "$work/b/c" 2>refused.err ||
	fail "a file without a place in a map was taken in"
grep -q 'too large: far' refused.err || fail "$(<refused.err)"
[[ ! -e a/c/.seqmirror ]] || fail "half a store is left"
