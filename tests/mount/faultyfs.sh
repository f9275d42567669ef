#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The faulty filesystem that other tests stand on: a store like any other as
# long as it is told nothing, and then it fails as it is told.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a
faulty b

# By itself.
echo hello >b/file
eq "ls" "$(ls -A b)" file
faults b fail read,getattr EIO file
cat b/file 2>/dev/null && fail "no EIO"
eq hits "$(($(fault_hits b) > 0))" 1
faults b clear
eq "after clear" "$(cat b/file)" hello
(echo nonsense >b/.faultyfs) 2>/dev/null && fail "nonsense accepted"
(echo times x fail read EIO >b/.faultyfs) 2>/dev/null && fail "no number"
(echo late bad file 0 4 >b/.faultyfs) 2>/dev/null && fail "late without fail"
faults b after 1 times 1 fail mkdir EIO
mkdir b/d || fail "the first is none of the failing"
mkdir b/e 2>/dev/null && fail "no EIO"
mkdir b/e || fail "more than once"
faults b clear
faults b late fail mkdir EIO
mkdir b/f 2>/dev/null && fail "no late EIO"
[[ -d b.below/f ]] || fail "late, it is done"
faults b clear
mkdir b/g || fail "what was told late is told again"
faults b times 1 fail rmdir EIO
faults b then fail mkdir EIO
mkdir b/h || fail "nothing has struck yet"
rmdir b/h 2>/dev/null && fail "no EIO"
mkdir b/i 2>/dev/null && fail "no EIO after another one"
faults b clear
rmdir b/d b/e b/f b/g b/h
echo gone >b/gone
exec {fd}<b/gone
rm b/gone
faults b fail read EIO 'g*'
eq "what has no name" "$(cat <&"$fd")" gone
exec {fd}<&-
faults b clear
faults b bad file 0 4
cat b/file 2>/dev/null && fail "a bad sector was read"
echo HELLO >b/file
eq "written over" "$(cat b/file)" HELLO
faults b hang read file
cat b/file >read_late &
reader=$!
waits()
{
	(($(fault_waits b) == 1))
}
wait_until 10 waits
faults b clear
wait "$reader"
eq "read late" "$(cat read_late)" HELLO
rm b/file

# As a store.
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
cp -a /etc/default "$mnt/tree"
ln -s file "$mnt/link"
dd if=/dev/urandom of="$mnt/file" bs=64k count=32 status=none
fallocate -p -o 65536 -l 131072 "$mnt/file"
setfattr -n user.x -v y "$mnt/file" 2>/dev/null || :
mv "$mnt/tree" "$mnt/moved"
rm -r "$mnt/moved/"*
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
