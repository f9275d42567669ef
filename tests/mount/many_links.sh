#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# As many names as ext4 gives a file, and not one more: EMLINK, also where only
# one of two stores has that limit. Nothing is left of the name that was refused.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq losetup python3

# links STORES...: as many as there can be, then one less and one again.
links()
{
	sm init --name a,b "$@" >/dev/null
	mount_volume "$@"
	python3 - "$mnt" <<'EOF'
import errno, os, sys

os.chdir(sys.argv[1])
os.mkdir("d")
open("file", "w").write("content")
count = 1
try:
    while count < 70000:
        os.link("file", "d/%d" % count)
        count += 1
except OSError as e:
    assert e.errno == errno.EMLINK, e
assert count == 65000, count
assert os.stat("file").st_nlink == count
assert not os.path.exists("d/%d" % count)
os.mkdir("sub")  # a directory's links are another matter
os.unlink("d/7")
os.link("file", "seven")
try:
    os.link("file", "eight")
    sys.exit("FAIL: one more than there can be")
except OSError as e:
    assert e.errno == errno.EMLINK, e
EOF
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
	for s in "$@"; do
		eq "links in $s" "$(stat -c %h "$s/file")" 65000
		eq "names in $s/d" "$(find "$s/d" -type f | wc -l)" 64998
		sm check "$s" >/dev/null
	done
	same_tree "$@"
}

# in_time WHAT COMMAND...: looking at all names for each took many minutes.
in_time()
{
	timeout 90 "${@:2}" >said || fail "$1 of thousands of names: status $?"
}

# What goes in one directory lies in another one, made later, as well.
many()
{
	mount_volume "$@"
	python3 - "$mnt" <<'EOF'
import os, sys

os.chdir(sys.argv[1])
os.mkdir("kept")
for i in range(1000, 2000):
    os.rename("d/%d" % i, "kept/%d" % i)
EOF
	sync -f "$mnt"
	detach b
	in_time "a change" python3 - "$mnt" <<'EOF'
import os, sys

os.chdir(sys.argv[1])
for i in range(2000, 64000, 3):
    os.unlink("d/%d" % i)
for i in range(2000, 64000, 3):
    os.link("file", "d/new%d" % i)
EOF
	in_time "a resync" "$SEQMIRROR" attach --wait "$mnt" b
	detach b
	in_time "a removal" rm -r "$mnt/d"
	in_time "a resync of a removal" "$SEQMIRROR" attach --wait "$mnt" b
	store_is b online
	unmount_volume
	for s in "$@"; do
		eq "links in $s" "$(stat -c %h "$s/file")" 1002
		sm check "$s" >/dev/null
	done
	same_tree "$@"
}

# The first one has no such limit, where there can be one.
if can_make xfs; then
	image a 512 xfs
else
	image a 256
fi
image b 256
links "$work/a" "$work/b"
many "$work/a" "$work/b"
