#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Random system calls, each at once on the mount and on ext4: as root and other
# users and as one ordinary user, in both cache modes, on one store and two, and
# while stores leave and come back. Afterwards the stores are equal to each
# other and to ext4.
#
# usage: posix_differ.sh [SEED [SCALE]]
#
# SCALE 1 (the default) is 100,000 operations. A run that fails is repeated
# with the seed that it printed.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
: "${DIFFER:?says where the exerciser is}"
seed=${1:-1}
scale=${2:-1}

# From 512 MiB on blocks are of 4 KiB, as in all larger filesystems.
for name in a b plain; do
	image "$name" 700
done
chmod 755 "$work"

# differ COUNT OPTION...: with a seed of its own
differ()
{
	local count=$1
	shift

	seed=$((seed + 1))
	chmod 777 "$mnt" "$work/plain"
	"$DIFFER" -s "$seed" -n $((count * scale)) "$@" "$mnt" \
		"$work/plain" || fail "not like ext4: seed $seed, $*"
	volume_is healthy || fail "the volume is $(status_of .state)"
}

fresh_volume()
{
	rm -rf "$work"/{a,b,plain}/{.seqmirror,*}
	sm init --name "$1" "${@:2}" >/dev/null
}

compare_all()
{
	unmount_volume
	if [[ -d $work/b/.seqmirror ]]; then
		same_tree "$work/a" "$work/b"
	fi
	# Fifos and the holes of allocated files are ext4's own, as are times
	# of now.
	same_tree --no-times --no-holes --no-root "$work/a" "$work/plain"
}

# event AT COMMAND...: of the program, before operation AT; its words are kept
event()
{
	echo "$(($1 * scale)):$SEQMIRROR ${*:2} >>$work/events.log 2>&1"
}

remount="unmount $mnt && $SEQMIRROR mount -o dev,suid $work/a $work/b $mnt"

fresh_volume a,b "$work/a" "$work/b"
mount_volume -o dev,suid "$work/a" "$work/b"
differ 40000
differ 10000 -a
compare_all

# Files, locks, positions and numbers outlive stores that leave; names, numbers
# and handles a remount, and the kernel's forgetting.
fresh_volume a,b "$work/a" "$work/b"
mount_volume -o dev,suid "$work/a" "$work/b"
differ 20000 \
	-e "$(event 2000 detach "$mnt" a)" \
	-e "$(event 4000 attach --wait "$mnt" a)" \
	-e "$(event 5000 detach "$mnt" b)" \
	-e "$((6000 * scale)):echo 2 >/proc/sys/vm/drop_caches" \
	-e "$(event 7000 attach --wait "$mnt" b)" \
	-e "$(event 9000 detach "$mnt" a)" \
	-E "$(event 11000 "$remount")" \
	-e "$(event 13000 attach --wait "$mnt" a)" \
	-e "$(event 15000 detach "$mnt" b)" \
	-E "$(event 17000 "$remount")" \
	-e "$(event 18000 attach --wait "$mnt" b)"
compare_all

fresh_volume a "$work/a"
mount_volume -o dev,suid "$work/a"
differ 10000
compare_all

fresh_volume a,b "$work/a" "$work/b"
mount_volume -o dev,suid,cache=writethrough "$work/a" "$work/b"
differ 10000 -t
differ 10000 -u 12001
compare_all
