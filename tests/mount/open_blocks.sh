#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A file that is open and was written a moment ago is archived as it is. The
# stores do not have its pages yet, and tar --sparse takes a file that has a size
# and no block for one hole.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need tar python3

# writer HOW FILE: writes to it, says so, and keeps it open until it is ended.
cat >writer.py <<-'PYTHON'
	import mmap, os, sys, time
	how, path = sys.argv[1:]
	flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if how == "anew" else 0)
	fd = os.open(path, flags, 0o644)
	if how == "mmap":
	    os.ftruncate(fd, 100000)
	    memory = mmap.mmap(fd, 100000)
	    memory[50000:50009] = b"some data"
	else:
	    if how == "looked at":
	        os.stat(path)
	    os.pwrite(fd, b"some data" * 1000, 20000)
	print("written", flush=True)
	time.sleep(600)
PYTHON

archived()
{
	local name=$2

	# Of the file before: the shell empties it only when its child runs.
	rm -f said
	python3 writer.py "$1" "$mnt/$name" >said &
	helpers+=("$!")
	wait_until 20 grep -qs written said
	# 1: "file changed as we read it", when its pages have been written.
	tar --sparse -C "$mnt" -cf archive.tar "$name" || (($? == 1))
	rm -rf out
	mkdir out
	tar -C out -xf archive.tar
	cmp "$mnt/$name" "out/$name" || fail "$1, $cache: archived as a hole"
	grep -q 'some data' "out/$name" || fail "$1, $cache: no data"
	(($(stat -c %b "$mnt/$name") > 0)) || fail "$1, $cache: no blocks"
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
for cache in writeback writethrough; do
	mount_volume -o "cache=$cache" "$work/a" "$work/b"
	archived new "new-$cache"
	archived mmap "mapped-$cache"
	archived "looked at" "looked-$cache"
	echo 'other content' >"$mnt/old-$cache"
	archived anew "old-$cache"
	# As logrotate makes it for somebody who writes to it ever after.
	: >"$mnt/log-$cache"
	eq "size" "$(stat -c %s "$mnt/log-$cache")" 0
	archived append "log-$cache"
	# What is one hole is a hole still.
	truncate -s 1G "$mnt/hole-$cache"
	eq "KiB of a hole" "$(du -k "$mnt/hole-$cache" | cut -f 1)" 1
	for pid in "${helpers[@]}"; do
		kill "$pid"
		wait "$pid" || :
	done
	helpers=()
	unmount_volume
done
same_tree "$work/a" "$work/b"
