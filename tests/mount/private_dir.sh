#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The private directory of the stores cannot be seen or reached in the mount.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# cannot COMMAND...
cannot()
{
	if "$@" >/dev/null 2>&1; then
		fail "possible: $*"
	fi
}

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
private=$mnt/.seqmirror
mkdir "$mnt/dir"
echo text >"$mnt/file"

eq "names in the root" "$(find "$mnt" -mindepth 1 -printf '%P\n' | sort |
	xargs)" "dir file"
cannot test -e "$private"
cannot ls "$private"
cannot cat "$private/store"
cannot mkdir "$private"
cannot cp "$mnt/file" "$private"
cannot mv "$mnt/dir" "$private"
cannot mv -T "$private" "$mnt/stolen"
cannot ln "$mnt/file" "$private"
cannot ln -s file "$private"
cannot mknod "$private" p
cannot rm -r "$private"
cannot rmdir "$private"
cannot chmod 777 "$private"
cannot cat "$mnt/dir/../.seqmirror/store"
# Elsewhere it is a name like any other.
mkdir "$mnt/dir/.seqmirror"
echo mine >"$mnt/dir/.seqmirror/store"
eq "a user's own" "$(cat "$mnt/dir/.seqmirror/store")" mine
rm -rf "${mnt:?}"/* "$mnt"/.[!.]*
unmount_volume
eq "mode" "$(stat -c %a a/.seqmirror b/.seqmirror | xargs)" "700 700"
mount_volume "$work/a" "$work/b"
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
