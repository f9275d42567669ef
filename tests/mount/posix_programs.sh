#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Real programs find nothing wrong with the mount, and both stores are equal
# after each. What is not installed is left out.
#
#	SEQMIRROR_STRESS=SECONDS	of each stressor of stress-ng; 0: none
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

have()
{
	command -v "$1" >/dev/null || {
		echo "left out: $1"
		return 1
	}
}

git_repository()
{
	local i

	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a
	export GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=/dev/null HOME=$work
	git init -q -b main origin
	for i in 1 2 3 4 5; do
		mkdir -p "origin/d$i"
		for j in {1..40}; do
			echo "$i $j $RANDOM" >"origin/d$i/f$j"
		done
		git -C origin add -A
		git -C origin commit -q -m "commit $i"
	done
	git clone -q --no-hardlinks origin clone
	git -C clone gc -q --aggressive
	git -C clone fsck --full --strict
	git clone -q "file://$PWD/clone" again
	[[ -z $(git -C again status --porcelain) ]]
	git -C again checkout -q HEAD~3
	git -C again checkout -q main
	diff -r -x .git origin again
}

c_project()
{
	local i

	mkdir src
	printf 'all: prog\nO = ' >src/Makefile
	for i in {1..20}; do
		printf 'int f%d(void) { return %d; }\n' "$i" "$i" >"src/f$i.c"
		printf 'f%d.o ' "$i" >>src/Makefile
	done
	{
		printf 'int f1(void);\nint main(void) { return f1() - 1; }\n'
	} >src/main.c
	# shellcheck disable=SC2016
	printf '\nprog: main.o $(O)\n\t$(CC) -o $@ $^\n' >>src/Makefile
	make -s -j2 -C src
	./src/prog
	make -C src -q
	touch src/f7.c
	eq "to be made again" "$(make -C src -q || echo yes)" yes
	make -s -j2 -C src
}

databases()
{
	local mode

	for mode in delete wal; do
		sqlite3 "$mode.db" >/dev/null <<-SQL
			PRAGMA journal_mode=$mode;
			CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
			CREATE INDEX i ON t (x);
			BEGIN;
			WITH RECURSIVE n(i) AS
			  (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
			  INSERT INTO t SELECT i, randomblob(200) FROM n;
			COMMIT;
			DELETE FROM t WHERE id % 3 = 0;
			VACUUM;
		SQL
		eq "rows" "$(sqlite3 "$mode.db" 'SELECT count(*) FROM t')" 2000
		eq "integrity" "$(sqlite3 "$mode.db" 'PRAGMA integrity_check')" ok
	done
}

# A tree with everything that copying programs keep.
special_tree()
{
	mkdir -p tree/sub
	truncate -s 5M tree/sparse
	printf data | dd of=tree/sparse bs=1 seek=3000000 conv=notrunc \
		status=none
	echo x >tree/sub/file
	ln tree/sub/file tree/hard
	ln -s sub/file tree/link
	mkfifo tree/fifo
	mknod tree/null c 1 3
	chown 123:456 tree/sub/file
	chmod 4750 tree/sub/file
	# Programs that compare whole seconds would find the copies right.
	find tree -exec touch -h -d '2001-02-03 04:05:06.789' {} +
	touch -d '1999-12-31 23:59:59.123456789' tree/sub/file
	touch -d '2020-01-01 00:00:00.5' tree/sub
	if have setfattr; then
		setfattr -n user.note -v value tree/sub/file
		setfattr -n trusted.note -v value tree/sub
	fi
	if have setfacl; then
		setfacl -m u:77:rw,g:88:r tree/sub/file
		setfacl -d -m u:77:rwx tree/sub
	fi
}

archives()
{
	special_tree
	tar --sparse --xattrs --xattrs-include='*' --acls -cf tree.tar tree
	mkdir out
	tar --xattrs --xattrs-include='*' --acls -xpf tree.tar -C out
	same_tree tree out/tree
	cp -a --sparse=always tree copy
	same_tree tree copy
	if have rsync; then
		rsync -aHAXS --numeric-ids tree/ synced/
		same_tree tree synced
		eq "second run of rsync" "$(rsync -aHAXSin --numeric-ids \
			tree/ synced/)" ""
	fi
}

disk_images()
{
	head -c 3000000 /dev/urandom >raw
	truncate -s 20M raw
	qemu-img convert -f raw -O qcow2 raw disk.qcow2
	qemu-img check -q disk.qcow2
	qemu-img convert -f qcow2 -O raw disk.qcow2 back
	cmp raw back
	qemu-img convert -t none -T none -f raw -O qcow2 raw direct.qcow2
	qemu-img compare -q disk.qcow2 direct.qcow2
	if have qemu-io; then
		qemu-io -f qcow2 -d unmap -c 'discard 0 1M' -c 'write -P 7 64k 64k' \
			-c 'read -P 7 64k 64k' disk.qcow2 >/dev/null
		qemu-img check -q disk.qcow2
	fi
}

verified_io()
{
	local engine

	for engine in psync mmap libaio; do
		fio --name="$engine" --directory=. --ioengine="$engine" \
			--rw=randrw --bs=4k --size=4M --verify=crc32c \
			--verify_fatal=1 --direct="$((${#engine} == 6))" \
			--minimal >/dev/null
	done
}

# stressor NAME [AS...]: one of stress-ng. Its status 7 is no verdict: it stopped one of its
# own processes just while that counted, "the metrics may be untrustworthy"
# (stress-ng(1)); what it verified was right.
stressor()
{
	local rc=0

	timeout 60 "${@:2}" stress-ng --"$1" 2 --timeout "$stress" \
		--temp-path . --quiet --hdd-bytes 16M \
		--fallocate-bytes 16M --iomix-bytes 16M \
		--seek-size 16M --sync-file-bytes 16M --verify || rc=$?
	((rc == 0 || rc == 7)) || fail "stress-ng --$1: status $rc"
}

stressors()
{
	local name

	for name in access chmod chown copy-file dentry dir dirdeep \
		fallocate fcntl filename flock fstat getdent hdd iomix \
		link lockofd mknod open \
		rename seek sendfile symlink sync-file touch \
		utime xattr; do
		stressor "$name"
		volume_is healthy || fail "$(status_of .state) after $name"
	done
}

# Those that ask what a user may do, by one who is not root.
stressors_of_a_user()
{
	local name

	chmod 755 "$work"
	chmod 777 .
	for name in access chmod chown dentry filename flock link mknod \
		rename utime xattr; do
		stressor "$name" setpriv --reuid 65534 --regid 65534 \
			--clear-groups
	done
}

stress=${SEQMIRROR_STRESS:-1}
image a 700
image b 700
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"

part()
{
	local began=$SECONDS

	mkdir "$mnt/$1"
	# Not part of a condition, where errors would not end it.
	(
		cd "$mnt/$1"
		"$1"
	)
	volume_is healthy || fail "the volume is $(status_of .state) after $1"
	echo "$1: $((SECONDS - began)) s"
}

if have git; then part git_repository; fi
if have make; then part c_project; fi
if have sqlite3; then part databases; fi
if have tar; then part archives; fi
if have qemu-img; then part disk_images; fi
if have fio; then part verified_io; fi
if ((stress)) && have stress-ng; then
	part stressors
	part stressors_of_a_user
fi
unmount_volume
same_tree "$work/a" "$work/b"
