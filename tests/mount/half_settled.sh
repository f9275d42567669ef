#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The last store does what it is asked, and calls it an error. It is asked what
# is the case, and that is what everybody knows: the application, whoever looks
# at the mount, the map, and the next mount.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq getfacl

cat >ops.py <<'PY'
import ctypes
import os
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])


def check(result):
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def exchange(one, two):
    check(libc.renameat2(-100, one.encode(), -100, two.encode(), 2))


def allocate(name, end):
    fd = os.open(name, os.O_RDWR)
    check(libc.fallocate(fd, 0, ctypes.c_int64(0), ctypes.c_int64(end)))


NOBODY = 0xffffffff


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry) for entry in entries)


def set_acl(name, kind, *entries):
    os.setxattr(name, "system.posix_acl_" + kind, acl(*entries))


USERS = (2, 6, 77), (2, 4, 78)
OTHERS = (4, 4, NOBODY), (16, 6, NOBODY), (32, 4, NOBODY)
MINE = (1, 6, NOBODY)

{
    "rename_dir": lambda: os.rename("d1", "d1new"),
    "rename_dir_away": lambda: os.rename("d3", "d4/d3"),
    "rename_dir_over": lambda: os.rename("d5", "d6"),
    "rename_file": lambda: os.rename("f1", "f1new"),
    "rename_over": lambda: os.rename("f2", "victim"),
    "exchange": lambda: exchange("d2", "f3"),
    "link": lambda: os.link("f4", "f4link"),
    "create": lambda: os.close(os.open("new", os.O_CREAT | os.O_EXCL, 0o640)),
    "mkdir": lambda: os.mkdir("newdir"),
    "mkfifo": lambda: os.mkfifo("fifo"),
    "mknod": lambda: os.mknod("zero", 0o20600, os.makedev(1, 5)),
    "symlink": lambda: os.symlink("target", "symlink"),
    "unlink": lambda: os.unlink("f5"),
    "unlink_link": lambda: os.unlink("g1"),
    "rmdir": lambda: os.rmdir("empty"),
    "chmod": lambda: os.chmod("f6", 0o600),
    "chown": lambda: os.chown("f7", 11, 12),
    "utime": lambda: os.utime("d7", (1000, 2000)),
    "truncate": lambda: os.truncate("f6", 3),
    "grow": lambda: os.truncate("f4", 30000),
    "setxattr": lambda: os.setxattr("f7", "user.x", b"1"),
    "removexattr": lambda: os.removexattr("f8", "user.y"),
    "fallocate": lambda: allocate("f9", 100000),
    "acl_set": lambda: set_acl("f1", "access", MINE, *USERS, *OTHERS),
    "acl_order": lambda: set_acl("f2", "access", MINE, *USERS[::-1], *OTHERS),
    "acl_ids": lambda: set_acl("f3", "access", *(
        (tag, perm, 0 if who == NOBODY else who)
        for tag, perm, who in (MINE, *USERS, *OTHERS))),
    "acl_mode": lambda: set_acl("f1", "access", (1, 6, NOBODY),
                                (4, 4, NOBODY), (32, 0, NOBODY)),
    "acl_mode_only": lambda: set_acl("f4", "access", (1, 7, NOBODY),
                                     (4, 0, NOBODY), (32, 5, NOBODY)),
    "acl_mode_same": lambda: set_acl("f4", "access", (1, 7, NOBODY),
                                     (4, 0, NOBODY), (32, 5, NOBODY)),
    "acl_default": lambda: set_acl("d1", "default", MINE, *USERS, *OTHERS),
    "acl_default_away": lambda: os.removexattr(
        "d1", "system.posix_acl_default"),
    "acl_away": lambda: os.removexattr("f2", "system.posix_acl_access"),
    "lock_again": lambda: os.setxattr("f8", "user.y", b"2", os.XATTR_CREATE),
    "remove_none": lambda: os.removexattr("f8", "user.none"),
    "chown_same": lambda: os.chown("setuid", 0, 0),
}[sys.argv[2]]()
PY

