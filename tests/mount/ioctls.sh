#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What an ioctl would do to one store nobody would know: none gets that far, not
# root's either. One that shuts a filesystem down once reached a disk below.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq lsattr chattr fstrim

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
mkdir "$mnt/dir"
echo content >"$mnt/dir/file"
sync -f "$mnt"
before=$(lsattr -R a b)

python3 - "$mnt" <<'END'
import errno, fcntl, os, struct, sys
CALLS = {
    "EXT4_IOC_SHUTDOWN": (0x8004587D, struct.pack("=I", 2)),
    "FS_IOC_SETFLAGS": (0x40086602, struct.pack("=Q", 0x10)),
    "FS_IOC_FSSETXATTR": (0x401C5820, bytes(28)),
    "FS_IOC_SETVERSION": (0x40087602, struct.pack("=Q", 7)),
    "FIFREEZE": (0xC0045877, struct.pack("=I", 0)),
    "FITRIM": (0xC0185879, struct.pack("=QQQ", 0, 1 << 40, 0)),
    "FICLONE": (0x40049409, 0),
    "BLKDISCARD": (0x1277, bytes(16)),
    "EXT4_IOC_MOVE_EXT": (0xC028660F, bytes(40)),
}
for name in ("", "dir", "dir/file"):
    fd = os.open(os.path.join(sys.argv[1], name), os.O_RDONLY)
    for call, (number, argument) in CALLS.items():
        try:
            fcntl.ioctl(fd, number, argument)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL,
                               errno.EBADF, errno.EXDEV, errno.EISDIR):
                continue
            sys.exit(f"{call} of '{name}': {error}")
        sys.exit(f"{call} of '{name}' succeeded")
END
chattr +i "$mnt/dir/file" 2>/dev/null && fail "chattr +i succeeded"
fstrim "$mnt" 2>/dev/null && fail "fstrim succeeded"

eq "flags on the stores" "$(lsattr -R a b)" "$before"
volume_is healthy || fail "the volume is $(status_of .state)"
echo more >>"$mnt/dir/file"
for store in a b; do
	touch "$store/.seqmirror/writable" || fail "$store was shut down"
	rm "$store/.seqmirror/writable"
done
unmount_volume
same_tree "$work/a" "$work/b"
