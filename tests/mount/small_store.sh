#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that is too small for what it has missed: the forecast says by how
# much, the resync ends before it changes anything, and goes through when there
# is room. Mounted and unmounted.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 300
image b 120
mkdir a/store b/store
sm init --name a,b a/store b/store >/dev/null
mount_volume a/store b/store
cp -r /etc/default "$mnt/tree"
head -c 20M /dev/urandom >"$mnt/old"
detach b
# is_whole PLACE: as before, b is what it was when it was detached.
is_whole()
{
	eq "complete, says $1" "$(status_of \
		'.stores[] | select(.name == "b") | .complete' "$1")" true
}

# 150 MiB that are new, and 10 MiB where b has something already.
head -c 150M /dev/urandom >"$mnt/new"
dd if=/dev/urandom of="$mnt/old" bs=1M count=10 conv=notrunc status=none
sync -f "$mnt"

free=$(stat -f -c '%a %S' b | awk '{ printf "%d", $1 * $2 }')
lacks()
{
	jq -r .bytes_short <<<"$1"
}
near()
{
	local difference=$(($1 - $2))

	((difference > -1048576 && difference < 1048576)) ||
		fail "$3: lacks $1, wanted about $2"
}
want=$((150 * 1048576 - free))

near "$(lacks "$(sm resync --dry-run --json "$mnt" b)")" "$want" forecast
sm resync --dry-run "$mnt" b | grep -q 'too small' || fail "not in words"
find b/store -printf '%P %s %T@\n' | grep -v '^.seqmirror' | sort >before
refused "$SEQMIRROR" attach --wait "$mnt" b
grep -q 'too small: .* bytes) more than is free' <<<"$refusal" ||
	fail "the refusal: $refusal"
find b/store -printf '%P %s %T@\n' | grep -v '^.seqmirror' | sort >after
diff before after || fail "a resync without room changed something"
store_is a online || fail "a is $(store_state a)"
store_is b failed || fail "b is $(store_state b)"
is_whole "$mnt"
kill_daemon
is_whole a/store
mount_volume -o no_auto_attach,degraded a/store
store_is b detached || fail "b is $(store_state b)"
is_whole "$mnt"
echo more >"$mnt/more"
unmount_volume
is_whole a/store

refused "$SEQMIRROR" resync a/store b/store
grep -q 'too small' <<<"$refusal" || fail "unmounted: $refusal"
is_whole a/store

# With room it goes through.
mount_volume -o no_auto_attach,degraded a/store b/store
truncate -s 60M "$mnt/new"
sync -f "$mnt"
attach b
unmount_volume
same_tree a/store b/store
