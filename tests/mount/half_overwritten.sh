#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# After a split brain one side is kept, and that is cut in the middle: the other
# side is a mixture now, and does not go over the one that is complete. Where
# that is gone, it is kept at the user's word.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

random()
{
	head -c "$1" /dev/urandom
}

# 1 MiB of it is there, the rest takes some seconds more.
begun()
{
	[[ -f $1 ]] && (($(stat -c %b "$1") * 512 >= 1 << 20))
}

# cut SIGNAL PATH WORDS...: a resync, when it has begun to write PATH.
cut()
{
	local rc=0

	start_helper "$SEQMIRROR" resync --bwlimit 2M "${@:3}" 2>cut.err
	wait_until 20 begun "$2"
	kill "-$1" "$helper_pid"
	wait "$helper_pid" || rc=$?
	((rc != 0)) || fail "done before it was cut"
	[[ $1 == KILL ]] || grep -q "interrupted before store .* was in step" cut.err ||
		fail "said: $(cat cut.err)"
}

mkdir a b c
sm init --name a,b,c a b c >/dev/null
mount_volume -o no_auto_attach a b c
random 1M >"$mnt/both"
echo old >"$mnt/file"
unmount_volume
mkdir away
for name in a b; do
	other=$([[ $name == a ]] && echo b || echo a)
	mv "$other" c away/
	mount_volume "$name"
	random 1M >"$mnt/both"
	mv "$mnt/file" "$mnt/of_$name"
	random 24M >"$mnt/only_$name"
	unmount_volume
	mv away/* .
done
cp -a a complete

for signal in INT KILL; do
	cut "$signal" b/only_a --prefer a a b
	for words in "--prefer b" "--dry-run --prefer b" ""; do
		# shellcheck disable=SC2086
		refused "$SEQMIRROR" resync $words a b
		grep -q 'store b is half overwritten.*store a is complete' \
			<<<"$refusal" || fail "not said: $refusal"
	done
	eq "relation" "$(sm diff --json b a >shown
		jq -r '.relation, .store, .complete' shown | xargs)" \
		"resyncing b a"
	eq "changes" "$(jq -c .changes shown)" "[]"
	eq "b as it knows itself" "$(sm status --json b | jq -r '.state,
		(.stores[] | select(.name == "b") | .state)' | xargs)" \
		"resyncing resyncing"
	sm diff a b >shown
	grep -q '^b is half overwritten.*a is complete' shown ||
		fail "diff does not say so: $(cat shown)"
	same_tree a complete
done

# However long the paths are, what is to be done is told whole.
deep=$work
for _ in {1..7}; do
	deep=$deep/$(printf 'n%.0s' {1..200})
done
mkdir -p "$deep"/{a,b}
for name in a b; do
	mount --bind "$name" "$deep/$name"
done
refused "$SEQMIRROR" resync "$deep/a" "$deep/b"
[[ $refusal == *'`seqmirror resync --prefer a STORE STORE`' ]] ||
	fail "cut: $refusal"
umount "$deep/a" "$deep/b"

# As the mixture that it is, it may go to one that knows nothing of it.
cp -a b half
refused "$SEQMIRROR" resync b c
grep -q 'a mixture' <<<"$refusal" || fail "not said: $refusal"
eq "relation" "$(sm diff --json b c | jq -r '.relation, .store, .complete' |
	xargs)" "resyncing b null"
mv a away/
sm resync --dry-run --prefer b b c >shown
grep -q '^note: store b is a mixture' shown || fail "not said: $(cat shown)"
sm resync --json --prefer b b c >shown
[[ $(jq -r .remark shown) == "store b is a mixture"* ]] ||
	fail "not said: $(cat shown)"
same_tree b c
same_tree b half
# From then on it is a state like others.
mv b away/
mount_volume -o degraded c
echo more >"$mnt/more"
unmount_volume
mv away/b .
sm resync b c >/dev/null
eq "file on b" "$(cat b/more)" more
for name in b c; do
	sm check "$name"
done
mv away/a .

# Whoever comes back then has what both lack.
sm resync --prefer a a b c >/dev/null
same_tree a complete
same_tree a b
same_tree a c
mount_volume a b c
wait_until 20 volume_is healthy
unmount_volume
