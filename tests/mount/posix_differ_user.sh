#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The random system calls of posix_differ.sh on a volume that an ordinary user
# has mounted for oneself: the daemon has no more rights than the caller.
#
# usage: posix_differ_user.sh [SEED [COUNT]]
#
# In a mount namespace of its own: /dev/fuse is open to all there.
if ((EUID == 0)) && [[ -z ${MOUNTS_APART:-} ]]; then
	MOUNTS_APART=1 exec unshare -m "$0" "$@"
fi
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv fusermount3
[[ -u $(command -v fusermount3) ]] || skip "fusermount3 is not setuid"
: "${DIFFER:?says where the exerciser is}"

# fusermount3 wants a user who has a name.
as_user()
{
	(cd / && setpriv --reuid 65534 --regid 65534 --groups 12050 \
		env HOME="$work" XDG_RUNTIME_DIR="$work/run" "$@")
}

chmod 755 "$work"
mknod -m 666 fuse c "$((0x$(stat -c %t /dev/fuse)))" \
	"$((0x$(stat -c %T /dev/fuse)))"
mount --bind fuse /dev/fuse
as_user test -x "$SEQMIRROR" || skip "others cannot reach the program"
image a 700
image b 700
image plain 700
# As what a user mounts.
mount -o remount,nodev,nosuid plain
mkdir -m 700 run
chown 65534:65534 a b plain run "$mnt"
as_user "$SEQMIRROR" init --name a,b "$work/a" "$work/b" >/dev/null
if ! as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt" 2>err; then
	! grep -qE 'fusermount|/dev/fuse|not permitted' err ||
		skip "users cannot mount here: $(tail -n 1 err)"
	fail "mount: $(cat err)"
fi
"$DIFFER" -u 65534 -p -s "${1:-1}" -n "${2:-20000}" "$mnt" "$work/plain" ||
	fail "not like ext4"
as_user "$SEQMIRROR" status "$mnt"
eq "state" "$(as_user "$SEQMIRROR" status --json "$mnt" | jq -r .state)" \
	healthy
as_user fusermount3 -u "$mnt"
wait_until 20 not_mounted "$mnt"
no_daemon_left()
{
	[[ -z $(daemons_of "$mnt") ]]
}
wait_until 30 no_daemon_left
same_tree "$work/a" "$work/b"
same_tree --no-times --no-holes --no-root "$work/a" "$work/plain"
