#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Set-id programs and device files work as on any filesystem that root mounts,
# and do not where the mount says so.
if ((EUID == 0)) && [[ -z ${MOUNTS_APART:-} ]]; then
	MOUNTS_APART=1 exec unshare -m "$0" "$@"
fi
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv mount.fuse

mkdir a b
install_program
sm init --name a,b "$work/a" "$work/b" >/dev/null
chmod 755 "$work"

# runs_as: the user that a set-id program of the mount runs as for another one.
runs_as()
{
	setpriv --reuid 65534 --regid 65534 --clear-groups "$mnt/who" -u
}

device_works()
{
	echo x 2>/dev/null >"$mnt/null"
}

mount_volume "$work/a" "$work/b"
cp "$(command -v id)" "$mnt/who"
chmod 4755 "$mnt/who"
mknod "$mnt/null" c 1 3
eq "a set-id program" "$(runs_as)" 0
device_works || fail "no device"
unmount_volume

mount_volume -o nosuid,nodev "$work/a" "$work/b"
eq "a set-id program, with nosuid" "$(runs_as)" 65534
! device_works || fail "a device, with nodev"
unmount_volume

# mount(8) tells its helpers no flag that is a default.
mount -t fuse.seqmirror "$work/a:$work/b" "$mnt"
eq "a set-id program, by mount(8)" "$(runs_as)" 0
umount "$mnt"
wait_until 20 not_mounted "$mnt"
