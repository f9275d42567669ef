#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# With timeout=SECONDS a store that hangs while it is opened keeps nobody: a
# volume mounts without it, or says at once why it does not, an attach is
# refused, and when it answers again it comes back.  Words choose cases.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

wait_s=2
# Some calls are waited for one after another, on a busy machine.
bound_s=$((wait_s * 3 + 20))

# begin: a volume in good order that is not mounted; b can hang.
begin()
{
	rm -rf a
	mkdir a
	faulty b
	faults_pin b
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume "$work/a" "$work/b"
	mkdir "$mnt/d"
	echo old >"$mnt/d/file"
	sync "$mnt/d/file"
}

released()
{
	(($(fault_waits b) == 0))
}

waits()
{
	(($(fault_waits b) > 0))
}

# mount_soon [-o OPTIONS] STORE...: as users do, in the background; it must come
# up in time.
mount_soon()
{
	timeout "$bound_s" "$SEQMIRROR" mount "$@" "$mnt" 2>said ||
		fail "mount: status $?: $(cat said)"
	is_mounted "$mnt" || fail "not mounted"
}

unmount_soon()
{
	timeout "$bound_s" "$SEQMIRROR" unmount "$mnt" 2>said || :
	not_mounted "$mnt" || fail "still mounted: $(cat said)"
}

daemons_gone()
{
	[[ -z $(daemons_of "$work") ]]
}

# It comes back by itself, and all are equal.
end()
{
	faults b clear
	wait_until 20 released
	wait_until 60 store_is b online
	unmount_volume
	wait_until 20 daemons_gone
	same_tree "$work/a" "$work/b"
	take_away
}

wait_helpers()
{
	local pid

	for pid in "${helpers[@]}"; do
		wait "$pid" || :
	done
	helpers=()
}

take_away()
{
	faults_unpin b
	umount "$work/b" || fail "b is still held"
	wait_helpers
	rm -rf a b b.below gone
}

# Whatever hangs first: a path, the identity, the lock, a trial, the map.
case_mount()
{
	local named rule

	for rule in 'all ?*' 'read store' 'open,create lock' \
		'mknod,create probe*' 'lookup limbo' 'open meta.*' \
		'read meta.*'; do
		echo "rule: $rule"
		begin
		unmount_volume
		# shellcheck disable=SC2086
		(set -f && faults b hang $rule)
		# Named, or only where it was last.
		named=("$work/a" "$work/b")
		[[ $rule != lookup* ]] || named=("$work/a")
		mount_soon -o "timeout=$wait_s" "${named[@]}"
		grep -q 'b does not answer' said || fail "said: $(cat said)"
		status_of '.stores[] | select(.name == "b") | .why' |
			grep -q 'b does not answer' || fail "$(sm status "$mnt")"
		echo "$rule" >"$mnt/d/file"
		sync "$mnt/d/file"
		waits || fail "nothing hangs at: $rule"
		store_is b online && fail "b is online"
		end
	done
}

# refuse_mount [-o OPTIONS] STORE...: in time, with one line that names b; the
# other store is free.
refuse_mount()
{
	local rc=0

	timeout "$bound_s" "$SEQMIRROR" mount "$@" "$mnt" 2>said || rc=$?
	eq "status of mount" "$rc" 32
	not_mounted "$mnt" || fail "mounted"
	eq "lines of the refusal ($(cat said))" "$(wc -l <said)" 1
	grep -q "b.* does not answer" said || fail "said: $(cat said)"
}

# There is no other store: it says so, and works when it answers.
case_alone()
{
	begin
	unmount_volume
	mv a gone
	faults b hang all '?*'
	refuse_mount -o "timeout=$wait_s" "$work/b"
	grep -q 'unplug it' said || fail "said: $(cat said)"
	faults b clear
	wait_until 20 daemons_gone
	mv gone a
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	wait_until 60 store_is b online
	end
}

# It may have gone on alone: a person decides.
case_unclean()
{
	begin
	kill_daemon
	faults b hang read '?*'
	refuse_mount -o "timeout=$wait_s" "$work/a" "$work/b"
	grep -q 'not left cleanly.*degraded' said || fail "said: $(cat said)"
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	mount_soon -o "timeout=$wait_s,degraded" "$work/a" "$work/b"
	echo new >"$mnt/d/file"
	end
}

# It was opened, and hangs when it is recovered. The log has words of its own
# about the map.
case_recovered()
{
	local rc=0

	begin
	echo new >"$mnt/d/file"
	sync "$mnt/d/file"
	kill_daemon
	mv a gone
	faults b hang sync
	timeout "$bound_s" "$SEQMIRROR" mount -o "timeout=$wait_s,degraded" \
		"$work/b" "$mnt" 2>said || rc=$?
	eq "status of mount" "$rc" 32
	# What was left behind may say a word more, in the log.
	grep -q 'b.* does not answer' said || fail "said: $(cat said)"
	faults b clear
	wait_until 20 daemons_gone
	mv gone a
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	eq contents "$(cat "$mnt/d/file")" new
	end
}

