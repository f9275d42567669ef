#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# After real work (copies, git, SQLite, rsync, tar) both stores are identical,
# and what the mount showed is what lies on each.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq git sqlite3 tar

image a 700
image b 700
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"

some_docs()
{
	mkdir docs
	find /usr/share/doc -mindepth 1 -maxdepth 1 | sort | sed -n 1,150p |
		xargs -d '\n' cp -a -t docs
	mkdir "$mnt/docs"
	cp -a docs/. "$mnt/docs/"
	same_tree --no-holes docs "$mnt/docs"
}

a_repository()
{
	export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a
	export GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a
	export GIT_COMMITTER_EMAIL=a@example.org
	cp -r docs "$mnt/repo"
	git -C "$mnt/repo" init -q
	git -C "$mnt/repo" add .
	git -C "$mnt/repo" commit -q -m one
	find "$mnt/repo" -name copyright | sed -n 1,20p | xargs rm
	git -C "$mnt/repo" commit -q -a -m two
	git -C "$mnt/repo" gc -q
	git -C "$mnt/repo" fsck --strict --no-progress
	eq "git status" "$(git -C "$mnt/repo" status --porcelain)" ""
}

# a_database JOURNAL_MODE
a_database()
{
	local db=$mnt/$1.db i

	{
		echo "PRAGMA journal_mode=$1; CREATE TABLE t(a, b);"
		for ((i = 0; i < 20; i++)); do
			echo "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
			echo "SELECT i + 1 FROM n WHERE i < 300)"
			echo "INSERT INTO t SELECT i, randomblob(200) FROM n;"
			echo "DELETE FROM t WHERE a % 7 = $((i % 7)); COMMIT;"
		done
		echo "VACUUM;"
	} | sqlite3 "$db" >/dev/null
	eq "integrity of $1.db" \
		"$(sqlite3 "$db" 'PRAGMA integrity_check')" ok
}

a_copy_by_rsync()
{
	command -v rsync >/dev/null || return 0
	rsync -aHAXS docs/ "$mnt/rsync/"
	eq "second run of rsync" \
		"$(rsync -aHAXSi --delete docs/ "$mnt/rsync/")" ""
	rsync -aHAXSc --delete -i docs/ "$mnt/rsync/" | grep -q . &&
		fail "rsync -c found differences"
	return 0
}

an_archive()
{
	tar -C docs -cf "$mnt/docs.tar" .
	mkdir "$mnt/untar"
	tar -C "$mnt/untar" -xpf "$mnt/docs.tar"
	tar -C "$mnt/untar" -df "$mnt/docs.tar"
}

some_docs
a_repository
a_database delete
a_database wal
a_copy_by_rsync
an_archive
# While it is mounted: a sync makes the stores equal, times and all.
sync -f "$mnt"
volume_is healthy || fail "the volume is $(status_of .state)"
cp -a "$mnt/repo" copy
unmount_volume
same_tree "$work/a" "$work/b"
same_tree --no-holes "$work/copy" "$work/b/repo"
eq "git fsck on a store" "$(git -C "$work/b/repo" \
	-c safe.directory="$work/b/repo" fsck --no-progress 2>&1)" ""
