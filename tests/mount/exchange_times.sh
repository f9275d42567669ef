#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# xfs moves the times of a directory that is exchanged with a file in another
# one, ext4 does not: both stores show the same all the same.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3
need_fs xfs

image a 100
image b 400 xfs
"$SEQMIRROR" init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir -p "$mnt/d1/x" "$mnt/d2"
touch "$mnt/d2/f"
unmount_volume
mount_volume "$work/a" "$work/b"
python3 - "$mnt" <<'END'
import ctypes
import os
import sys
libc = ctypes.CDLL(None, use_errno=True)
a, b = (os.fsencode(f"{sys.argv[1]}/{p}") for p in ("d2/f", "d1/x"))
if libc.renameat2(-100, a, -100, b, 2):
    raise OSError(ctypes.get_errno(), "renameat2")
END
unmount_volume
same_tree "$work/a" "$work/b"
