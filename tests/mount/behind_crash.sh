#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# How far a store is behind that is missing since a crash: the others know only
# through which of their checkpoints it was durable before the last one, and
# status says so. Who left in good order is known exactly.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# of_b FILTER WHERE
of_b()
{
	sm status --json "$2" | jq -r ".stores[] | select(.name == \"b\").$1"
}

recorded()
{
	(($(of_b durable_seq "$mnt") > $1))
}

# written NAME: a checkpoint of its own, which b takes part in.
written()
{
	local before

	before=$(of_b durable_seq "$mnt")
	head -c 1M /dev/urandom >"$mnt/$1"
	sync -f "$mnt"
	wait_until 20 recorded "$before"
}

all_is_counted()
{
	[[ $(of_b behind.exact "$mnt") == true ]]
}

# what_is_said WHERE AT_MOST: in both forms
what_is_said()
{
	sm status "$1" >text
	eq "at most, $1" "$(of_b behind.at_most "$1")" "$2"
	if "$2"; then
		grep -q 'behind by at most' text || fail "not said: $(<text)"
		grep -q ' or more ' text || fail "not said: $(<text)"
	else
		grep -q 'at most\|or more' text && fail "said: $(<text)"
	fi
	return 0
}

mkdir a b
sm init --name a,b a b >/dev/null
mount_volume -o checkpoint=1 a b
for i in 1 2 3; do
	written "file$i"
done
had=$(of_b durable_seq "$mnt")
kill_daemon
# What was being written may be on one of them alone: in step is another thing.
sm status a >text
grep -q '2 of 2 stores in use at a crash$' text || fail "$(cat text)"
grep -q '^ *b  *in use at a crash ' text || fail "$(cat text)"
grep -q 'in step' text && fail "$(cat text)"

# Not from when it was mounted: one checkpoint, at most.
mv b away
mount_volume -o degraded,no_auto_attach,checkpoint=1 a
eq "bytes" "$(of_b behind.bytes "$mnt")" 1048576
what_is_said "$mnt" true
echo more >"$mnt/more"
# Before the checkpoint it would not be true.
wait_until 20 all_is_counted
what_is_said "$mnt" true
unmount_volume
what_is_said a true
mv away b
eq "what b had" "$(sm status --json b | jq '.seq')" "$had"

# It comes back: nothing is in doubt. Then it leaves in good order.
mount_volume -o checkpoint=1 a b
attach b
what_is_said "$mnt" false
detach b
written_alone=$(sm status --json "$mnt" | jq .seq)
echo more >"$mnt/alone"
sync -f "$mnt"
(($(sm status --json "$mnt" | jq .seq) > written_alone)) ||
	fail "nothing was numbered"
eq "nodes" "$(($(of_b behind.nodes "$mnt") > 0))" 1
what_is_said "$mnt" false
unmount_volume
what_is_said a false

# And one that was missing after an unmount in good order.
mount_volume a b
attach b
echo more >"$mnt/last"
unmount_volume
mv b away
mount_volume a
echo more >"$mnt/alone"
what_is_said "$mnt" false
unmount_volume
mount_volume a
echo more >"$mnt/again"
what_is_said "$mnt" false
unmount_volume
