#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A map that is damaged, cut, emptied, missing, another's or a newer program's
# is recognised: the store counts as missing, a line says which and what to do,
# nothing is changed; attach --rebuild and resync --prefer take it back by
# comparing, and lose nothing that only it has.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq sqlite3

map=.seqmirror/meta.db
harms=(zeroed cut empty missing garbage foreign older)

# harm HOW STORE
harm()
{
	local db=$2/$map size

	size=$(stat -c %s "$db")
	case $1 in
	zeroed) dd if=/dev/zero of="$db" bs=4096 count=$((size / 4096)) \
		conv=notrunc status=none ;;
	cut) truncate -s $((size / 2)) "$db" ;;
	empty) truncate -s 0 "$db" ;;
	missing) rm "$db" ;;
	garbage) dd if=/dev/urandom of="$db" bs=4096 seek=1 \
		count=$((size / 4096 - 1)) conv=notrunc status=none ;;
	foreign) cp "$work/b/$map" "$db" ;;
	older) cp "$work/older.db" "$db" ;;
	newer) printf '\377' | dd of="$db" bs=1 seek=62 conv=notrunc \
		status=none ;;
	esac
}

# Of every file in the store, the private ones that matter included.
fingerprint()
{
	(cd "$1" && find . -type f ! -name lock -print0 |
		xargs -0 sha256sum | sort -k 2)
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 16 --mapped-mib 4 \
	--files 200
mkdir "$mnt/sub"
echo one >"$mnt/sub/file"
ln "$mnt/sub/file" "$mnt/sub/link"
ln -s target "$mnt/sub/symlink"
mkfifo "$mnt/sub/fifo"
unmount_volume

for how in "${harms[@]}"; do
	echo "--- $how"
	# As it was before the volume was mounted once more.
	cp "$work/a/$map" "$work/older.db"
	mount_volume "$work/a" "$work/b"
	unmount_volume
	harm "$how" "$work/a"
	fingerprint "$work/a" >before

	# Alone it is refused, in one line, and so is looking at it.
	refused "$SEQMIRROR" mount -f "$work/a" "$mnt"
	grep -q "map of store a is" <<<"$refusal" || fail "$how: $refusal"
	not_mounted "$mnt" || fail "$how: mounted"
	refused "$SEQMIRROR" check "$work/a"
	refused "$SEQMIRROR" status "$work/a"
	refused "$SEQMIRROR" resync "$work/a" "$work/b"
	grep -q -- "--prefer" <<<"$refusal" || fail "$how: $refusal"
	fingerprint "$work/a" >after
	diff before after || fail "$how: a refusal changed something"

	# With the good one the volume is there, without it.
	mount_volume "$work/a" "$work/b"
	eq "state of a" "$(store_state a)" missing
	eq "file" "$(cat "$mnt/sub/file")" one
	grep -q "map of store a is" "$daemon_log" ||
		fail "$how: nothing was said"
	status_of '.stores[] | select(.name == "a") | .why' |
		grep -q "map of store a is" || fail "$how: $(sm status "$mnt")"
	refused "$SEQMIRROR" attach "$mnt" a
	grep -q -- "--rebuild" <<<"$refusal" || fail "$how: $refusal"

	# What only it has is kept, what differs is written.
	echo "$how" >"a/only_a_$how"
	echo other >a/sub/file
	rm a/sub/fifo
	echo "while $how" >"$mnt/while"
	timeout 120 "$SEQMIRROR" attach --rebuild --wait "$mnt" a >/dev/null ||
		fail "$how: attach --rebuild: status $?"
	eq "state of a" "$(store_state a)" online
	unmount_volume
	eq "found" "$(cat "a/.seqmirror/found/only_a_$how")" "$how"
	eq "file" "$(cat a/sub/file)" one
	same_tree "$work/a" "$work/b"
	sm check "$work/a" >check.out || fail "$how: $(cat check.out)"
	sm check "$work/b" >check.out || fail "$how: $(cat check.out)"
done

# A map of a newer program is not damage: nothing is done about it.
cp "$work/a/$map" kept.db
harm newer "$work/a"
for words in mount\ -f check check\ --rebuild; do
	# shellcheck disable=SC2086
	if [[ $words == mount* ]]; then
		refused "$SEQMIRROR" $words "$work/a" "$work/b" "$mnt"
	else
		refused "$SEQMIRROR" $words "$work/a"
	fi
	grep -q version <<<"$refusal" || fail "newer: $refusal"
done
cp kept.db "$work/a/$map"

# A volume that was not left cleanly cannot do without it unasked.
mount_volume "$work/a" "$work/b"
echo unclean >"$mnt/unclean"
kill_daemon
harm zeroed "$work/a"
rm -f "$work/a/$map-wal"
refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$mnt"
grep -q "degraded" <<<"$refusal" || fail "unclean: $refusal"
mount_volume -o degraded "$work/a" "$work/b"
unmount_volume

# After a kill: what was committed lies in the write-ahead log.
timeout 120 "$SEQMIRROR" resync --prefer b "$work/a" "$work/b" >/dev/null
for how in missing cut flipped; do
	echo "--- log $how"
	mount_volume "$work/a" "$work/b"
	echo "$how" >"$mnt/sub/log"
	sync "$mnt/sub/log"
	kill_daemon
	wal=$work/a/$map-wal
	case $how in
	missing) rm "$wal" ;;
	cut) truncate -s 5000 "$wal" ;;
	flipped) printf '\377\000\377' |
		dd of="$wal" bs=1 seek=4500 conv=notrunc status=none ;;
	esac
	refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$mnt"
	grep -q "map of store a is" <<<"$refusal" || fail "log $how: $refusal"
	mount_volume -o degraded "$work/a" "$work/b"
	eq "log" "$(cat "$mnt/sub/log")" "$how"
	timeout 120 "$SEQMIRROR" attach --rebuild --wait "$mnt" a >/dev/null ||
		fail "log $how: attach --rebuild: status $?"
	unmount_volume
	same_tree "$work/a" "$work/b"
