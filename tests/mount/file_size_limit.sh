#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The shell that mounts has a limit on the size of files (ulimit -f). It is no
# limit of the volume where it can be lifted; where it cannot, a write beyond it is
# refused, and neither ends the daemon nor makes stores differ. What a write that
# meets it has brought into the file is what it says.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv

mkdir a b
sm init --name a,b "$work/a" "$work/b" >/dev/null
limit=$(((16 << 20) + 1000)) # within a block

start_mount()
{
	echo "--- mount $*" >>"$daemon_log"
	prlimit "--fsize=$limits" "${by[@]}" "$SEQMIRROR" mount -f "$@" \
		"$mnt" >>"$daemon_log" 2>&1 &
	daemon_pid=$!
}

write_beyond()
{
	dd if=/dev/urandom of="$mnt/$1" bs=1M count=20 conv=fsync \
		status=none 2>"$work/dd.err"
}

both_equal()
{
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
	same_tree "$work/a" "$work/b"
}

by=() limits=$limit:
mount_volume "$work/a" "$work/b"
write_beyond soft || fail "below the hard limit: $(cat "$work/dd.err")"
both_equal

limits=$limit:$limit
can_lift=(prlimit "--fsize=$limits" prlimit --fsize=unlimited:unlimited true)
if "${can_lift[@]}" 2>/dev/null; then
	mount_volume "$work/a" "$work/b"
	write_beyond root || fail "root can lift it: $(cat "$work/dd.err")"
	both_equal
	by=(setpriv --bounding-set=-sys_resource)
fi

mount_volume "$work/a" "$work/b"
if write_beyond refused; then
	fail "20 MiB written below a limit of 16"
fi
grep -q "File too large" "$work/dd.err" || fail "$(cat "$work/dd.err")"
echo more >"$mnt/small"
rm "$mnt/soft"
both_equal
(($(stat -c %s a/refused) <= limit)) || fail "larger than the limit"

# Told of an error alone, whoever appends would have the part twice when he tries
# again; in a file that has no name any more as well.
appended()
{
	python3 - "$mnt/$1" "${@:2}" <<'EOF'
import errno, mmap, os, sys

data = mmap.mmap(-1, 17 << 20)  # aligned, for O_DIRECT
data.write(bytes(range(256)) * (len(data) >> 8))
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND |
             getattr(os, sys.argv[2]))
if sys.argv[3:]:
    os.unlink(sys.argv[1])
done = 0
try:
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])
except OSError as error:
    assert error.errno == errno.EFBIG, error
size = os.fstat(fd).st_size
assert done == size, f"{done} bytes were told as written, {size} are there"
EOF
}

mount_volume -o cache=writethrough "$work/a" "$work/b"
for flag in O_CLOEXEC O_DIRECT; do
	appended "$flag" "$flag" || fail "$flag"
done
appended nameless O_CLOEXEC unlink || fail "without a name"
both_equal
