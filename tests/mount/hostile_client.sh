#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The control socket and the private directory belong to the owner alone, and
# whatever is sent to the socket is answered with an error and changes nothing.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

mkdir a b
sm init --name a,b a b >/dev/null
mount_volume a b
cp -r /etc/default "$mnt/tree"
sync -f "$mnt"

socket=$(ss -xlpnH 2>/dev/null | awk -v p="pid=$daemon_pid," \
	'index($0, p) && $5 ~ "seqmirror" { print $5 }')
[[ -S $socket ]] || fail "no control socket found: '$socket'"
eq "mode of the socket" "$(stat -c %a "$socket")" 600
eq "mode of its directory" "$(stat -c %a "$(dirname "$socket")")" 700
eq "mode of the private directory" "$(stat -c %a a/.seqmirror)" 700

python3 "$lib_dir/hostile.py" "$socket" --stranger 65534 ||
	fail "a stranger may speak"
before=$(status_of '[.seq, [.stores[] | [.name, .state, .durable_seq]]]')
python3 "$lib_dir/hostile.py" "$socket" --seed "${SEED:-1}" ||
	fail "a wrong request was not refused"
wait_until 20 volume_answers
eq "the volume afterwards" \
	"$(status_of '[.seq, [.stores[] | [.name, .state, .durable_seq]]]')" \
	"$before"
diff -r /etc/default "$mnt/tree" || fail "files changed"

# A mount that got this one's device number has its own socket there by the
# time the daemon of the old one ends.
rm "$socket"
touch "$socket"
fusermount3 -u "$mnt"
daemon_ended
[[ -e $socket ]] || fail "the next mount's socket was removed"
rm "$socket"
same_tree a b