done

# Damaged while it is in use: that store is put out, the volume goes on.
for name in a b; do
	echo "--- in use: $name"
	mount_volume -o checkpoint=1 "$work/a" "$work/b"
	dd if=/dev/urandom of="$work/$name/$map" bs=4096 seek=1 \
		count=$(($(stat -c %s "$work/$name/$map") / 4096 - 1)) \
		conv=notrunc status=none
	out=0
	for i in $(seq 200); do
		echo "$name" >"$mnt/sub/use$i"
		ls "$mnt/sub" >/dev/null
		if store_is "$name" failed || store_is "$name" missing; then
			out=1
			break
		fi
	done
	((out)) || wait_until 20 store_is "$name" failed
	eq "file" "$(cat "$mnt/sub/use1")" "$name"
	unmount_volume
	other=$([[ $name == a ]] && echo b || echo a)
	eq "file" "$(cat "$other/sub/use1")" "$name"
	sm resync --prefer "$other" "$work/a" "$work/b" >/dev/null
	same_tree "$work/a" "$work/b"
done

# Deep in it, where only a resync looks: it says what to do, not just its error.
mount_volume "$work/a" "$work/b"
detach b
for i in $(seq 200); do
	echo "$i" >"$mnt/sub/use$i"
done
unmount_volume
cp "$work/a/$map" whole.db
sqlite3 whole.db "select pageno from dbstat
	where name = 'node' and pagetype = 'leaf'" | while read -r page; do
	dd if=/dev/urandom of="$work/a/$map" bs=4096 seek=$((page - 1)) \
		count=1 conv=notrunc status=none
done
refused "$SEQMIRROR" resync "$work/a" "$work/b"
grep -q "seqmirror check" <<<"$refusal" || fail "deep: $refusal"
! sm check "$work/a" >check.out 2>&1 || fail "deep: check finds nothing"
grep -q "map is damaged" check.out || fail "deep: $(cat check.out)"
cp whole.db "$work/a/$map"
sm resync "$work/a" "$work/b" >/dev/null
same_tree "$work/a" "$work/b"

# Removed or replaced while it is in use: put out with the next checkpoint, or
# when the volume is unmounted, and taken back as one that was lost.
for how in removed log replaced directory idle; do
	echo "--- in use: $how"
	mount_volume -o checkpoint=1 "$work/a" "$work/b"
	echo "$how" >"$mnt/sub/in_use"
	sync -f "$mnt/sub/in_use"
	case $how in
	removed) rm "b/$map" "b/$map-wal" ;;
	log) rm "b/$map-wal" ;;
	replaced) cp "b/$map" other.db && mv other.db "b/$map" ;;
	directory) cp "b/.seqmirror/store" . && rm -r "b/.seqmirror" ;;
	idle) rm "b/$map" ;;
	esac
	if [[ $how != idle ]]; then
		echo "without b: $how" >"$mnt/sub/in_use"
		wait_until 20 store_is b failed
		status_of '.stores[] | select(.name == "b") | .why' |
			grep -q 'map: it was removed' || fail "$(sm status "$mnt")"
	fi
	unmount_volume
	grep -q 'store b is out: map: it was removed' "$daemon_log" ||
		fail "$how: nothing was said"
	: >"$daemon_log"
	if [[ $how == directory ]]; then
		mkdir -m 700 b/.seqmirror
		cp store b/.seqmirror/store
	fi
	sm resync --prefer a "$work/a" "$work/b" >/dev/null
	same_tree "$work/a" "$work/b"
done