case_attach()
{
	local rule

	begin
	unmount_volume
	mount_volume -o "timeout=$wait_s,no_auto_attach" "$work/a" "$work/b"
	for rule in 'all ?*' 'open,create lock' 'read meta.*'; do
		echo "rule: $rule"
		detach b
		echo "$rule" >"$mnt/d/file"
		# shellcheck disable=SC2086
		(set -f && faults b hang $rule)
		refused "$SEQMIRROR" attach --wait "$mnt" "$work/b"
		[[ $refusal == *"does not answer"* ]] || fail "said: $refusal"
		echo more >>"$mnt/d/file"
		faults b clear
		wait_until 60 attaches
		store_is b online || fail "b is $(store_state b)"
	done
	end
}

# Until what is left of the first try has ended, it is refused.
attaches()
{
	timeout 100 "$SEQMIRROR" attach --wait "$mnt" b >attach.out 2>&1
}

# Its map is lost, and whatever hangs while it is looked at or made anew: the
# attach is refused in time, and so is the next one until it answers.
case_rebuild()
{
	local rule

	begin
	unmount_volume
	mount_volume -o "timeout=$wait_s,no_auto_attach" "$work/a" "$work/b"
	for rule in 'read meta.db' 'rename meta.db' 'create,mknod meta.db.new' \
		'write meta.db.new*' 'write meta.db-wal' 'sync meta.*'; do
		echo "rule: $rule"
		detach b
		echo "$rule" >"$mnt/d/file"
		dd if=/dev/zero of=b.below/.seqmirror/meta.db bs=4096 seek=3 \
			count=1 conv=notrunc status=none
		rm -f b.below/.seqmirror/meta.db.old*
		# shellcheck disable=SC2086
		(set -f && faults b hang $rule)
		for try in one two; do
			refused timeout "$bound_s" "$SEQMIRROR" attach \
				--rebuild --wait "$mnt" "$work/b"
			[[ $refusal == *"does not answer"* ]] ||
				fail "$try: said: $refusal"
			waits || fail "nothing hangs at: $rule"
		done
		echo more >>"$mnt/d/file"
		sync "$mnt/d/file"
		faults b clear
		wait_until 20 released
		wait_until 60 rebuilds
		store_is b online || fail "b is $(store_state b)"
	done
	end
}

rebuilds()
{
	timeout 100 "$SEQMIRROR" attach --rebuild --wait "$mnt" b >attach.out 2>&1
}

# diff_refused WORD...: in time, with a line that names b; and so is the next one,
# until it answers.
diff_refused()
{
	for try in one two; do
		refused timeout "$bound_s" "$SEQMIRROR" diff "$@"
		[[ $refusal == "seqmirror: b: does not answer"* ]] ||
			fail "$try: said: $refusal"
		waits || fail "$try: nothing hangs"
	done
	# Nothing of the volume waits for it.
	echo more >>"$mnt/d/file"
	sync "$mnt/d/file"
}

diffs()
{
	timeout "$bound_s" "$SEQMIRROR" diff --json "$@" >diff.json 2>said
}

# It is away, and hangs while its identity, its map or its files are looked at.
case_diff()
{
	local rule

	begin
	unmount_volume
	mount_volume -o "timeout=$wait_s,no_auto_attach" "$work/a" "$work/b"
	detach b
	for rule in 'read meta.*' 'open meta.*' 'read store' 'all ?*'; do
		echo "rule: $rule"
		# shellcheck disable=SC2086
		(set -f && faults b hang $rule)
		diff_refused "$mnt" "$work/b"
		faults b clear
		wait_until 20 released
		wait_until 20 diffs "$work/b" "$mnt"
		eq relation "$(jq -r .relation diff.json)" behind
	done
	faults b hang read store
	: >said
	"$SEQMIRROR" changes --since "$work/b" "$mnt" >said 2>&1 &
	helpers+=($!)
	wait_until "$bound_s" grep -qx d/file said
	waits || fail "changes: nothing hangs"
	faults b clear
	wait_until 20 released
	faults b hang read 'meta.*'
	diff_refused "$mnt" b
	unmount_soon
	faults b clear
	wait_until 20 daemons_gone
	diff_fork
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	end
}

