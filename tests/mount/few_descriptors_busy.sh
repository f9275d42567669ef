#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Hardly any descriptors and many who want one at once: operations may be refused
# for want of one, but no store is put out for it, and all stay equal. One store
# lies on a filesystem whose syncfs is not enough, so that checkpoints have to open
# files as well.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a
faulty b
sm init --name a,b "$work/a" "$work/b" >/dev/null

mount_volume "$work/a" "$work/b"
python3 - "$mnt" <<'EOF'
import os, sys

os.chdir(sys.argv[1])
for i in range(20):
    os.makedirs("d%d/e/f" % i)
    for k in range(40):
        open("d%d/e/f/n%d" % (i, k), "w").write("x" * 3000)
EOF
unmount_volume

# With fewer descriptors for the daemon alone.
start_mount()
{
	echo "--- mount $*" >>"$daemon_log"
	prlimit --nofile=64:64 "$SEQMIRROR" mount -f "$@" "$mnt" \
		>>"$daemon_log" 2>&1 &
	daemon_pid=$!
}

mount_volume -o checkpoint=1 "$work/a" "$work/b"
python3 - "$mnt" <<'EOF'
import errno, os, random, sys, threading

os.chdir(sys.argv[1])
DIRS, FILES, THREADS = 20, 40, 30
wrong = []


def path(r, letter):
    return "d%d/e/f/%s%d" % (r.randrange(DIRS), letter, r.randrange(FILES))


def attempt(call):
    try:
        return call()
    except OSError as e:
        if e.errno not in (errno.EMFILE, errno.ENOENT, errno.EIO):
            wrong.append(e)


def write(name):
    fd = os.open(name, os.O_RDWR)
    try:
        os.pwrite(fd, b"zz", 1000)
        os.fsync(fd)
    finally:
        os.close(fd)


def work(seed):
    r = random.Random(seed)
    for n in range(250):
        name = path(r, "n")
        attempt(r.choice((
            lambda: os.listdir(os.path.dirname(name)),
            lambda: open(name).read(),
            lambda: write(name),
            lambda: os.rename(name, path(r, "m")),
            lambda: os.rename(path(r, "m"), name),
            lambda: os.setxattr(name, "user.x", b"y"),
        )))


os.mkdir("first")  # opens what each map needs
threads = [threading.Thread(target=work, args=(k,)) for k in range(THREADS)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not wrong, wrong
EOF
unmount_volume
if grep " is out" "$daemon_log"; then
	fail "a store was put out"
fi
same_tree "$work/a" "$work/b"
