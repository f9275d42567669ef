#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A chain of directories, deeper than any path can be long: a resync and a scrub
# go down once, and not from the root for each node.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq python3

depth=2000
# in_time WHAT COMMAND...: 1,000 deep took half a minute, and that with the square.
in_time()
{
	timeout 60 "${@:2}" >said || fail "$1 of $depth directories: status $?"
}

# chain PYTHON: run in each of them, from the top down.
chain()
{
	python3 - "$mnt" "$depth" "$1" <<-'PYTHON'
		import os, sys
		os.chdir(sys.argv[1])
		step = compile(sys.argv[3], "step", "exec")
		for i in range(int(sys.argv[2])):
		    exec(step)
		    os.chdir("d")
	PYTHON
}

image a 200
image b 200
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
detach b
chain 'os.mkdir("d"); open("d/f", "w").write(str(i))'
in_time "a resync" "$SEQMIRROR" attach --wait "$mnt" b
in_time "a scrub" "$SEQMIRROR" scrub --wait "$mnt"
detach b
chain 'os.rename("d/f", "d/g"); open("d/g", "a").write("more")'
in_time "a resync of changes" "$SEQMIRROR" attach --wait "$mnt" b
store_is b online
unmount_volume

# Between unmounted stores, in both directions.
mount_volume "$work/a" "$work/b"
detach a
chain 'os.chmod("d/g", 0o600)'
unmount_volume
in_time "an offline resync" "$SEQMIRROR" resync "$work/b" "$work/a"
same_tree "$work/a" "$work/b"
mount_volume "$work/a" "$work/b"
detach b
in_time "removing them" rm -r "$mnt/d"
in_time "a resync of that" "$SEQMIRROR" attach --wait "$mnt" b
unmount_volume
same_tree "$work/a" "$work/b"
