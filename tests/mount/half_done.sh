#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The last store did something, called it an error, and does not answer what it
# has done, so that it has names which nobody knows until the next mount. To rename another name of a file to such a
# link is nothing to do for a filesystem, and leaves both: here the old one has to
# go. And what is removed or replaced is the file that was meant, or nothing.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# Not mv(1): it asks with RENAME_NOREPLACE first, and hears of what is not there.
move()
{
	python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$@"
}

faulty a
mkdir b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/d" "$mnt/e"
echo one >"$mnt/d/x"
sync "$mnt/d/x"
detach b
faults a late fail link EIO
faults a then fail lookup EIO y
! ln "$mnt/d/x" "$mnt/e/y" 2>/dev/null || fail "no error was told"
faults a clear
[[ -e a.below/e/y ]] || fail "the link was not made"
grep -q 'does not say what it has done: link' "$daemon_log" ||
	fail "nothing is said of it"
[[ ! -e $mnt/e/y ]] || fail "the link is known"
move "$mnt/d/x" "$mnt/e/y"
eq "d" "$(ls "$mnt/d")" ""
eq "e" "$(ls "$mnt/e")" y
attach b
unmount_volume
sm check "$work/a" >/dev/null || fail "check of a"
same_tree a.below b
eq "d of a" "$(ls a.below/d)" ""
eq "contents" "$(cat b/e/y)" one

# Two files changed places.
mount_volume "$work/a" "$work/b"
wait_until 20 store_is a online
for i in 1 2 3; do
	mkdir "$mnt/t$i"
	echo one >"$mnt/t$i/x"
	echo two >"$mnt/t$i/y"
done
sync -f "$mnt"
detach b
for i in 1 2 3; do
	faults a late fail rename EIO
	faults a then fail lookup EIO '[xy]'
	python3 - "$mnt/t$i" <<'PY' || fail "no error was told"
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
x, y = (f"{sys.argv[1]}/{n}".encode() for n in "xy")
assert libc.renameat2(-100, x, -100, y, 2)
assert ctypes.get_errno() == errno.EIO
PY
	faults a clear
done
eq "x" "$(cat a.below/t1/x)" two
rm -f "$mnt/t1/x" 2>/dev/null && fail "another file was removed"
move "$mnt/t2/x" "$mnt/t2/z" 2>/dev/null && fail "another file was moved"
echo three >"$mnt/new"
move "$mnt/new" "$mnt/t3/y" 2>/dev/null && fail "another file was replaced"
unmount_volume
mount_volume "$work/a" "$work/b"
attach b
for i in 1 2 3; do
	eq "the two files" "$(sort "$mnt/t$i/"{x,y} | paste -sd ' ')" "one two"
done
eq "new" "$(cat "$mnt/new")" three
unmount_volume
same_tree a.below b
sm check "$work/a" >/dev/null || fail "check of a"
