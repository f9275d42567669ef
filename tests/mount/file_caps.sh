#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# File capabilities go with a write(2), as they do on any filesystem, and with
# nothing else: not when the kernel writes pages that it had gathered before they
# were set, nor when a bad block is rewritten. And two stores never disagree.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq python3 getfattr

faulty a
faulty b
sm init --name a,b "$work/a" "$work/b" >/dev/null

# caps FILE: as the mount and both stores have them.
caps()
{
	local at

	for at in "$mnt" "$work/a" "$work/b"; do
		{ getfattr --only-values -n security.capability "$at/$1" \
			2>/dev/null || :; } | md5sum | cut -c1-8
	done | tr '\n' ' '
}

# agreed FILE: all three have some, the same.
agreed()
{
	local had

	had=$(caps "$1")
	# shellcheck disable=SC2086
	[[ $(printf '%s\n' $had | sort -u | wc -l) == 1 ]] ||
		fail "$1: capabilities differ: $had"
	getfattr -n security.capability "$mnt/$1" >/dev/null 2>&1 ||
		fail "$1: no capabilities"
}

cat >"$work/caps.py" <<'EOF'
import mmap, os, struct, sys, threading, time

CAPS = struct.pack("<5I", 0x02000001, 1 << 1, 0, 0, 0)
NAME = "security.capability"


def page_after(name):
    """Pages are gathered, then the capability is set."""
    f = os.open(name, os.O_CREAT | os.O_RDWR, 0o755)
    os.write(f, b"x" * 100000)
    os.setxattr(f, NAME, CAPS)
    os.fsync(f)
    assert os.getxattr(f, NAME) == CAPS
    os.close(f)


def mapped(name):
    """A store to memory is no write(2)."""
    f = os.open(name, os.O_RDWR)
    with mmap.mmap(f, 65536) as m:
        m[5000] = 7
        m.flush()
    os.fsync(f)
    assert os.getxattr(f, NAME) == CAPS
    os.close(f)


def written(name):
    """A write(2) takes them, and so do truncate(2) and chown(2)."""
    for act in (lambda: os.pwrite(f, b"y", 10), lambda: os.ftruncate(f, 50000),
                lambda: os.fchown(f, 1, 1)):
        f = os.open(name, os.O_RDWR)
        os.setxattr(f, NAME, CAPS)
        act()
        os.fsync(f)
        try:
            os.getxattr(f, NAME)
            raise SystemExit("FAIL: a capability outlived its file's change")
        except OSError:
            pass
        os.close(f)


def race(name):
    """Set again and again, while others write."""
    f = os.open(name, os.O_CREAT | os.O_RDWR, 0o755)
    os.write(f, b"z" * 65536)
    end = time.monotonic() + 4

    def writer(at):
        while time.monotonic() < end:
            os.pwrite(f, b"w", at)
            os.fsync(f)

    threads = [threading.Thread(target=writer, args=(n * 20000,))
               for n in range(3)]
    for t in threads:
        t.start()
    while time.monotonic() < end:
        os.setxattr(f, NAME, CAPS)
    for t in threads:
        t.join()
    os.setxattr(f, NAME, CAPS)
    os.close(f)


os.chdir(sys.argv[1])
for what in sys.argv[3:]:
    globals()[what](sys.argv[2])
EOF

for cache in writeback writethrough; do
	mount_volume -o "cache=$cache,no_auto_attach" "$work/a" "$work/b"
	python3 "$work/caps.py" "$mnt" "$cache.1" page_after mapped
	agreed "$cache.1"
	cp --preserve=xattr "$mnt/$cache.1" "$mnt/$cache.2"
	python3 "$work/caps.py" "$mnt" "$cache.2" written
	python3 "$work/caps.py" "$mnt" "$cache.3" race
	volume_is healthy || fail "$cache: the volume is $(status_of .state)"
	agreed "$cache.3"
	unmount_volume
	same_tree "$work/a" "$work/b"
done

# ---- a bad block is rewritten ----

mount_volume -o prefer=b,no_auto_attach "$work/a" "$work/b"
agreed writeback.3
echo 3 >/proc/sys/vm/drop_caches
faults b bad writeback.3 12288 4096
cmp "$mnt/writeback.3" "$work/a/writeback.3" || fail "not what it was"
repaired()
{
	[[ $(status_of '.stores[] | select(.name == "b") | .errors.repaired') -ge 1 ]]
}
poll_until 20 repaired || fail "the bad block was not rewritten"
faults b clear
agreed writeback.3
unmount_volume
same_tree "$work/a" "$work/b"
