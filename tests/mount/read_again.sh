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

mkdir "$mnt/tree"
for d in 1 2 3; do
	mkdir "$mnt/tree/$d"
	for i in {1..100}; do
		echo "$d $i" >"$mnt/tree/$d/$i"
	done
done
sync -f "$mnt" # else the blocks are not there yet
walk >first
walk >second
before=$(messages)
walk >third
sent=$(($(messages) - before))
((sent < 100)) || fail "$sent messages for 300 files that are cached"
cmp first second || fail "the second walk saw something else"
cmp first third || fail "the third walk saw something else"

# ---- the directory that shows it stands for those beside it ----

mkdir "$mnt/wide"
for d in {1..50}; do
	mkdir "$mnt/wide/$d"
	for i in {1..20}; do
		echo "$d $i" >"$mnt/wide/$d/$i"
	done
done
sync -f "$mnt"
find "$mnt/wide" -ls >/dev/null # now the kernel has all attributes
walk wide >first
before=$(messages)
walk wide >second
sent=$(($(messages) - before))
((sent < 400)) || fail "$sent messages for 1000 files that are cached"
cmp first second || fail "the second walk saw something else"

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
