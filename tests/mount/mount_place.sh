#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A mount point is no store of its volume, and neither lies in the other: of those
# that nobody named as well. Of who forgets the mount point, the last store is it.
# And whatever a mount is refused for, it is before a recovery has changed a store.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a shelf shelf/b
ln -s shelf door
sm init --name a,b "$work/a" "$work/shelf/b" >/dev/null
mount_volume "$work/a" "$work/shelf/b"
mkdir "$mnt/below"
unmount_volume

# not_here POINT STORE...
not_here()
{
	refused "$SEQMIRROR" mount "${@:2}" "$1"
	not_mounted "$(readlink -f "$1")" || fail "mounted at $1"
	[[ $refusal == *"cannot lie in one another ($work/"* ]] || fail "$refusal"
}

for point in shelf/b shelf/b/ shelf/b/below shelf door door/b/below; do
	not_here "$work/$point" "$work/a"
	not_here "$work/$point" "$work/a" "$work/shelf/b"
done
not_here "$work/a/below" "$work/shelf/b"
not_here "$work/shelf/b" "$work/a:$work/shelf/b"

mount_volume "$work/a"
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree a shelf/b

# ---- what is refused changes nothing, after a crash neither ----

# The stores' own files, to the nanosecond.
marks()
{
	find a/.seqmirror shelf/b/.seqmirror -type f ! -name lock \
		-printf '%p %T@ %s\n' | sort
}

# Without the line of the library's own.
cat >quietly <<-'EOF'
	set -o pipefail
	"$@" 2>&1 | grep -v '^seqmirror: fuse: ' >&2
EOF

# not_so WORDS POINT [OPTION...]: refused with these words.
not_so()
{
	local before

	before=$(marks)
	refused bash quietly "$SEQMIRROR" mount "${@:3}" "$work/a" "$2"
	[[ $refusal == *"$1"* ]] || fail "not '$1': $refusal"
	eq "what lies in the stores ($1)" "$(marks)" "$before"
	not_mounted "$2" || fail "mounted at $2"
}

refusals()
{
	not_so 'read=prefer=NOSUCH: no such store' "$mnt" -o read=prefer=NOSUCH
	not_so 'cannot lie in one another' "$work/shelf"
	not_so 'Not a directory' "$work/plain"
	if ! grep -qs '^[Y1]' /sys/module/fuse/parameters/enable_uring; then
		not_so 'io_uring=on' "$mnt" -o io_uring=on
	fi
	if ! grep -q selinuxfs /proc/filesystems; then
		not_so 'cannot be mounted' "$mnt" -o context=nobody_u
	fi
}

: >plain
refusals
mount_volume "$work/a"
echo new >"$mnt/file"
sync "$mnt/file"
kill_daemon
refusals
sm check "$work/a" >shown
grep -q 'not left cleanly' shown || fail "recovered: $(cat shown)"
mount_volume "$work/a"
eq contents "$(cat "$mnt/file")" new
wait_until 60 volume_is healthy

# Over what a killed daemon has left nothing is mounted: what to do is said.
kill -KILL "$daemon_pid"
wait "$daemon_pid" || :
daemon_pid=
refused "$SEQMIRROR" mount "$work/a" "$mnt"
[[ $refusal == *"daemon of what is mounted here is gone"* ]] || fail "$refusal"
eval "$(sed -n 's/.*`seqmirror \([^`]*\)`.*/sm \1/p' <<<"$refusal")"
mount_volume "$work/a"
wait_until 60 volume_is healthy
unmount_volume
same_tree a shelf/b
