#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# mount(8) mounts a volume: by type, as a helper and from fstab; umount(8)
# makes the last checkpoint and releases the stores.
# In a mount namespace of its own: the program is installed there.
if ((EUID == 0)) && [[ -z ${MOUNTS_APART:-} ]]; then
	MOUNTS_APART=1 exec unshare -m "$0" "$@"
fi
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq mount.fuse

mkdir a b
install_program
sm init --name a,b "$work/a" "$work/b" >/dev/null

released()
{
	[[ -z $(daemons_of "$mnt") ]]
}

# used_once NAME: the volume is mounted; leave a trace and unmount.
used_once()
{
	is_mounted "$mnt" || fail "$1: not mounted on return"
	echo "$1" >"$mnt/$1"
	volume_is healthy || fail "$1: the volume is $(status_of .state)"
	umount "$mnt"
	wait_until 30 released
	eq "what $1 left" "$(cat a/"$1" b/"$1")" "$1"$'\n'"$1"
}

mount -t fuse.seqmirror "$work/a:$work/b" "$mnt"
eq "type" "$(findmnt -n -o FSTYPE "$mnt")" fuse.seqmirror
used_once type

sm "$work/a:$work/b" "$mnt" -o rw,noatime,checkpoint=1,budget=64M
used_once helper

echo "$work/a:$work/b $mnt fuse.seqmirror noatime,nofail,x-test=1 0 0" >fstab
mount -T "$work/fstab" "$mnt"
used_once fstab

rc=0
mount -t fuse.seqmirror "$work/a:$work/b" "$mnt" -o nonsense 2>err || rc=$?
((rc != 0)) || fail "an unknown option is accepted"
not_mounted "$mnt" || fail "mounted with an unknown option"
rc=0
mount -t fuse.seqmirror "$work/none:$work/other" "$mnt" 2>err || rc=$?
((rc != 0)) || fail "missing stores are mounted"
same_tree "$work/a" "$work/b"
