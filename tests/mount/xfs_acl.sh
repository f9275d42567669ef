#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# xfs shows ACLs once more, as trusted.SGI_ACL_*. They are no attributes of their
# own: nobody sees them through a mount, a resync between an xfs and an ext4
# neither copies nor removes them, and a scrub finds nothing wrong.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setfacl getfacl getfattr
need_fs xfs

acls()
{
	(cd "$1" && getfacl -n d d/file d/sub)
}

# Of the stores too, below the mount.
acls_are_right()
{
	acls "$mnt" >have
	diff wanted have || fail "other ACLs $1"
	for store in a b; do
		acls "$work/$store" >have
		diff wanted have || fail "other ACLs on $store $1"
	done
	sm scrub --wait "$mnt" >scrubbed || fail "scrub $1: $(cat scrubbed)"
}

image a 400 ext4
image b 400 xfs
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/d" "$mnt/d/sub"
echo x >"$mnt/d/file"
setfacl -m u:77:rw,g:88:r "$mnt/d/file"
setfacl -m u:77:rx -d -m u:78:rwx "$mnt/d/sub"
acls "$mnt" >wanted
acls_are_right "when they were set"

for away in a b; do
	detach "$away"
	touch -d 2001-02-03 "$mnt/d/file" "$mnt/d/sub"
	setfattr -n user.note -v "$away" "$mnt/d/file"
	attach "$away"
	acls_are_right "after $away was away"
done

for lead in a b; do
	mount_options="prefer=$lead"
	unmount_volume
	mount_volume -o "$mount_options" "$work/a" "$work/b"
	eq "names" "$(cd "$mnt" && getfattr -m - d/file d/sub |
		grep -v '^#' | sort -u | tr '\n' ' ')" \
		" system.posix_acl_access system.posix_acl_default user.note "
	getfattr -n trusted.SGI_ACL_FILE "$mnt/d/file" 2>/dev/null &&
		fail "it can be read"
	setfattr -n trusted.SGI_ACL_FILE -v x "$mnt/d/file" 2>/dev/null &&
		fail "it can be set"
	setfattr -x trusted.SGI_ACL_FILE "$mnt/d/file" 2>/dev/null &&
		fail "it can be removed"
	acls_are_right "with $lead"
done
unmount_volume
same_tree "$work/a" "$work/b"
