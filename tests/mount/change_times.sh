#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The time of the last change (ctime) moves when somebody changes something, and at
# no other time: not with a checkpoint, a change of lead, a resync, a repair, a
# restored copy. No filesystem lets it be set, so each store's own is another one.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setfattr

image a 200
image b 200

# seen: what applications see of everything, from the stores and not the kernel's
# caches.
seen()
{
	sync -f "$mnt"
	echo 3 >/proc/sys/vm/drop_caches
	(cd "$mnt" && find . -printf '%p %C@ %T@\n' | sort)
}

# unmoved WHAT BEFORE
unmoved()
{
	seen >now
	diff "$2" now || fail "$cache: $1 moved times"
}

# not_earlier WHERE: all of what was seen before the crash. The kernel's word, which
# comes after the call, may be lost.
not_earlier()
{
	join -j 1 crashed after | awk '$4 + 0.1 < $2 + 0 { print; bad = 1 }
		END { exit bad }' || fail "$cache: earlier $1"
}

all_durable()
{
	[[ $(status_of '[.seq] + [.stores[] | select(.state == "online") |
		.durable_seq] | unique | length') == 1 ]]
}

work_on()
{
	local d=$mnt/$1

	mkdir -p "$d/sub" "$d/other"
	for i in 1 2 3 4 5 6 7 8; do
		echo "$i" >"$d/file$i"
	done
	head -c 300000 /dev/urandom >"$d/large"
	ln -s nowhere "$d/symlink"
	ln -s nowhere "$d/sub/symlink"
	mkfifo "$d/fifo"
	mknod "$d/device" c 1 3
	ln "$d/file1" "$d/sub/link"
	ln "$d/file2" "$d/gone"
	touch -m -d 2001-02-03 "$d/old"
	touch "$d/owned"
}

# change DIR: what was there before, in every way that moves a ctime.
change()
{
	local d=$mnt/$1

	echo more >>"$d/file1"
	rm "$d/gone"
	chmod 600 "$d/file3"
	mv "$d/file4" "$d/sub/file4"
	ln "$d/file5" "$d/linked"
	setfattr -n user.x -v y "$d/file6"
	touch -d 2001-02-03 "$d/file7"
	truncate -s 1000 "$d/file8"
	mv "$d/symlink" "$d/moved"
	mv "$d/other" "$d/moved_dir"
	chown -h 1:1 "$d/sub/symlink"
	chmod 700 "$d/fifo"
	mv "$d/device" "$d/sub"
	fallocate -p -o 100000 -l 50000 "$d/large"
	touch -m -d 2001-02-03 "$d/old"
	chown "$(id -u)" "$d/owned"
}

# not_allowed: what changes nothing, because it is not allowed.
not_allowed()
{
	! rmdir "$mnt/deep/one" 2>/dev/null || fail "removed"
	! mv -T "$mnt/three" "$mnt/two" 2>/dev/null || fail "replaced"
	! setfattr -x user.none "$mnt/two/file6" 2>/dev/null || fail "removed"
	! setfattr -x user.none "$mnt/two" 2>/dev/null || fail "removed"
}

for cache in writeback writethrough; do
	rm -rf a/.seqmirror b/.seqmirror a/* b/*
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume -o "cache=$cache,checkpoint=1" "$work/a" "$work/b"
	echo "-- $cache: a checkpoint"
	work_on one
	work_on two
	seen >made
	wait_until 20 all_durable
	unmoved "a checkpoint" made
	change one
	seen >changed
	# Each of them has moved, and nothing else.
	comm -23 made changed | sed 's/ .*//' | sort >differ
	for f in file1 file2 file3 file5 file6 file7 file8 fifo large old owned \
		sub; do
		grep -qx "./one/$f" differ || fail "$cache: $f: no new time"
	done
	! grep -q "^./two" differ || fail "$cache: others have new times"
	wait_until 20 all_durable
	unmoved "a checkpoint after changes" changed
	unmount_volume
	mount_volume -o "cache=$cache,checkpoint=1" "$work/a" "$work/b"
	unmoved "mounting again" changed

	# The kernel's word of what an operation here has moved takes no number.
	mkdir "$mnt/names"
	touch "$mnt"/names/{a,b,c,d,e,f,g,h}
	sync -f "$mnt"
	before=$(status_of .seq)
	ln "$mnt/names/a" "$mnt/names/link"
	rm "$mnt/names/link" "$mnt"/names/{b,c,d,e,f,g,h}
	seen >/dev/null
	eq "numbers of nine operations" "$(($(status_of .seq) - before))" 9
	rm -r "$mnt/names"
	seen >changed

	echo "-- $cache: another lead"
	detach a
	unmoved "a change of lead" changed
	echo "-- $cache: a resync"
	change two
	work_on three
	mkdir "$mnt/two/new" "$mnt/deep"
	mv "$mnt/one" "$mnt/deep"
	seen >resynced
	attach a
	unmoved "a resync" resynced
	detach b
	unmoved "the store that was resynced" resynced
	not_allowed
	unmoved "what was refused" resynced
	unmount_volume

	echo "-- $cache: a restored copy"
	mkdir copy
	cp -a a/. copy
	rm -rf a/.seqmirror a/*
	cp -a copy/. a
	rm -rf copy
	mount_volume -o "cache=$cache,checkpoint=1,degraded" "$work/a"
	unmoved restoring resynced
	unmount_volume
	mount_volume -o "cache=$cache,checkpoint=1" "$work/a" "$work/b"
	sm attach --wait "$mnt" b >/dev/null
	unmoved "a resync of the other one" resynced
	unmount_volume

	echo "-- $cache: a crash"
	mount_volume -o "cache=$cache,checkpoint=600" "$work/a" "$work/b"
	change three
	seen >crashed
	kill_daemon
	mount_volume -o "cache=$cache,checkpoint=1" "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	seen >after
	not_earlier "after a crash"
	# What only got or lost a name has no number: each store its own.
	named='/(file[245]|linked|moved|moved_dir|sub/file4|sub/device) '
	grep -Ev "three$named" after >numbered
	detach a
	seen | grep -Ev "three$named" >now
	diff numbered now || fail "$cache: a change of lead after a crash"
	attach a
	unmount_volume
	same_tree "$work/a" "$work/b"
done
