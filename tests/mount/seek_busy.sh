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
