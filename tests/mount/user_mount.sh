#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An ordinary user mounts a volume for oneself, and sees it alone.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv fusermount3
[[ -u $(command -v fusermount3) ]] || skip "fusermount3 is not setuid"

as_user()
{
	(cd / && setpriv --reuid 65534 --regid 65534 --clear-groups \
		env -u XDG_RUNTIME_DIR HOME="$work" TMPDIR="$work" "$@")
}

chmod 755 "$work"
as_user test -x "$SEQMIRROR" || skip "others cannot reach the program"
mkdir a b
chown 65534:65534 a b "$mnt"

as_user "$SEQMIRROR" init --name a,b "$work/a" "$work/b" >/dev/null
if ! as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt" 2>err; then
	! grep -qE 'fusermount|/dev/fuse|not permitted' err ||
		skip "users cannot mount here: $(tail -n 1 err)"
	fail "mount: $(cat err)"
fi
is_mounted "$mnt" || fail "mount returned before the mount was there"
as_user sh -c "mkdir $mnt/ops && python3 $lib_dir/ops.py $mnt/ops" ||
	fail "the cases as a user"
! ls "$mnt" >/dev/null 2>&1 || fail "root sees into a user's mount"
as_user "$SEQMIRROR" detach "$mnt" b >/dev/null
as_user sh -c "echo changed >$mnt/note && rm -r $mnt/ops/rename"
as_user "$SEQMIRROR" attach --wait "$mnt" b >/dev/null
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
eq "note" "$(cat b/note)" changed
