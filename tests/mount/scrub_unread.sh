#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a scrub says of stores that it could not compare. One that is away, or was
# for a while, is not called compared. What it cannot read counts as it does for
# whoever reads: a few places are findings, of a store that is online still; one
# with many, with a map that is damaged or a filesystem that has failed is put
# out, and the others are compared. Where nobody is left, the store is named.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

map=.seqmirror/meta.db

scrub()
{
	rc=0
	timeout 120 "$SEQMIRROR" scrub --wait --json "$@" "$mnt" \
		>scrub.json 2>scrub.err || rc=$?
	jq -e . scrub.json >/dev/null || fail "scrub: $(cat scrub.err)"
}

errors_of()
{
	status_of ".stores[] | select(.name == \"$1\") | .errors.read"
}

# The others were compared, and nothing is wrong with them.
out()
{
	store_is "$1" failed || fail "$2: $1 is $(store_state "$1")"
	eq "$2: volume" "$(status_of .state)" degraded
	(($(errors_of "$1") > 0)) || fail "$2: no error was counted"
	((rc == 0)) || fail "$2: status $rc: $(cat scrub.err scrub.json)"
	eq "$2: found" "$(jq .found scrub.json)" 0
}

# Nothing is known from memory.
cold()
{
	unmount_volume
	mount_volume -o no_auto_attach "$work/a" "$work/b" "$work/c"
}

damage()
{
	dd if=/dev/urandom of="$1/$map" bs=4096 seek=1 conv=notrunc \
		count=$(($(stat -c %s "$1/$map") / 4096 - 1)) status=none
}

image a 200
faulty b
image c 200
sm init --name a,b,c "$work/a" "$work/b" "$work/c" >/dev/null
mount_volume -o no_auto_attach "$work/a" "$work/b" "$work/c"
for i in $(seq 80); do
	echo "$i" >"$mnt/many$i"
done
echo few >"$mnt/few"
mkdir "$mnt/dir"
echo x >"$mnt/dir/x"
cold

# compared STORES OTHERS: of the last scrub that came to its end.
compared()
{
	eq "compared" "$(status_of '.scrub.last.stores | sort | join(",")')" "$1"
	eq "others" "$(status_of '.scrub.last.not_compared | join(",")')" "$2"
}

scrub_ended()
{
	[[ $(status_of .scrub.running) == false ]]
}

echo "-- away"
detach c
touch -d @1 c/few
scrub
((rc == 0)) || fail "status $rc: $(cat scrub.json)"
eq "not compared" "$(jq -r '.not_compared[]' scrub.json)" c
attach c
compared a,b c
sm status "$mnt" | grep -q 'stores compared: .*; not compared: c$' ||
	fail "$(sm status "$mnt")"
cold
compared a,b c
scrub --repair
((rc == 0)) || fail "status $rc: $(cat scrub.json)"
eq "repaired" "$(jq .repaired scrub.json)" 1
compared a,b,c ""

echo "-- away for a while"
head -c 4M /dev/urandom >"$mnt/large"
sm scrub --rate 2M "$mnt" >/dev/null
wait_until 20 eval '(($(status_of .scrub.bytes) > 1000000))'
detach b
attach b
wait_until 60 scrub_ended
compared a,c b
scrub --rate 0
compared a,b,c ""
cold

echo "-- a place or two: found, counted, and the store stays"
faults b fail read EIO few
scrub
((rc == 1)) || fail "status $rc"
eq "findings" "$(jq -r '.findings[] | "\(.kind) \(.path) \(.stores[])"' \
	scrub.json)" "unreadable few b"
store_is b online || fail "out for one place"
eq "errors" "$(errors_of b)" 1
faults b clear
faults b fail getxattr,listxattr EIO few
scrub
((rc == 1)) || fail "status $rc: $(cat scrub.json)"
store_is b online || fail "out for one file"
eq "errors" "$(errors_of b)" 2

echo "-- many"
faults b clear
faults b fail read EIO 'many*'
scrub
store_is b failed || fail "b is $(store_state b) with 80 files unreadable"
eq "volume" "$(status_of .state)" degraded
(($(errors_of b) >= 64)) || fail "$(errors_of b) errors"
faults b clear
sm attach --wait "$mnt" b >/dev/null
cold

echo "-- a damaged map"
damage c
scrub
out c map
scrub --repair
out c repair
sm attach --rebuild --wait "$mnt" c >/dev/null
wait_until 20 volume_is healthy

echo "-- a filesystem that has failed"
cold
python3 "$lib_dir/scenario.py" shutdown "$work/c" ||
	skip "cannot shut this ext4 down"
scrub
out c shutdown

echo "-- the last one"
detach b
damage a
scrub
((rc == 1)) || fail "status $rc"
grep -q 'the map of store a cannot be read' scrub.err || fail "$(cat scrub.err)"
sm unmount "$mnt" || :
wait "$daemon_pid" || :
daemon_pid=
