#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that others have filled while nobody had it mounted, to the last byte and
# the last inode, is mounted as ever, and what is deleted there is deleted: the
# files that a mount makes have the room of the ballast.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

others=(mkdir)
# fill: other people's files beside the store, until there is room for none.
fill()
{
	"${others[@]}" b/others >/dev/null
	# Where they are few all inodes are used up, else what blocks allow.
	(($(stat -f -c %c b) > 1000)) || fill_inodes
	dd if=/dev/zero of=b/others/large bs=64k status=none 2>/dev/null || :
	dd if=/dev/zero of=b/others/small bs=1k status=none 2>/dev/null || :
	fill_inodes
}

fill_inodes()
{
	python3 - <<-'END'
		import errno, os
		try:
		    os.close(os.open("b/others/large", os.O_CREAT))
		    os.close(os.open("b/others/small", os.O_CREAT))
		    for n in range(1 << 20):
		        os.close(os.open(f"b/others/{n}", os.O_CREAT))
		except OSError as error:
		    if error.errno != errno.ENOSPC:
		        raise
	END
}

# mounted_full TYPE [MKFS_OPTION...]
mounted_full()
{
	echo "-- $*"
	image b 320 "$@"
	rm -rf a
	mkdir a b/store
	sm init --name a,b a b/store >/dev/null
	mount_volume a b/store
	for n in {1..60}; do
		echo "$n" >"$mnt/$n"
	done
	unmount_volume
	fill
	mount_volume a b/store
	store_is b online || fail "b is $(store_state b)"
	rm "$mnt"/{1..20} || fail "no delete on a full store"
	sync -f "$mnt"
	store_is b online || fail "b is $(store_state b)"
	unmount_volume
	same_tree a b/store
	rm -r b/others
	mount_volume a b/store
	store_is b online || fail "b is $(store_state b)"
	echo more >"$mnt/more" || fail "no room again"
	unmount_volume
	same_tree a b/store
	(($(stat -c %b b/store/.seqmirror/ballast) >= 8192)) ||
		fail "the ballast is not back"
	sm check b/store >check.log || fail "check: $(cat check.log)"
	image_umount b
	rm -r b b.img
}

mounted_full ext4 -N 400
if can_make xfs; then
	mounted_full xfs
else
	echo "not on xfs: $why"
fi

# Nobody has the ballast any more, and it lies elsewhere: it is told what is wrong.
echo "-- no inode, no ballast, in another place"
image b 320 ext4 -N 400
rm -rf a
mkdir a b/store elsewhere
sm init --name a,b a b/store >/dev/null
mount_volume a b/store
echo 1 >"$mnt/1"
unmount_volume
rm b/store/.seqmirror/ballast
mkdir b/others
: >b/others/large
fill_inodes
umount b
mount -o loop,noatime b.img elsewhere
: >"$daemon_log"
mount_volume a elsewhere/store
store_is b missing || fail "b is $(store_state b)"
grep -q 'store b: .*No space left.*going on without' "$daemon_log" ||
	fail "not told: $(cat "$daemon_log")"
rm -r elsewhere/others
sm attach --wait "$mnt" elsewhere/store >/dev/null
unmount_volume
same_tree a elsewhere/store
umount elsewhere
rm -r b b.img elsewhere

# Names without end take a btrfs what it has for its own trees, of which the ballast
# has none: the volume is mounted without that store, and it comes back.
if ! can_make btrfs; then
	echo "not on btrfs: $why"
	exit 0
fi
echo "-- btrfs"
image b 160 btrfs
rm -rf a
mkdir a b/store
sm init --name a,b a b/store >/dev/null
mount_volume a b/store
echo 1 >"$mnt/1"
unmount_volume
others=(btrfs subvolume create)
fill
: >"$daemon_log"
mount_volume a b/store
store_is b online ||
	grep -q 'map of store b: .*No space left.*going on without' \
		"$daemon_log" || fail "not told: $(cat "$daemon_log")"
rm "$mnt/1"
btrfs subvolume delete -c b/others >/dev/null
btrfs subvolume sync b >/dev/null
sync -f b
wait_until 30 store_is b online
unmount_volume
same_tree a b/store
