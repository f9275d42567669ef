#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# While a sparse file is being written, by write(2) and through a mapping, what
# was written before one asks is never said to be in a hole: who copies by
# SEEK_DATA would leave it out. Both stores are equal afterwards.
#
#	SECONDS_EACH	for each cache mode (default 4)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

cat >busy.py <<'END'
import mmap, os, random, sys, threading, time

BLOCK, BLOCKS = 4096, 4096
path, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, BLOCK * BLOCKS)
memory = mmap.mmap(fd, BLOCK * BLOCKS)
written = []  # where, appended to when the write is over
end = time.monotonic() + seconds
wrong = []
asked = 0


def writer(number):
    rng = random.Random(seed + number)
    while time.monotonic() < end and not wrong:
        # Every eighth can be written by either: most remain a hole.
        block = rng.randrange(BLOCKS // 8) * 8
        data = bytes([1 + rng.randrange(255)]) * 100
        at = block * BLOCK + rng.randrange(BLOCK - 100)
        if number % 2:
            memory[at:at + 100] = data
        else:
            os.pwrite(fd, data, at)
        written.append(at)
        if rng.randrange(50) == 0:
            os.fsync(fd)
        time.sleep(0)


def seeker(number):
    global asked
    rng = random.Random(seed + 100 + number)
    own = os.open(path, os.O_RDONLY)
    while time.monotonic() < end and not wrong:
        if not written:
            continue
        start = rng.choice(written)
        try:
            data = os.lseek(own, start, os.SEEK_DATA)
            hole = os.lseek(own, start, os.SEEK_HOLE)
        except OSError as error:  # ENXIO: no data from there on
            wrong.append((start, str(error)))
            break
        asked += 1
        if data != start or hole <= start:
            wrong.append((start, data, hole))
    os.close(own)


threads = [threading.Thread(target=f, args=(n,))
           for f, n in ((writer, 0), (writer, 1), (seeker, 0), (seeker, 1))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"seed {seed}: {len(written)} writes, {asked} times asked")
if wrong:
    sys.exit(f"in a hole, though written: {wrong[:4]}")
if asked < 20:
    sys.exit("hardly asked")
END

seed=${SEED:-$RANDOM}
image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
for cache in writeback writethrough; do
	mount_volume -o "cache=$cache,checkpoint=0.5" "$work/a" "$work/b"
	timeout 60 python3 busy.py "$mnt/$cache" "${SECONDS_EACH:-4}" "$seed" ||
		fail "cache=$cache: status $?"
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
done
same_tree "$work/a" "$work/b"

# An ext4 that lists its blocks, as one made as ext3 does, calls a hole what has no
# place on the disk yet, if one asks from a hole before it. Where a change fails, the
# file is asked what it holds: nothing of that is left out when a store comes back.
image old 100 ext4 -O ^extent,^64bit
image new 100
mkdir old/s new/s
sm init --name old,new "$work/old/s" "$work/new/s" >/dev/null
mount_volume -o cache=writethrough,checkpoint=3600,no_auto_attach \
	"$work/old/s" "$work/new/s"
truncate -s 400000 "$mnt/refused"
truncate -s 400000 "$mnt/asked"
detach new
for name in refused asked; do
	head -c 4096 /dev/zero | tr '\0' x |
		dd of="$mnt/$name" bs=4096 seek=35 conv=notrunc status=none
done
! fallocate -o 4096 -l 300000 "$mnt/refused" 2>/dev/null ||
	fail "an ext4 without extents reserves room"
python3 -c 'import os, sys
at = os.lseek(os.open(sys.argv[1], os.O_RDONLY), 0, os.SEEK_DATA)
assert at == 35 * 4096, at' "$mnt/asked" || fail "in a hole, though written"
attach new
cmp old/s/refused new/s/refused || fail "not all was copied"
unmount_volume
same_tree "$work/old/s" "$work/new/s"
for store in old new; do
	sm check "$work/$store/s" >/dev/null || fail "check $store: status $?"
done