# Offline: the preferred side wins.
harm zeroed "$work/a"
refused "$SEQMIRROR" resync --dry-run --prefer b "$work/a" "$work/b"
echo mine >a/mine
sm resync --prefer b "$work/a" "$work/b" >/dev/null
same_tree "$work/a" "$work/b"
eq "found" "$(cat a/.seqmirror/found/mine)" mine
sm check "$work/a" >check.out || fail "$(cat check.out)"

# The only store: its own files are what there is.
harm garbage "$work/a"
refused "$SEQMIRROR" check --rebuild "$work/b"
echo rebuilt >a/extra
# Of what lies in limbo/ only what may be somebody's is kept: not what was removed
# while it was open, nor further links of what has a name.
rm -rf a/.seqmirror/found/*
(
	cd a/.seqmirror/limbo
	echo removed >gone-17
	ln ../../extra link-99
	echo replaced >link-99-1-1700000000-5
	echo kept >4711
	echo kept >gone-on
	mkdir gone-18
)
sm check --rebuild "$work/a" >/dev/null
eq "limbo" "$(ls a/.seqmirror/limbo)" ""
eq "kept of it" "$(find a/.seqmirror/found -mindepth 1 -printf '%f\n' |
	sed 's/-[0-9]$//' | sort | xargs)" "4711 gone-18 gone-on"
sm check "$work/a" >check.out || fail "$(cat check.out)"
[[ -e a/.seqmirror/meta.db.old ]] || fail "the old map is gone"
mount_volume "$work/a"
eq "extra" "$(cat "$mnt/extra")" rebuilt
echo alone >"$mnt/alone"
unmount_volume

# Removed below the last store that is online: nothing is promised any more.
mount_volume -o checkpoint=1 "$work/a"
rm "$work/a/$map"
echo more >>"$mnt/alone"
wait_until 20 grep -q 'the map of the last store was removed' "$daemon_log"
if echo more 2>/dev/null >"$mnt/promised"; then
	fail "a change was acknowledged without a map"
fi
eq "alone" "$(head -n 1 "$mnt/alone")" alone
sm unmount "$mnt" || :
wait "$daemon_pid" && fail "the daemon ended well without a map"
daemon_pid=
refused "$SEQMIRROR" mount -f "$work/a" "$mnt"
echo alone >"$work/a/alone"
sm check --rebuild "$work/a" >/dev/null

# It is never taken for one in step.
refused "$SEQMIRROR" mount -f "$work/a" "$work/b" "$mnt"
grep -q "no history in common" <<<"$refusal" || fail "$refusal"
if sm resync "$work/a" "$work/b" 2>refused.err; then
	fail "a rebuilt store was taken for a member in step"
fi
grep -q -- "attach --rebuild" <<<"$refusal" || fail "no way out: $refusal"
refused "$SEQMIRROR" diff "$work/a" "$work/b"
grep -q "made anew" <<<"$refusal" || fail "diff: $refusal"
# Where nobody named it, it lies at its place and says as little as one whose
# map is lost: the other is mounted without it.
fingerprint "$work/a" >before
mount_volume "$work/b"
eq "state of a" "$(store_state a)" missing
grep -q "map of store a has no history in common" "$daemon_log" ||
	fail "nothing was said of a"
refused "$SEQMIRROR" attach "$mnt" a
grep -q -- "--rebuild" <<<"$refusal" || fail "attach: $refusal"
unmount_volume
fingerprint "$work/a" >after
diff before after || fail "the store that was left out was changed"

# Its identity is damaged, or a directory lies where its lock belongs: the same.
cp a/.seqmirror/store identity
for what in store lock; do
	case $what in
	store) : >a/.seqmirror/store ;;
	lock) rm a/.seqmirror/lock && mkdir a/.seqmirror/lock ;;
	esac
	mount_volume "$work/a" "$work/b"
	eq "state of a" "$(store_state a)" missing
	grep -q "store $work/a .*going on without it" "$daemon_log" ||
		fail "nothing was said of a: $(cat "$daemon_log")"
	unmount_volume
	case $what in
	store) cat identity >a/.seqmirror/store ;;
	lock) rmdir a/.seqmirror/lock ;;
	esac
done

# A person may say that it wins.
sm resync --prefer a "$work/a" "$work/b" >/dev/null
same_tree "$work/a" "$work/b"
eq "alone" "$(cat b/alone)" alone
sm check "$work/b" >check.out || fail "$(cat check.out)"
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
unmount_volume

# All of its stores are online, and it is not healthy: nothing is taken any more.
mkdir "$work/c"
sm init --name c "$work/c" >/dev/null
mount_volume -o checkpoint=1 "$work/c"
volume_is healthy || fail "not healthy with all it has"
rm "$work/c/$map"
echo more >"$mnt/alone"
turned_read_only()
{
	[[ $(status_of .read_only) == true ]]
}
wait_until 20 turned_read_only
eq "state" "$(status_of .state)" degraded
sm unmount "$mnt" || :
wait "$daemon_pid" && fail "the daemon ended well without a map"
daemon_pid=
