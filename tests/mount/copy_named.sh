#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A path to a copy of a store that is online is not that store: nothing is done
# to either, and nothing is said of the copy that is true of the other. However
# its own directory is spelt, it is meant, and so it is by its name.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a b other
sm init --name a,b a b >/dev/null 2>&1
mount_volume a b
echo 1 >"$mnt/one"
detach b
cp -a b c
attach b
echo 2 >"$mnt/two"
sync "$mnt"
ln -s ../b other/link
mkdir bound
mount --bind b bound

# not_it WORD...: refused, for what it is.
not_it()
{
	refused "$SEQMIRROR" "$@"
	[[ $refusal == *"/c: is a copy of store b, which is online at $work/b" ]] ||
		fail "$*: $refusal"
	volume_is healthy || fail "$*: the volume is $(status_of .state)"
	[[ -e c/one && ! -e c/two ]] || fail "$*: c was changed"
}

echo "-- a copy"
not_it attach "$mnt" c
not_it attach --wait "$mnt" "$work/c"
not_it attach --rebuild --wait "$mnt" "$work/c"
not_it resync "$mnt" c
not_it resync --wait "$mnt" c
not_it resync --dry-run "$mnt" c
not_it resync --cancel "$mnt" c
not_it scrub --repair --wait --prefer c "$mnt"
not_it diff "$mnt" c
not_it diff c "$mnt"
not_it diff c a
not_it detach "$mnt" c
not_it remove "$mnt" c

echo "-- one that was made while the store was online names its daemon"
wait_until 20 grep -qs / b/.seqmirror/lock
cp b/.seqmirror/lock c/.seqmirror/lock
eq "c is mounted" "$(status_of .mounted c)" false
eq "b is mounted" "$(status_of .mounted other/link)" true
not_it diff c "$mnt"

echo "-- other words for its own directory"
for word in b "$work/b" "$work/other/link" other/../b "$work/bound" \
	"$(status_of '.stores[] | select(.name == "b") | .uuid')"; do
	eq "diff $word" "$(sm diff "$mnt" "$word")" \
		"equal: both stores are in step"
	eq "attach $word" "$(sm attach --wait "$mnt" "$word")" \
		"b is online already"
	eq "resync $word" "$(sm resync --wait "$mnt" "$word")" \
		"b is in step already"
done
(cd other && sm attach "$mnt" ../b) >said
eq "said of a relative path" "$(cat said)" "b is online already"
seq=$(status_of '.stores[] | select(.name == "b") | .durable_seq')
eq "result" "$(sm attach --wait --json "$mnt" b |
	jq -c '[.store, .from_seq, .to_seq, .nodes, .laps]')" \
	"[\"b\",$seq,$seq,0,0]"
eq "keys" "$(sm attach --json "$mnt" b | jq -c keys)" \
	'["paused","state","store","uuid"]'
sm detach "$mnt" "$work/bound" >/dev/null
store_is b detached || fail "b is $(store_state b)"

echo "-- away, it is named by where it lies now"
umount bound
mv b elsewhere
echo 3 >"$mnt/three"
eq "to be done" "$(sm resync --dry-run --json "$mnt" elsewhere |
	jq '.nodes > 0')" true
sm resync --wait "$mnt" "$work/elsewhere" >/dev/null
store_is b online || fail "b is $(store_state b)"
detach b
mv elsewhere b
sm attach --wait "$mnt" "$work/b" >/dev/null
unmount_volume
same_tree a b
