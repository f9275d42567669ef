#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The last store made a link and called it an error, so that it has a name which
# nobody knows. To rename another name of the file to that one is nothing to do
# for a filesystem, and leaves both: here the old one has to go.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

faulty a
mkdir b
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/d" "$mnt/e"
echo one >"$mnt/d/x"
sync "$mnt/d/x"
detach b
faults a late fail link EIO
! ln "$mnt/d/x" "$mnt/e/y" 2>/dev/null || fail "no error was told"
faults a clear
[[ -e a.below/e/y ]] || fail "the link was not made"
[[ ! -e $mnt/e/y ]] || fail "the link is known"
mv "$mnt/d/x" "$mnt/e/y"
eq "d" "$(ls "$mnt/d")" ""
eq "e" "$(ls "$mnt/e")" y
attach b
unmount_volume
sm check "$work/a" >/dev/null || fail "check of a"
same_tree a.below b
eq "d of a" "$(ls a.below/d)" ""
eq "contents" "$(cat b/e/y)" one
