#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Full stores on which thousands of files, or of names of one file, are removed in
# any order: what the maps have to note of it has room, and nobody is put out.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq python3

image a 100 ext4 -N 50000
image b 100 ext4 -N 50000
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"

# fill links|files: and then nothing more has room.
fill()
{
	python3 - "$mnt" "$1" <<'EOF'
import os, sys

os.chdir(sys.argv[1])
os.mkdir("d")
open("d/0", "w").write("content")
for i in range(1, 40000):
    if sys.argv[2] == "links":
        os.link("d/0", "d/%d" % i)
    else:
        os.close(os.open("d/%d" % i, os.O_CREAT | os.O_WRONLY))
EOF
	! dd if=/dev/zero of="$mnt/full" bs=1M conv=fsync 2>/dev/null ||
		fail "there is room for anything"
}

# In an order that has all pages of a map changed again and again.
removal()
{
	python3 - "$mnt" <<'EOF'
import os, random, sys

os.chdir(sys.argv[1])
names = os.listdir("d")
random.Random(1).shuffle(names)
for name in names:
    os.unlink("d/" + name)
os.rmdir("d")
EOF
}

for what in links files; do
	fill "$what"
	removal || fail "a removal of $what fails on a full volume"
	rm "$mnt/full"
	volume_is healthy || fail "the volume is $(status_of .state)"
	echo more >"$mnt/more"
	sync "$mnt/more"
done
unmount_volume
same_tree "$work/a" "$work/b"