# Both were mounted alone: their files are looked at too.
diff_fork()
{
	mv a gone
	mount_volume -o degraded "$work/b"
	echo other >"$mnt/d/other"
	unmount_volume
	mv gone a
	mount_volume -o "timeout=$wait_s,no_auto_attach,degraded" "$work/a"
	echo more >>"$mnt/d/file"
	faults b hang lookup other
	diff_refused "$mnt" "$work/b"
	faults b clear
	wait_until 20 released
	wait_until 20 diffs "$mnt" "$work/b"
	eq relation "$(jq -r .relation diff.json)" fork
	eq "size of other" "$(jq -r '.changes[] | select(.path == "d/other") |
		.sides[1].size' diff.json)" 6
	unmount_volume
	sm resync --prefer "$work/a" "$work/a" "$work/b"
}

# Without a daemon nobody has a limit. Whoever waits is told, and gives up with
# Ctrl-C as soon as the disk answers; nothing has been changed then.
asks=(status "status --watch" check "check --repair" "check --rebuild"
	"changes --since 1h" "diff a" "resync a" "resync --dry-run a" "init c")

all_told()
{
	local i

	for i in "${!asks[@]}"; do
		grep -q "warning: no answer from .*b for 5 s" "told.$i" ||
			return 1
	done
	grep -q "warning: no answer from .* for 5 s" told.mount
}

case_told()
{
	local i pids=() mount before

	begin
	unmount_volume
	before=$(sm status --json b | jq 'del(.stores[].free_bytes)')
	mkdir c
	faults b hang all '?*'
	for i in "${!asks[@]}"; do
		# shellcheck disable=SC2086
		env --default-signal=INT "$SEQMIRROR" ${asks[i]} b \
			>"told.$i" 2>&1 &
		pids[i]=$!
	done
	env --default-signal=INT "$SEQMIRROR" mount b "$mnt" >told.mount 2>&1 &
	mount=$!
	wait_until 30 all_told
	! grep Ctrl-C told.mount || fail "it ends at once, and says when it will"
	kill -INT "${pids[@]}" "$mount"
	wait_until 5 is_dead "$mount"
	wait "$mount" || :
	faults b clear
	wait_until 20 daemons_gone
	not_mounted "$mnt" || fail "a mount that was given up"
	for i in "${!asks[@]}"; do
		wait "${pids[i]}" || : # or it was at its end
		eq "lines of ${asks[i]}" "$(grep -c "no answer" "told.$i")" 1
	done
	[[ ! -e c/.seqmirror ]] || fail "c was made a store"
	rmdir c
	eq status "$(sm status --json b | jq 'del(.stores[].free_bytes)')" "$before"
	mount_volume "$work/a" "$work/b"
	end
}

# Looked for again and again, and unmounted meanwhile.
case_unmount()
{
	begin
	unmount_volume
	faults b hang all '?*'
	mount_soon -o "timeout=$wait_s" "$work/a"
	echo new >"$mnt/d/file"
	wait_until 10 waits
	unmount_soon
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	refuse_nothing
	faults b clear
	wait_until 20 daemons_gone
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	wait_until 60 store_is b online
	eq contents "$(cat "$mnt/d/file")" new
	end
}

# It was left in good order: the other one mounts again at once.
refuse_nothing()
{
	mount_soon -o "timeout=$wait_s,wait=1" "$work/a" "$work/b"
	eq contents "$(cat "$mnt/d/file")" new
	unmount_soon
}

# A new store on a disk that hangs: refused in time, at whatever call, and what
# was made of it goes away when it answers.
case_add()
{
	local rule

	for rule in 'all ?*' 'mkdir .seqmirror' sync 'write meta.*'; do
		echo "rule: $rule"
		rm -rf a b
		mkdir a b
		faulty c
		faults_pin c
		sm init --name a,b "$work/a" "$work/b" >/dev/null
		mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
		# shellcheck disable=SC2086
		(set -f && faults c hang $rule)
		refused timeout "$bound_s" "$SEQMIRROR" add "$mnt" "$work/c"
		[[ $refusal == *"does not answer"* ]] || fail "said: $refusal"
		echo new >"$mnt/file"
		sync -f "$mnt"
		eq members "$(status_of '.stores | length')" 2
		refused timeout "$bound_s" "$SEQMIRROR" add "$mnt" "$work/c"
		[[ $refusal == *"does not answer"* ]] || fail "said: $refusal"
		faults c clear
		wait_until 60 adds
		wait_until 60 store_is c online
		unmount_volume
		same_tree "$work/a" "$work/c"
		faults_unpin c
		umount c || fail "c is still held"
		wait_helpers
		rm -rf c c.below
	done
}

# Until what was made of it has been taken away, it is refused.
adds()
{
	timeout "$bound_s" "$SEQMIRROR" add "$mnt" "$work/c" >add.out 2>&1
}

# Each second one is about as long as the others (PART, lib.sh).
(($# > 0)) || set -- mount rebuild diff unmount unclean add recovered attach alone told
for name in $(in_part "$@"); do
	echo "case $name: $(date +%T)"
	"case_$name"
done
