#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store is put back by a copy, and what brings it in step is killed: where the
# copy has each file is known before anything is moved in it, so the next resync
# finds what lies below a directory that the one before had moved, and nothing of
# the volume ends in found/. The same where it was made without hard links.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "a build without faults"

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir -p "$mnt/old/moved/deep/deeper" "$mnt/new" "$mnt/other" "$mnt/still"
for file in old/moved/deep/deeper/file old/moved/file other/file; do
	head -c 100000 /dev/urandom >"$mnt/$file"
done
ln "$mnt/old/moved/file" "$mnt/old/moved/deep/link"
ln "$mnt/old/moved/file" "$mnt/still/link"
echo gone >"$mnt/old/gone"
detach b
rm "$mnt/old/gone"
mv "$mnt/old/moved" "$mnt/new/moved"
mv -T "$mnt/other" "$mnt/new/moved/deep/other"
mkdir "$mnt/new/made" "$mnt/other"
chmod 700 "$mnt/new/moved/deep"
echo new >"$mnt/new/moved/deep/new"
ln "$mnt/new/moved/deep/new" "$mnt/old/link"
for file in new/moved/deep/deeper/file new/moved/file new/moved/deep/other/file; do
	printf changed | dd of="$mnt/$file" bs=1 seek=5000 conv=notrunc status=none
done
unmount_volume
cp -a b backup
how=(-a)

# killed_at POINT[:COUNT]: 1, it was not passed so often
killed_at()
{
	local point=${1%:*} count=1 rc=0

	[[ $1 != *:* ]] || count=${1##*:}
	rm -rf b
	cp "${how[@]}" backup b
	SEQMIRROR_FAULT=$point:kill:$count sm resync "$work/a" "$work/b" \
		>out 2>&1 || rc=$?
	((rc == 0)) && return 1
	eq "killed at $1" "$rc" 137
}

recovered()
{
	sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
	eq "kept after a kill at $1" "$(ls b/.seqmirror/found)" ""
	same_tree "$work/a" "$work/b"
	eq "in limbo after a kill at $1" "$(ls b/.seqmirror/limbo)" ""
	sm check "$work/b" >out || fail "$(cat out)"
}

for point in resync.marked resync.fill.synced resync.batch.armed \
	resync.batch.copied resync.close.before resync.close.after; do
	killed_at "$point" || fail "$point is not passed"
	recovered "$point"
done
for call in rename mkdir link unlink; do
	for ((i = 1; ; i++)); do
		killed_at "store.$call:$i" || break
		recovered "store.$call:$i"
	done
	echo "killed in each $call: $((i - 1))"
	((i > 1)) || fail "no $call"
done

# A copy of that, cut where whole directories lie in limbo/: one of a store that was
# not left cleanly, which keeps what lies where the volume has nothing.
for i in 3 4; do
	killed_at "store.rename:$i" || fail "only $((i - 1)) renames"
	ls b/.seqmirror/limbo/*/* >/dev/null || fail "no directory in limbo"
	cp -a b again
	rm -rf b
	mv again b
	sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
	same_tree "$work/a" "$work/b"
	eq "in limbo" "$(ls b/.seqmirror/limbo)" ""
	sm check "$work/b" >out || fail "$(cat out)"
done

# A copy put over what a kill has left, limbo/ and all: with a map that was left in
# good order what lies there is none of its directories.
for i in 2 3 4; do
	killed_at "store.rename:$i" || fail "only $((i - 1)) renames"
	ls b/.seqmirror/limbo/*/* >/dev/null || fail "no directory in limbo"
	rm b/.seqmirror/meta.db*
	cp -a backup/. b/
	sm resync "$work/a" "$work/b" >out 2>&1 || fail "$(cat out)"
	same_tree "$work/a" "$work/b"
	eq "in limbo of what was put over it" "$(ls b/.seqmirror/limbo)" ""
	sm check "$work/b" >out || fail "$(cat out)"
done

# Each name that becomes a link again moves a directory's times for a moment.
how=(-r --preserve=mode,ownership,timestamps,xattr --no-dereference)
for ((i = 1; i <= 4; i++)); do
	killed_at "store.utimens:$i" || fail "only $((i - 1)) times"
	recovered "store.utimens:$i"
done
