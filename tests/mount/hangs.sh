#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# hang.sh and hang_open.sh, each in three parts, side by side: they wait most of the
# time, and keep the disk from nobody. Beside other tests a busy disk may seem to
# hang.
set -u

here=$(dirname "$0")
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
rc=0
pids=()

for part in 1 2 3; do
	for name in hang hang_open; do
		PART=$part/3 "$here/$name.sh" >"$log/$name.$part" 2>&1 &
		pids+=("$!")
	done
done
for pid in "${pids[@]}"; do
	wait "$pid" || rc=$?
done
cat "$log"/*
exit "$rc"
