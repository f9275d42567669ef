#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store comes back beside a steady writer: it gets done, the stores are
# equal, and no single operation waits longer than a second.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 600
image b 600
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 "$lib_dir/scenario.py" fill "$mnt" --image-mib 200 \
	--mapped-mib 100 --files 500

for round in 1 2; do
	detach b
	python3 "$lib_dir/scenario.py" change "$mnt" --seed "$round" \
		--image-only >/dev/null
	dd if=/dev/urandom of="$mnt/big$round" bs=1M count=40 status=none
	rm -f stop ready
	start_helper python3 "$lib_dir/writer.py" "$mnt/busy$round" \
		"$work/stop" --seed "$round" --ready ready --pause-ms 0.5 >"w$round.json"
	wait_until 10 test -e ready
	attach b
	touch stop
	wait "$helper_pid" || fail "the writer met an error"
	cat "w$round.json"
	worst=$(jq .worst_ms "w$round.json")
	((worst <= 1000)) ||
		fail "$(jq -r .worst_what "w$round.json") waited $worst ms"
	volume_is healthy || fail "the volume is $(status_of .state)"
done
unmount_volume
same_tree "$work/a" "$work/b"
