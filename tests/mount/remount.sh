#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# mount -o remount gives a mounted volume other flags and nothing else: what was
# written is not lost, what cannot be changed in place is refused, and a refusal
# changes nothing.
# In a mount namespace of its own: the program is installed there.
if ((EUID == 0)) && [[ -z ${MOUNTS_APART:-} ]]; then
	MOUNTS_APART=1 exec unshare -m "$0" "$@"
fi
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq mount.fuse

mkdir a b other
install_program
sm init --name a,b "$work/a" "$work/b" >/dev/null

daemon_gone()
{
	[[ -z $(daemons_of "$mnt") ]]
}

# Flags of the mount and of the filesystem.
flags()
{
	awk -v p="$mnt" '$5 == p { print $6, $NF }' /proc/self/mountinfo
}

# has FLAG...: of the mount or, behind a colon, of the filesystem.
has()
{
	local flag line

	read -r -a line <<<"$(flags)"
	for flag; do
		if [[ $flag == :* ]]; then
			[[ ,${line[1]}, == *,"${flag#:}",* ]] ||
				fail "not ${flag#:}: ${line[1]}"
		else
			[[ ,${line[0]}, == *,"$flag",* ]] ||
				fail "not $flag: ${line[0]}"
		fi
	done
}

lacks()
{
	[[ ,$(flags | tr ' ' ,), != *,"$1",* ]] || fail "has $1: $(flags)"
}

# kept WORDS COMMAND...: refused with these words, and nothing is changed.
kept()
{
	local before

	before=$(flags)
	refused "${@:2}"
	[[ $refusal == *"$1"* ]] || fail "not '$1': $refusal"
	eq "flags after a refusal" "$(flags)" "$before"
}

same_file()
{
	cmp -s "$1" "a/$2" && cmp -s "$1" "b/$2"
}

# ---- by the place alone: what the kernel shows is merged ----

mount -t fuse.seqmirror "$work/a:$work/b" "$mnt" -o nosuid,timeout=30,checkpoint=60
daemon=$(daemons_of "$mnt")
head -c 5M /dev/urandom >want
cp want "$mnt/file"
mkdir "$mnt/dir"
mount -o remount,ro "$mnt"
has ro :ro nosuid
[[ ! -e $mnt/none ]]
touch "$mnt/none" 2>/dev/null && fail "written to although read-only"
rmdir "$mnt/dir" 2>/dev/null && fail "removed although read-only"
wait_until 20 same_file want file
cmp want "$mnt/file"

mount -o remount,rw,noatime "$mnt"
has rw :rw nosuid noatime
eq "what touch gives" "$(touch "$mnt/none" 2>&1)" ""
mount -o remount,noexec,nosymfollow,sync,lazytime "$mnt"
has noatime noexec nosymfollow :sync :lazytime nosuid
mount -o remount,exec,symfollow,async,nolazytime,nodiratime,strictatime "$mnt"
has nodiratime nosuid
for flag in noexec nosymfollow sync noatime relatime lazytime; do
	lacks "$flag"
done
cp want "$mnt/again"
eq "the daemon" "$(daemons_of "$mnt")" "$daemon"

# ---- what cannot be ----

exec 9>"$mnt/open"
kept "open for writing" mount -o remount,ro "$mnt"
echo still >&9
exec 9>&-
for option in timeout=10 cache=writethrough min_stores=2 checkpoint=5 \
	io_uring=off read=prefer=a budget=128M resync_rate=1M no_auto_attach \
	name=other allow_root debug auto_unmount fsname=x; do
	kept "${option%%=*}" mount -o "remount,ro,$option" "$mnt"
	[[ $refusal == *"unmount and mount again"* ]] ||
		fail "no word of what to do: $refusal"
done
kept "unknown mount option: nonsense" mount -o remount,ro,nonsense "$mnt"
kept "bad value" mount -o remount,ro,timeout=soon "$mnt"
kept "no seqmirror volume" "$SEQMIRROR" mount -o remount,ro "$work/other"
kept "no seqmirror volume" "$SEQMIRROR" mount -o remount,ro "$mnt/dir"
kept "no seqmirror volume" "$SEQMIRROR" /x "$work/none" -o remount,ro
# Something else lies over it.
mount -t tmpfs none "$mnt"
kept "no seqmirror volume" "$SEQMIRROR" mount -o remount,ro "$mnt"
umount "$mnt"

# ---- from fstab, all of whose options are merged ----

echo "$work/a:$work/b $mnt fuse.seqmirror noatime,nosuid,nofail,x-test=1,timeout=30,checkpoint=60.0,cache=writeback,wait=5,degraded 0 0" >fstab
mount -T "$work/fstab" -o remount,ro "$mnt"
has ro :ro noatime nosuid
mount -T "$work/fstab" -o remount "$mnt"
has rw :rw noatime nosuid
sed -i s/timeout=30/timeout=20/ fstab
kept "timeout= cannot be changed" mount -T "$work/fstab" -o remount,ro "$mnt"

# ---- without mount(8), which merges nothing ----

sm mount -o remount,nodev "$mnt"
has nodev rw noatime
lacks nosuid
sm mount -o remount,atime "$mnt"
has relatime
sm /any:/thing "$mnt" -o remount,ro
has ro :ro relatime
lacks nodev
kept "unknown mount option: user_id=0" \
	"$SEQMIRROR" mount -o user_id=0 "$work/a" "$mnt"
mount -o remount,rw "$mnt"
volume_is healthy || fail "the volume is $(status_of .state)"
sm unmount "$mnt"

# Mounted read-only at first; and a flag that the library does not know.
mount -t fuse.seqmirror "$work/a:$work/b" "$mnt" -o ro,nosymfollow
has ro nosymfollow
mount -o remount,rw "$mnt"
has rw nosymfollow
cp want "$mnt/third"
ln -s third "$mnt/link"
cat "$mnt/link" >/dev/null 2>&1 && fail "a symlink is followed"
mount -o remount,symfollow "$mnt"
cmp want "$mnt/link"
kill -KILL "$(daemons_of "$mnt")"
wait_until 10 daemon_gone
kept "cannot be asked for timeout=" mount -o remount,timeout=3 "$mnt"
sm unmount "$mnt"

mount_volume "$work/a" "$work/b"
for name in file again third; do
	cmp want "$mnt/$name"
done
eq "open" "$(<"$mnt/open")" still
unmount_volume
same_tree a b
