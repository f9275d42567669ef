#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A full volume: what is removed, cut off or replaced makes room for the very next
# call, and not some time later.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

image a 160 ext4
image b 160 ext4
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
python3 - "$mnt" <<'PY' || fail "it is full when it is not"
import errno
import os
import sys

root = sys.argv[1]
full, small = os.path.join(root, "full"), os.path.join(root, "small")


def fill():
    with open(full, "wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


late = 0
for turn in range(12):
    fill()
    # What is refused now may look for room again in a tenth of a second.
    try:
        open(small, "wb").close()
        os.unlink(small)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    [lambda: os.unlink(full), lambda: os.truncate(full, 0)][turn % 2]()
    try:
        with open(small, "wb", buffering=0) as file:
            file.write(bytes(1 << 16))
            os.fsync(file.fileno())
        os.unlink(small)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        late += 1
        print("turn", turn, "no room")
print(late, "of 12")
sys.exit(late > 0)
PY
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
