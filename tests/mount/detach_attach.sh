#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store goes away, some things change, it comes back: what travels is what
# changed. A 1 GiB image with 256 MiB mapped and 2,000 files.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 1600
image b 1600
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt"
detach b
same_tree "$work/a" "$work/b"
(cd b/tree/d00 && find . -printf '%i %P\n' | sort) >moved.before
python3 "$lib_dir/scenario.py" change "$mnt" >change.json
blocks=$(jq .blocks_bytes change.json)
punched=$(jq .punched_bytes change.json)
eq "punched" "$punched" $((16 << 20))

sm resync --dry-run --json "$mnt" b >forecast.json
store_is b detached || fail "a dry run changed the state of b"
sm resync --wait --json "$mnt" b >result.json
cat change.json forecast.json result.json
wait_until 20 store_is b online

copied=$(jq .bytes_copied result.json)
((copied * 10 <= blocks * 11)) ||
	fail "$copied bytes copied for $blocks bytes in changed blocks"
((copied >= 200 * 4096)) || fail "only $copied bytes copied"
eq "bytes_unmapped" "$(jq .bytes_unmapped result.json)" "$punched"
for key in nodes entries_created entries_removed entries_renamed \
	bytes_copied bytes_unmapped; do
	eq "$key, done and forecast" "$(jq ".$key" result.json)" \
		"$(jq ".$key" forecast.json)"
done
# A renamed directory is the same directory, and so are the files in it.
(cd b/tree/moved && find . -path ./d04 -prune -o -printf '%i %P\n' |
	sort) >moved.after
cmp moved.before moved.after ||
	fail "the files of the renamed directory are not the same files"
unmount_volume
same_tree "$work/a" "$work/b"
