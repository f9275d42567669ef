#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon's memory follows what the kernel has cached, down as well as up.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

files=100000

resident()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/$(daemons_of "$mnt" | head -n 1)/status"
}

# forgotten: the kernel is asked again each time, it may have been busy.
forgotten()
{
	echo 2 >/proc/sys/vm/drop_caches
	now=$(resident) &&
		((now < before + (most - before) / 3))
}

mkdir a
for ((i = 0; i < 100; i++)); do
	mkdir "a/$i"
	(cd "a/$i" && seq -f "file%g" $((files / 100)) | xargs touch)
done
sm init --name a "$work/a" >/dev/null
mount_volume "$work/a"
before=$(resident)
eq "files" "$(find "$mnt" -type f -printf '%s\n' | wc -l)" $files
most=$(resident)
((most > before + 16384)) ||
	fail "$before KiB, and $most with $files files: nothing to see here"
wait_until 30 forgotten
unmount_volume
