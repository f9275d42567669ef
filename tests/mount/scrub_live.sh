#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A scrub of a busy volume finds nothing and holds nobody up; it goes on after
# a kill; it keeps off resyncs; three stores outvote one.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

scrub()
{
	rc=0
	timeout 120 "$SEQMIRROR" scrub --wait --json "$@" "$mnt" \
		>scrub.json 2>scrub.err || rc=$?
	jq -e . scrub.json >/dev/null || fail "scrub: $(cat scrub.err)"
}

scrub_is()
{
	[[ $(status_of ".scrub.$1") == "$2" ]]
}

image a 300
image b 300
image c 300
sm init --name a,b,c "$work/a" "$work/b" "$work/c" >/dev/null
mount_volume "$work/a" "$work/b" "$work/c"

echo "-- beside those who remove directories, and what lies in them"
cat >remover.py <<-'END'
	import os, sys
	top, ready, ended = sys.argv[1:]
	os.mkdir(top)
	i = 0
	while not os.path.exists(ended):
	    i += 1
	    d = f"{top}/{i % 8}"
	    os.mkdir(d)
	    for j in range(12):
	        open(f"{d}/{j}", "w").close()
	    os.symlink("x", f"{d}/link")
	    os.rename(f"{d}/0", f"{top}/kept")
	    os.rename(f"{d}/link", f"{top}/link")
	    for j in range(1, 12):
	        os.unlink(f"{d}/{j}")
	    os.rmdir(d)
	    open(ready, "w").close()
END
removers=()
for k in 1 2 3; do
	start_helper python3 remover.py "$mnt/gone$k" "$work/removes$k" \
		"$work/ended"
	removers+=("$helper_pid")
	wait_until 20 test -e "removes$k"
done
for _ in {1..6}; do
	scrub --restart
	((rc == 0)) || fail "found beside removals: $(cat scrub.json)"
	eq "found" "$(jq .found scrub.json)" 0
done
touch ended
for pid in "${removers[@]}"; do
	wait "$pid" || fail "a remover"
done
eq "errors" "$(status_of '[.stores[].errors.read] | add')" 0

mkdir "$mnt/busy" "$mnt/big"
for i in 1 2 3 4; do
	head -c 20000000 /dev/urandom >"$mnt/big/$i"
done
cp -r /etc/default "$mnt/tree"
sync -f "$mnt/tree"

echo "-- beside a writer"
start_helper python3 "$lib_dir/writer.py" "$mnt/busy" "$work/stop" \
	--ready "$work/ready" --pause-ms 0.2 >writer.json
wait_until 20 test -e ready
for _ in 1 2 3; do
	scrub
	((rc == 0)) || fail "found beside a writer: $(cat scrub.json)"
	eq "found" "$(jq .found scrub.json)" 0
done
touch stop
wait "$helper_pid" || fail "the writer: $(cat writer.json)"
cat writer.json
jq -e '.nodes > 8 and .bytes > 80000000' scrub.json >/dev/null ||
	fail "too little: $(cat scrub.json)"

echo "-- the majority of three"
cmp b/big/2 c/big/2
cp b/big/2 wanted
touch -r b/big/2 stamp
printf 'rotten' | dd of=b/big/2 bs=1 seek=7000000 conv=notrunc status=none
touch -r stamp b/big/2
scrub
((rc == 1)) || fail "not found"
eq "finding" "$(jq -c '.findings[] | [.kind, .stores, .decided_by]' \
	scrub.json)" '["contents",["b"],"majority"]'
scrub --repair
((rc == 0)) || fail "not repaired: $(cat scrub.json scrub.err)"
wait_until 20 volume_is healthy
cmp b/big/2 wanted
cmp "$mnt/big/2" wanted

echo "-- one that is away hears of a repair"
detach c
printf 'preferred' | dd of=a/big/3 bs=1 seek=9000 conv=notrunc status=none
cp a/big/3 wanted
scrub --repair --prefer a
((rc == 0)) || fail "not repaired: $(cat scrub.json scrub.err)"
attach c
cmp c/big/3 wanted

echo "-- slowly; one at a time; kept off a resync; ended"
sm scrub --restart --rate 2M "$mnt" >/dev/null
wait_until 10 scrub_is running true
refused "$SEQMIRROR" scrub "$mnt"
sm status "$mnt" | grep -q '^scrub: comparing' || fail "$(sm status "$mnt")"
moved()
{
	(($(status_of .scrub.bytes) > 3000000))
}
wait_until 30 moved
sm scrub --cancel "$mnt" >/dev/null
wait_until 10 scrub_is running false
refused "$SEQMIRROR" scrub --cancel "$mnt"
refused "$SEQMIRROR" scrub --prefer a "$mnt"
refused "$SEQMIRROR" scrub --repair --prefer nobody "$mnt"

echo "-- it goes on, after an unmount and after a kill"
before=$(status_of .scrub.bytes)
unmount_volume
mount_volume "$work/a" "$work/b" "$work/c"
begun=$(status_of .scrub.begun)
sm scrub --rate 4M "$mnt" >/dev/null
further()
{
	(($(status_of .scrub.bytes) > before + 4000000))
}
wait_until 30 further
eq "begun" "$(status_of .scrub.begun)" "$begun"
recorded()
{
	cp a/.seqmirror/meta.db* map
	python3 - "$before" <<-'END'
		import sqlite3, sys
		db = sqlite3.connect("map/meta.db")
		done = db.execute("SELECT value FROM volume"
		                  " WHERE key = 'scrub_bytes'").fetchone()[0]
		sys.exit(done <= int(sys.argv[1]))
	END
}
mkdir map
wait_until 30 recorded
kill_daemon
mount_volume "$work/a" "$work/b" "$work/c"
wait_until 60 volume_is healthy
eq "begun" "$(status_of .scrub.begun)" "$begun"
(($(status_of .scrub.bytes) > before)) || fail "begins anew after a kill"
scrub --rate 0
((rc == 0)) || fail "$(cat scrub.json scrub.err)"
eq "begun" "$(jq -r .last.begun scrub.json)" "$begun"
bytes=$(jq .bytes scrub.json)
((bytes > 80000000 && bytes < 130000000)) || fail "$bytes bytes in all"

echo "-- unmounted in the middle"
sm scrub --rate 1M "$mnt" >/dev/null
unmount_volume
same_tree a b
same_tree a c

echo "-- bad sectors are rewritten"
faulty d
faulty e
sm init --name d,e "$work/d" "$work/e" >/dev/null
mount_volume "$work/d" "$work/e"
head -c 3000000 /dev/urandom >"$mnt/file"
cp "$mnt/file" file
sync -f "$mnt/file"
faults e bad file 1200128 4096
scrub
((rc == 1)) || fail "not found"
eq "finding" "$(jq -c '.findings[] | [.path, .kind, .stores, .decided_by]' \
	scrub.json)" '["file","unreadable",["e"],"reading"]'
scrub --repair
((rc == 0)) || fail "not repaired: $(cat scrub.json scrub.err)"
store_is e online || fail "e was put out for a bad sector"
unmount_volume
cmp file e.below/file

echo "-- min_stores is kept"
mount_volume -o min_stores=3 "$work/a" "$work/b" "$work/c"
printf 'rotten' | dd of=b/big/2 bs=1 seek=7000000 conv=notrunc status=none
scrub --repair --restart
((rc == 1)) || fail "repaired below min_stores"
jq -e '.findings[0].why | test("min_stores")' scrub.json >/dev/null ||
	fail "$(cat scrub.json)"
store_is b online || fail "b was put out"
echo still >"$mnt/writable"
unmount_volume
