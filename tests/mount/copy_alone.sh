#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store is put back with cp -a, brought in step, left alone, and killed in
# the middle of changes: what lies in the changed directories is still what it
# was, with its numbers, its names and its contents.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 200
image b 200
mkdir a/store b/store
sm init --name a,b a/store b/store >/dev/null
mount_volume a/store b/store
mkdir -p "$mnt"/dir/{old,sub/deep} "$mnt/other"
cp -r /etc/default "$mnt/dir/sub/deep/tree"
head -c 100000 /dev/urandom >"$mnt/dir/file"
ln "$mnt/dir/file" "$mnt/other/link"
ln -s nowhere "$mnt/dir/symlink"
mkfifo "$mnt/dir/fifo"

# put_back: b as cp -a makes it, from a backup of now.
put_back()
{
	cp -a b/store b/backup
	rm -rf b/store
	mv b/backup b/store
}

# inodes: every name with the number that the volume shows.
inodes()
{
	find "$mnt" -printf '%P %i %n %y\n' | sort
}

# changed_and_killed WORD: directories change, files in them do not.
changed_and_killed()
{
	inodes >before
	touch "$mnt/dir/$1" "$mnt/other/$1" "$mnt/dir/sub/$1"
	mv "$mnt/dir/old" "$mnt/dir/older" 2>/dev/null || :
	python3 -c 'import os, sys
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDONLY); os.fsync(fd)' \
		"$mnt/dir" "$mnt/other" "$mnt/dir/sub"
	kill_daemon
	mount_volume -o degraded,no_auto_attach b/store
	inodes >after
	grep -v " [0-9]* [0-9]* d\$" before | while read -r line; do
		grep -qxF -- "$line" after || fail "$1: lost or another: $line"
	done
	diff -r /etc/default "$mnt/dir/sub/deep/tree" || fail "$1: the tree"
	cmp "$mnt/dir/file" "$mnt/other/link" || fail "$1: the link"
	[[ -d $mnt/dir/older && -p $mnt/dir/fifo ]] || fail "$1: the rest"
}

# In step again with the other, then alone.
detach b
put_back
touch "$mnt/meanwhile"
attach b
detach a
changed_and_killed first
unmount_volume

# Mounted alone as it was put back.
put_back
mount_volume -o degraded,no_auto_attach b/store
changed_and_killed second
unmount_volume

# Both are one again.
sm resync a/store b/store >/dev/null
same_tree a/store b/store
