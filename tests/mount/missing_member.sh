#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A volume mounts with a member missing, works, and takes the member back by
# itself when it reappears.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
cp -r /etc/default "$mnt/tree"
unmount_volume

image_umount b
mount_volume "$work/a"
eq "state of b" "$(store_state b)" missing
volume_is degraded || fail "the volume is $(status_of .state)"
rm -r "$mnt/tree"
dd if=/dev/urandom of="$mnt/new" bs=1M count=3 status=none
image_mount b
wait_until 60 store_is b online
wait_until 20 volume_is healthy
unmount_volume
same_tree "$work/a" "$work/b"

# And without that: it is told when, and waits.
image_umount b
mount_volume -o no_auto_attach "$work/a"
echo more >"$mnt/more"
image_mount b
store_is b missing || fail "attached in spite of no_auto_attach"
# Why it cannot be had is told behind the longest path.
deep=$work/$(printf 'n%.0s' {1..200})/$(printf 'n%.0s' {1..200})
mkdir -p "$deep"
mount --bind "$work/b" "$deep"
exec 9<"$work/b/.seqmirror/lock"
flock -n 9
refused "$SEQMIRROR" attach "$mnt" "$deep"
[[ $refusal == *"another process has it" ]] || fail "cut: $refusal"
exec 9<&-
umount "$deep"
attach b
unmount_volume
same_tree "$work/a" "$work/b"

# Whoever gives up waiting for a member does not find the volume mounted later.
# It waits when it has looked at a; -f, and in the background.
image_umount b
gave_up()
{
	[[ -z $(daemons_of "$mnt") ]]
}
has_begun()
{
	[[ $(daemons_of "$mnt" | wc -l) == "$1" ]] && is_alive "$asked" &&
		! grep -q '(seqmirror)\? [RD]' "/proc/$asked/stat"
}
for how in "-f 1" "-o nodev 2"; do
	env --default-signal=INT "$SEQMIRROR" mount ${how% *} -o wait=60 \
		"$work/a" "$mnt" 2>err &
	asked=$!
	wait_until 20 has_begun "${how##* }"
	kill -INT "$asked"
	! wait "$asked" || fail "$how: it went on"
	wait_until 20 gave_up
	not_mounted "$mnt" || fail "$how: mounted all the same"
	grep -q "nothing is mounted" err || fail "$how: said: $(cat err)"
done
image_mount b
mount_volume "$work/a"
eq "state of b" "$(store_state b)" online
unmount_volume

# It is there, and its disk answers with nothing but errors: which ones, is said.
mkdir c
faulty d
faults_pin d
sm init --name c,d "$work/c" "$work/d" >/dev/null
mount_volume "$work/c" "$work/d"
unmount_volume
faults d fail all EIO '?*'
mount_volume "$work/c"
eq "state of d" "$(store_state d)" missing
grep -q "cannot open store $work/d: Input/output error; going on" "$daemon_log" ||
	fail "nothing was said of d: $(cat "$daemon_log")"
faults d clear
wait_until 60 store_is d online
unmount_volume
faults_unpin d
