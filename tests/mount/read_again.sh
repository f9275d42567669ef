#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Whoever walks a tree and reads its files, all of them cached, does not send a
# message for each file; and what a listing brings along is never old.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume -o io_uring=off,checkpoint=1000 "$work/a" "$work/b"

# walk [DIR]
walk()
{
	python3 - "$mnt/${1:-tree}" <<'PY'
import os, sys
for dir, dirs, files in os.walk(sys.argv[1]):
    for name in sorted(files):
        path = os.path.join(dir, name)
        st = os.lstat(path)
        fd = os.open(path, os.O_RDONLY) # open() asks for a terminal
        data = os.read(fd, 1 << 20)
        os.close(fd)
        print(path, st.st_size, st.st_blocks, st.st_nlink, len(data))
PY
}

# Requests come by read(2), one each.
messages()
{
	sed -n 's/^syscr: //p' "/proc/$daemon_pid/io"
}

# Others drop the caches of this machine at any time: then it counts nothing.
dropped()
{
	awk '/^drop_/ { n += $2 } END { print n }' /proc/vmstat
}

mkdir "$mnt/tree"
for d in 1 2 3; do
	mkdir "$mnt/tree/$d"
	for i in {1..100}; do
		echo "$d $i" >"$mnt/tree/$d/$i"
	done
done
sync -f "$mnt" # else the blocks are not there yet
thrice()
{
	local before drops

	drops=$(dropped)
	walk >first
	walk >second
	before=$(messages)
	walk >third
	sent=$(($(messages) - before))
	cmp first second || fail "the second walk saw something else"
	cmp first third || fail "the third walk saw something else"
	(($(dropped) == drops))
}

tries=0
until thrice; do
	((++tries < 20)) || fail "somebody always drops the caches"
done
((sent < 100)) || fail "$sent messages for 300 files that are cached"

# ---- the directory that shows it stands for those beside it ----

wide()
{
	local tree=$1 d i before drops

	mkdir "$mnt/$tree"
	for d in {1..50}; do
		mkdir "$mnt/$tree/$d"
		for i in {1..20}; do
			echo "$d $i" >"$mnt/$tree/$d/$i"
		done
	done
	sync -f "$mnt"
	drops=$(dropped)
	find "$mnt/$tree" -ls >/dev/null # now the kernel has all attributes
	walk "$tree" >first
	before=$(messages)
	walk "$tree" >second
	sent=$(($(messages) - before))
	cmp first second || fail "the second walk saw something else"
	(($(dropped) == drops))
}

tries=0
until wide "wide$tries"; do
	((++tries < 20)) || fail "somebody always drops the caches"
done
((sent < 400)) || fail "$sent messages for 1000 files that are cached"

# ---- what changes is seen at once ----

for i in {1..6}; do
	head -c $((i * 1000)) /dev/zero >>"$mnt/tree/1/$i"
	ln "$mnt/tree/1/$i" "$mnt/tree/2/link$i"
	rm "$mnt/tree/3/$i"
	mv "$mnt/tree/3/$((i + 20))" "$mnt/tree/2/moved$i"
	truncate -s 0 "$mnt/tree/2/$i"
	sync -f "$mnt"
	walk >now
	# A mount says of no file that it has no block.
	(cd "$work/a/tree" && find . -type f -printf '%p %s %b %n\n') |
		awk '{ if ($3 == 0) $3 = 1; print }' | sort >want
	sed "s|^$mnt/tree|.|; s| [0-9]*\$||" now | sort >have
	cmp want have || fail "after $i changes the mount shows something else"
done
unmount_volume
same_tree "$work/a" "$work/b"
