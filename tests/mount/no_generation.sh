#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stores on a filesystem that tells neither generations nor times of birth, as
# FUSE ones do: files get the inode numbers of removed ones, and the daemon is
# killed. What was synced is on all stores, also on one that comes later.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3
need jq

all_durable()
{
	[[ $(status_of '.seq as $s | all(.stores[]; .durable_seq == $s)') == true ]]
}

image ai 200
image bi 200
mkdir ai/s bi/s
faulty a "$work/ai/s"
faulty b "$work/bi/s"
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
for i in {1..20}; do
	echo small >"$mnt/old$i"
done
old=$(stat -c %i ai/s/old* | sort)
wait_until 20 all_durable # then no row of theirs is in doubt

# A number is free again when the file is gone from the journal, too.
used_again()
{
	echo "$1" >"$mnt/try"
	sync -f ai
	[[ $old == *"$(stat -c %i ai/s/try)"* ]] && return 0
	rm "$mnt/try"
	return 1
}

rm "$mnt"/old*
wait_until 20 used_again x
rm "$mnt/try"
python3 - "$mnt" <<'PY'
import os, sys
for i in range(1, 21):
    fd = os.open(f"{sys.argv[1]}/new{i}", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"%d." % i * 10000)
    os.fsync(fd)
PY
kill_daemon
new=$(stat -c %i ai/s/new* | sort)
[[ -n $(comm -12 <(echo "$old") <(echo "$new")) ]] || fail "no number came back"
mount_volume "$work/a" "$work/b"
wait_until 60 volume_is healthy
mkdir c
sm add --wait "$mnt" "$work/c" >/dev/null
unmount_volume
same_tree ai/s bi/s
same_tree ai/s c
eq "bytes" "$(cat c/new* | wc -c)" "$(cat ai/s/new* | wc -c)"
((10#$(stat -c %s c/new7) == 20000)) || fail "new7 is short"
eq "contents" "$(head -c 4 c/new7)" 7.7.

# What a symlink holds cannot be read again and found to be newer: one that has
# the number of another may be that one or not, for all that the map knows.
mount_volume "$work/a" "$work/b"
for i in {1..20}; do
	ln -s "before$i" "$mnt/link$i"
done
mkdir "$mnt/from" "$mnt/to"
for i in {1..20}; do
	ln -s "same$i" "$mnt/two$i"
	ln "$mnt/two$i" "$mnt/from/two$i"
	ln "$mnt/two$i" "$mnt/twin$i"
done
wait_until 20 all_durable
old=$(stat -c %i ai/s/link* | sort)
detach b
detach c
ls "$mnt" "$mnt/from" "$mnt/to" >/dev/null
python3 - "$mnt" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for i in range(1, 21):
    os.unlink(f"link{i}")
for i in range(1, 21):
    os.symlink(f"after{i}", f"link{i}")
    os.link(f"link{i}", f"again{i}", follow_symlinks=False)
    os.rename(f"from/two{i}", f"to/two{i}")
    os.rename(f"twin{i}", f"to/twin{i}")
PY
kill_daemon
new=$(stat -c %i ai/s/link* | sort)
[[ -n $(comm -12 <(echo "$old") <(echo "$new")) ]] || fail "no number came back"
mount_volume "$work/a" "$work/b" "$work/c"
wait_until 60 volume_is healthy
unmount_volume
for i in {1..20}; do
	eq "link $i" "$(readlink "bi/s/link$i")" "after$i"
	eq "to/two$i" "$(readlink "bi/s/to/two$i")" "same$i"
done
eq "what moved away" "$(cd bi/s && ls from && find . -maxdepth 1 -name 'twin*')" ""
same_tree ai/s bi/s
same_tree ai/s c
for store in a b c; do
	sm check "$work/$store" >/dev/null || fail "check of $store"
done
umount a b
