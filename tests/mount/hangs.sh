#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# hang.sh and hang_open.sh side by side: they wait most of the time, and keep the
# disk from nobody. Beside other tests a busy disk may seem to hang.
set -u

here=$(dirname "$0")
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
rc=0

"$here/hang_open.sh" >"$log/hang_open" 2>&1 &
"$here/hang.sh" || rc=$?
wait $! || rc=$?
cat "$log/hang_open"
exit "$rc"
