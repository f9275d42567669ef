#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The keys of the JSON reports are those of the manual.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# has WHAT FILTER KEY...: of the last report.
has()
{
	local what=$1 filter=$2 key
	shift 2

	for key; do
		jq -e "$filter | has(\"$key\")" report >/dev/null ||
			fail "$what has no $key: $(cat report)"
	done
}

# is WHAT FILTER TYPE
is()
{
	eq "type of $1" "$(jq -r "$2 | type" report)" "$3"
}

volume_report()
{
	has volume . volume state seq stores resync
	has store '.stores[0]' name uuid path state durable_seq behind errors \
		free_bytes
	has behind '.stores[1].behind' nodes bytes seconds at_most
	has errors '.stores[1].errors' read write
	is seq .seq number
	is volume .volume string
	is stores .stores array
	is durable_seq '.stores[0].durable_seq' number
	eq "stores" "$(jq -r '[.stores[].name] | sort | join(" ")' report)" \
		"a b"
}

counts()
{
	has resync . store from_seq to_seq laps nodes entries_created \
		entries_removed entries_renamed bytes_copied bytes_compared \
		bytes_unmapped seconds
}

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
sm status --json "$mnt" >report
volume_report
eq "state" "$(jq -r .state report)" healthy
eq "resync" "$(jq -r .resync report)" null
seq=$(jq .seq report)
detach b
dd if=/dev/urandom of="$mnt/file" bs=4096 count=10 conv=fsync status=none
sync -f "$mnt"
sm status --json "$mnt" >report
volume_report
eq "state" "$(jq -r .state report)" degraded
(($(jq .seq report) > seq)) || fail "seq did not rise"
(($(jq '.stores[] | select(.name == "b").behind.nodes' report) >= 1)) ||
	fail "b is not behind: $(cat report)"
sm resync --dry-run --json "$mnt" b >report
counts
sm resync --wait --json "$mnt" b >report
counts
eq "copied" "$(jq .bytes_copied report)" 40960
# What no checkpoint has brought to the maps yet is not counted, and not denied.
unmount_volume
mount_volume -o checkpoint=3600 "$work/a" "$work/b"
wait_until 20 volume_is healthy
detach b
# of_b FILTER: of how far it is behind.
of_b()
{
	sm status --json "$mnt" |
		jq -r ".stores[] | select(.name == \"b\").behind.$1"
}
eq "all is counted when nothing was done" "$(of_b exact)" true
dd if=/dev/urandom of="$mnt/file" bs=4096 count=10 conv=fsync status=none
eq "all is counted, with ten blocks written" "$(of_b exact)" false
sm status "$mnt" >text
grep -qE '^ +behind(: not known| by more than)' text ||
	fail "not said in words: $(<text)"
sm resync --dry-run --json "$mnt" b >report
eq "all is counted after a checkpoint" "$(of_b exact)" true
eq "behind" "$(of_b bytes)" 40960
sm attach --wait "$mnt" b >/dev/null
sm status "$mnt" >text
for word in healthy a b online; do
	grep -qw "$word" text || fail "status does not say $word: $(cat text)"
done
unmount_volume

sm status --json "$work/a" >report
has "unmounted store" . volume seq stores
sm status "$work/a" >/dev/null
refused "$SEQMIRROR" status "$work"
refused "$SEQMIRROR" status "$work/none"
refused "$SEQMIRROR" status

# A list that is refused is not begun.
no_list()
{
	refused "$SEQMIRROR" changes --json --since "$@"
	eq "what is printed of a refused list" "$(cat "$work/refused.out")" ""
}
no_list none "$work/a"
no_list 0 --until none "$work/a"
mount_volume "$work/a" "$work/b"
no_list none "$mnt"
no_list 0 --until none "$mnt"
for place in "$mnt" "$work/a"; do
	sm changes --json --since 0 "$place" >report
	has changes . changes since until
	sm changes --json --since 999999999 "$place" >report
	eq "changes of the future" "$(jq -c .changes report)" "[]"
	[[ $place == "$work/a" ]] || unmount_volume
done

# The note of who has the store leads to a daemon that dies while it is asked:
# the map tells then, as of any store that is not in use.
mount_volume "$work/a" "$work/b"
socket_of()
{
	socket=$(tr -d '\0' <"$work/a/.seqmirror/lock" | grep -o '/.*') &&
		[[ -S $socket ]]
}
wait_until 20 socket_of
connections()
{
	awk -v p="$socket" '$NF == p' /proc/net/unix | wc -l
}
asked()
{
	(($(connections) > before))
}
before=$(connections)
kill -STOP "$daemon_pid"
sm status --json "$work/a" >report 2>said &
asker=$!
wait_until 20 asked
kill_daemon
wait "$asker" || fail "status of a store whose daemon died: $(<said)"
eq "mounted" "$(jq .mounted report)" false

# A list that is broken off is an object all the same, and no complete one.
mount_volume "$work/a" "$work/b"
python3 - "$mnt" <<-'END'
	import os, sys
	for i in range(4000):
	    os.mkdir("%s/%0200d" % (sys.argv[1], i))
END
mkfifo list
sm changes --json --since 0 "$mnt" >list 2>said &
asker=$!
exec {list}<list
IFS= read -r -N 1000 -u "$list" report_begun # the rest does not fit into the pipes
kill_daemon
printf %s "$report_begun" >report
cat <&"$list" >>report
exec {list}<&-
rc=0
wait "$asker" || rc=$?
eq "status of a list that was broken off" "$rc" 1
grep -q '^seqmirror: ' said || fail "not told why"
eq "the list" "$(jq -c '[(.changes | length > 0 and length < 4000), has("until")]' \
	report)" "[true,false]"

# Whoever starts the program may have closed its standard descriptors: no store gets
# their numbers, and what cannot be printed is no fault of a store's.
timeout 30 "$SEQMIRROR" unmount "$mnt" 2>err || :
mkdir c d
sm init --name c,d "$work/c" "$work/d" >/dev/null
mount_closed()
{
	timeout 30 "$SEQMIRROR" mount "$work/c" "$work/d" "$mnt" <&- >&- 2>&-
}
mount_closed || fail "a mount without standard descriptors: status $?"
echo kept >"$mnt/file"
sync "$mnt/file"
eq "a file" "$(cat "$mnt/file" c/file d/file | xargs)" "kept kept kept"
unmount_volume
same_tree "$work/c" "$work/d"
for words in "status c" "check c" "diff c d" "changes --since 0 c" \
	"resync --dry-run c d"; do
	for json in "" --json; do
		# shellcheck disable=SC2086
		! sm $words $json >/dev/full 2>err ||
			fail "$words $json: printed to a full disk"
		eq "$words $json" "$(cat err)" \
			"seqmirror: stdout: No space left on device"
		# shellcheck disable=SC2086
		! sm $words $json >&- 2>&- || fail "$words $json: printed"
	done
done
sm check "$work/c" >/dev/null || fail "something was written to c"
