#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An overlay has its upper directory on a mount: what it removes and renames
# leaves whiteouts there, the same on both stores, also of another filesystem,
# also by a resync and after the daemon was killed.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setfacl
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null ||
	skip "no overlay"

image a 400
if can_make xfs; then
	image b 400 xfs
else
	image b 400
fi
sm init --name a,b "$work/a" "$work/b" >/dev/null

mkdir -p lower/dir/sub lower/other over
for name in kept gone moved replaced dir/one dir/two dir/sub/deep other/x; do
	echo "$name" >lower/$name
done

# whiteout FLAGS OLD NEW: renameat2(2), RENAME_WHITEOUT among the flags.
whiteout()
{
	python3 - "$lib_dir" "$@" <<'END'
import errno, sys
sys.path.insert(0, sys.argv[1])
from posix_side import WHITEOUT, renameat2
try:
    renameat2(*sys.argv[3:], WHITEOUT | int(sys.argv[2]))
except OSError as error:
    print(errno.errorcode[error.errno])
END
}

overlay()
{
	mount -t overlay none "$work/over" \
		-o "lowerdir=$work/lower,upperdir=$mnt/upper,workdir=$mnt/work"
}

# whiteouts_are NAME...: of the upper directory, as every store has it.
whiteouts_are()
{
	local root

	for root in "$mnt" "${@:2}"; do
		eq "whiteouts of $root" "$(cd "$root/upper" &&
			find . -type c -perm 0 -user 0 | sort | xargs)" "$1"
	done
}

names()
{
	(cd over && find . | sort | xargs)
}

mount_volume "$work/a" "$work/b"
mkdir "$mnt/upper" "$mnt/work"
overlay
echo new >over/new
rm over/gone
mv over/moved over/here
mv over/dir/one over/other/one
echo again >over/replaced.new
mv over/replaced.new over/replaced
rm -r over/dir/sub
rm over/new
python3 -c 'import os; os.rename("over/other", "over/away")' 2>/dev/null &&
	fail "a lower directory is renamed without redirect_dir"
mv over/other over/away
want=$(names)
umount over
white='./dir/one ./dir/sub ./gone ./moved ./other'
whiteouts_are "$white" "$work/a" "$work/b"
overlay
eq "names after a remount of the overlay" "$(names)" "$want"
[[ $(<over/replaced) == again && $(<over/away/one) == dir/one ]] ||
	fail "contents"
umount over

# A store that was away gets them.
detach b
overlay
mv over/kept over/late
rm -r over/dir
mkdir over/dir
umount over
attach b
# dir is opaque now and needs none below it.
white='./gone ./kept ./moved ./other'
whiteouts_are "$white" "$work/a" "$work/b"

# And after a crash.
overlay
echo last >over/last
sync -f "$mnt"
mv over/away/x over/last
umount over
kill_daemon
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
overlay
eq "what was renamed" "$(<over/last)" other/x
umount over

# Some filesystems give a default ACL to whiteouts, others do not.
mkdir "$mnt/acl"
setfacl -d -m u:12001:rwx "$mnt/acl"
touch "$mnt/acl/f"
eq "a whiteout" "$(whiteout 0 "$mnt/acl/f" "$mnt/acl/g")" ""
for root in "$mnt" a b; do
	eq "ACL of $root" "$(getfacl -cp "$root/acl/f" | xargs)" \
		"user::--- group::--- other::---"
done
rm -r "$mnt/acl"
sm scrub --wait "$mnt" >scrub.out || fail "a scrub: $(<scrub.out)"
unmount_volume
same_tree "$work/a" "$work/b"

# ---- a store whose filesystem cannot ----

mkdir c
faulty d
faults d fail rename 22 'probe*'
sm init --name c,d "$work/c" "$work/d" >/dev/null 2>&1
mount_volume "$work/c" "$work/d"
echo f >"$mnt/f"
mkdir "$mnt/dir"
for flags in 0 1; do
	eq "flags $flags" "$(whiteout "$flags" "$mnt/f" "$mnt/g")" EINVAL
done
eq "what is there" "$(ls "$mnt" | xargs)" "dir f"
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume

# ---- one that has no room for it ----

faults d clear
mount_volume -o timeout=30 "$work/c" "$work/d"
faults d fail rename ENOSPC
for name in f dir; do
	eq "of $name" "$(whiteout 0 "$mnt/$name" "$mnt/g")" ENOSPC
done
faults d clear
eq "what is there" "$(ls "$mnt" | xargs)" "dir f"
eq "contents" "$(<"$mnt/f")" f
volume_is healthy || fail "the volume is $(status_of .state)"
for name in f dir; do
	eq "of $name" "$(whiteout 1 "$mnt/$name" "$mnt/$name.new")" ""
done
faults d fail rename EIO
eq "with a store that fails" \
	"$(whiteout 0 "$mnt/f.new" "$mnt/f")" ""
store_is d failed || fail "d is $(store_state d)"
faults d clear
attach d
sm scrub --wait "$mnt" >scrub.out || fail "a scrub: $(<scrub.out)"
unmount_volume
same_tree "$work/c" "$work/d.below"
eq "what is there" "$(ls "$work/c" | xargs)" "dir dir.new f f.new"
