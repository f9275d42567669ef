#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# init adopts a tree where it lies: nothing is copied, inode numbers stay; the
# empty second store is built from it.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

inodes()
{
	(cd "$1" && find . -path ./.seqmirror -prune -o \
		-printf '%i %T@ %s %P\n' | sort)
}

image a 400
image b 400
python3 "$lib_dir/scenario.py" fill "$work/a" --image-mib 64 \
	--mapped-mib 16 --files 500
ln a/disk.img a/tree/disk.link
mkfifo a/tree/fifo
touch -d @1000000000 a/tree/d00 a/tree/d01
inodes a | grep -v ' $' >before
used=$(df --output=used a | tail -n 1)

sm init --name left,right "$work/a" "$work/b" >/dev/null
inodes a | grep -v ' $' >after
diff before after || fail "init changed the adopted tree"

mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
eq "state of right" "$(store_state right)" online
same_tree --no-root "$work/a" "$mnt"
unmount_volume
inodes a | grep -v ' $' >after
diff before after || fail "building the other store changed the adopted tree"
grown=$(($(df --output=used a | tail -n 1) - used))
((grown < 14000)) || fail "the adopted store grew by $grown KiB"
same_tree "$work/a" "$work/b"

# Whoever interrupts it finds nothing changed; after a kill it says what to do.
rm -rf e
mkdir e
faulty d
faults_pin d
mkdir d/sub
echo text | tee d/sub/file >e/file
hangs()
{
	(($(fault_waits d) > 0))
}
for signal in INT HUP KILL; do
	faults d hang lookup file
	env --default-signal=INT,HUP "$SEQMIRROR" init --adopt "$work/d" "$work/e" \
		>out 2>err &
	asked=$!
	wait_until 20 hangs
	kill -"$signal" "$asked"
	faults d clear
	! wait "$asked" || fail "$signal: it went on"
	[[ $signal == KILL ]] || {
		grep -q "interrupted, no volume was made" err || fail "$(cat err)"
		eq "after $signal" "$(ls -A d e | xargs)" "d: sub e: file"
	}
done
refused "$SEQMIRROR" init --adopt "$work/d" "$work/e"
grep -q "never finished; if an init or add was interrupted, remove it" \
	<<<"$refusal" || fail "after a kill: $refusal"
refused "$SEQMIRROR" status "$work/d"
grep -q "never finished" <<<"$refusal" || fail "status: $refusal"
rm -r d/.seqmirror e/.seqmirror
sm init --adopt "$work/d" "$work/e" >out
faults_unpin d

# What a message is about has its path there.
mkdir -p f/one/two "f/a b"
sm init "$work/f/one/two" "$work/f/a b" >/dev/null 2>&1
sm init "$work/f" >/dev/null 2>err
for path in 'one/two/.seqmirror' '"a b/.seqmirror"'; do
	grep -qF "do not mount it there: path=$path" err || fail "$(<err)"
done
