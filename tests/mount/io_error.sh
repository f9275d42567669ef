#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store begins to fail with I/O errors under load: the application sees
# nothing, the status says it, and the repaired store comes back.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

# failing TYPE: the second store is on that filesystem.
failing()
{
	local b=b_$1

	image "a_$1" 300
	image "$b" 400 "$1"
	sm init --name "a_$1,$b" "$work/a_$1" "$work/$b" >/dev/null
	mount_volume "$work/a_$1" "$work/$b"
	cp -r /etc/default "$mnt/tree"
	rm -f stop ready
	start_helper python3 "$lib_dir/writer.py" "$mnt/busy" "$work/stop" \
		--log "$work/log_$1" --ready "$work/ready" --pause-ms 0.2 >"writer_$1.json"
	wait_until 20 test -e ready
	python3 "$lib_dir/scenario.py" shutdown "$work/$b" ||
		skip "$1 cannot be shut down"
	wait_until 30 store_is "$b" failed
	volume_is degraded || fail "the volume is $(status_of .state)"
	sm status "$mnt" | grep -q failed || fail "status does not say failed"
	cat "$mnt"/tree/* >/dev/null || fail "reading after the failure"
	touch stop
	wait "$helper_pid" || fail "the application saw the failure of $1"
	cat "writer_$1.json"
	python3 "$lib_dir/writer.py" --check "log_$1" "$mnt/busy" ||
		fail "something durable was lost"
	# The disk is looked after and comes back at its place.
	image_power "$b"
	wait_until 60 store_is "$b" online
	unmount_volume
	same_tree "$work/a_$1" "$work/$b"
}

failing ext4
if can_make xfs; then
	failing xfs
fi