# look_at DIR: what anybody sees there.
look_at()
{
	(cd "$1" && find . -mindepth 1 -path ./.seqmirror -prune -o \
		-printf '%P %y %m %U:%G %n %l\n' | sort &&
		find . -path ./.seqmirror -prune -o -type f \
			-exec sha256sum {} + | sort -k 2 &&
		find d7 -printf '%T@\n' &&
		getfattr -d f7 f8 &&
		find . -path ./.seqmirror -prune -o ! -type l -print0 |
		sort -z | xargs -0 getfacl -n)
}

# late OP CALL: as it was called, and as all see it.
late()
{
	look_at "$mnt" >before
	faults a times 1 late fail "$2" EIO '[defgnvsz]*'
	python3 ops.py "$mnt" "$1" || fail "$1 is done, and told as an error"
	eq "struck by $1" "$(fault_hits a)" 1
	faults a clear
	look_at "$mnt" >mounted
	look_at a.below >below
	diff below mounted || fail "$1: the mount shows something else"
	! cmp -s before mounted || fail "$1 changed nothing"
}

# failed OP CALL NAME: nothing was done, and what is asked for looks as what
# was there: that proves nothing.
failed()
{
	look_at "$mnt" >before
	faults a times 1 fail "$2" EIO "$3"
	python3 ops.py "$mnt" "$1" 2>err && fail "$1 was not done, and told as done"
	grep -q 'Errno 5' err || fail "$1: $(<err)"
	eq "struck by $1" "$(fault_hits a)" 1
	faults a clear
	look_at a.below >below
	diff before below || fail "$1 changed something"
}

for cache in writeback writethrough; do
	faulty a
	mkdir b
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume -o "cache=$cache" "$work/a" "$work/b"
	mkdir "$mnt"/{d1,d2,d3,d4,d5,d6,d7,empty} "$mnt/d1/below"
	for name in f1 f2 f3 f4 f5 f6 f7 f8 f9 g1 d1/x d1/below/y d3/x d5/x; do
		echo "contents of $name" >"$mnt/$name"
	done
	echo one >"$mnt/victim"
	ln "$mnt/g1" "$mnt/g2"
	setfattr -n user.y -v 2 "$mnt/f8"
	sync -f "$mnt"
	detach b
	echo x >"$mnt/setuid"
	chmod 4755 "$mnt/setuid"
	sync -f "$mnt"
	failed lock_again setxattr f8
	failed remove_none removexattr f8
	failed chown_same setattr setuid
	rm "$mnt/setuid"
	for op in acl_set acl_order acl_ids acl_mode acl_mode_only \
		acl_default; do
		late "$op" setxattr
	done
	failed acl_mode_same setxattr f4
	for op in acl_away acl_default_away; do
		late "$op" removexattr
	done
	for op in rename_dir rename_dir_away rename_dir_over rename_file \
		rename_over exchange; do
		late "$op" rename
	done
	late create create
	late mkfifo mknod
	late mknod mknod
	for op in mkdir link symlink unlink rmdir setxattr removexattr \
		fallocate; do
		late "$op" "$op"
	done
	late unlink_link unlink
	for op in chmod chown utime truncate grow; do
		late "$op" setattr
	done
	grep -q "called an error what it has done: rename" "$daemon_log" ||
		fail "nothing is said of it"
	# All of it goes on as if nothing had been.
	echo more >>"$mnt/d1new/x"
	echo more >"$mnt/new"
	mv "$mnt/f1new" "$mnt/newdir/f1"
	rm "$mnt/f4link" "$mnt/fifo"
	look_at "$mnt" >mounted
	unmount_volume
	sm check "$work/a" >check.log || fail "check: $(cat check.log)"
	mount_volume -o "cache=$cache" "$work/a" "$work/b"
	look_at "$mnt" >after
	diff mounted after || fail "the next mount shows something else"
	attach b
	unmount_volume
	same_tree a.below b
	sm check "$work/b" >check.log || fail "check: $(cat check.log)"
	umount a
	rm -r a.below a b
done
