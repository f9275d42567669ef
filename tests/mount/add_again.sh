#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# add: not before it is a member is a store taken in by the daemon itself.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
grep -q SEQMIRROR_FAULT "$SEQMIRROR" || skip "a build without faults"

mkdir a b
sm init --name a,b a b >/dev/null 2>&1

echo "-- while its row is being recorded the daemon looks for stores"
mkdir c
SEQMIRROR_FAULT=mirror.record.before:delay=2500 mount_volume a b
sm add "$mnt" c >/dev/null 2>&1 || fail "add: status $?"
wait_until 60 store_is c online
unmount_volume
same_tree a c
