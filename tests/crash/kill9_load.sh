#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed under load, again and again: every byte that was fsynced
# is there after the next mount, and the stores are equal.
#
#	KILLS	how many times (default 12; the soak does it more often)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

kills=${KILLS:-12}

# Some 0.1 to 0.6 seconds of work, measured in what got durable.
worked()
{
	[[ -e log && $(wc -l <log) -gt $1 ]]
}

image a 500
image b 500
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
# What nobody touches any more must not be read again after a crash.
mkdir "$mnt/top"
dd if=/dev/urandom of="$mnt/old" bs=1M count=64 conv=fsync status=none
unmount_volume
mount_volume "$work/a" "$work/b"

touch log
for ((i = 1; i <= kills; i++)); do
	lines=$(wc -l <log)
	start_helper python3 "$lib_dir/writer.py" "$mnt/top/busy" - --endless \
		--seed "$i" --first $((i * 1000000)) --log log
	wait_until 20 worked $((lines + RANDOM % 120))
	kill_daemon
	kill -KILL "$helper_pid" 2>/dev/null || :
	wait "$helper_pid" 2>/dev/null || :
	mount_volume "$work/a" "$work/b"
	wait_until 60 volume_is healthy
	python3 "$lib_dir/writer.py" --check log "$mnt/top/busy" >verdict || {
		cat verdict >&2
		fail "kill $i: what was fsynced is not there"
	}
	if ((i % 5 == 0)); then
		unmount_volume
		same_tree "$work/a" "$work/b"
		mount_volume "$work/a" "$work/b"
	fi
done
cat verdict
unmount_volume
same_tree "$work/a" "$work/b"
python3 - "$lib_dir" "$work/a" "$work/b" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import storecheck
wrong = [c for s in sys.argv[2:] for c in storecheck.StoreCheck(s).run()]
print("\n".join(wrong[:30]))
sys.exit(1 if wrong else 0)
END

# What a recovery looked at, as the log says it: the busy files with all that
# is armed ahead of them, never the old one.
most=$(sed -nE 's/.*in doubt: ([0-9.]+) ([KMG]?)i?B checked again.*/\1\2/p' \
	"$daemon_log" | numfmt --from=iec | sort -n | tail -n 1)
[[ -n $most ]] || fail "no mount says what it checked again"
echo "a recovery read $most bytes at most"
((most < 32 << 20)) || fail "a recovery read $most bytes"
