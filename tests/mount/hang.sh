#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A store that hangs is put out after timeout=SECONDS: whatever waits for it
# goes on, what another store can serve does not wait that long, and when it
# answers again it comes back and is equal. Words choose cases.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

wait_s=2

# The calls that hung are done late, on a store that is out.
released()
{
	(($(fault_waits "$1") == 0))
}

# begin: two or three stores, of which b can hang.
begin()
{
	local stores=("$work/a" "$work/b")

	rm -rf a
	mkdir -p a
	faulty b
	faults_pin b
	if [[ ${1:-} == three ]]; then
		mkdir -p c
		stores+=("$work/c")
	fi
	sm init --name "a,b${1:+,c}" "${stores[@]}" >/dev/null
	mount_volume -o "timeout=$wait_s,no_auto_attach,checkpoint=3600${opts:+,$opts}" "${stores[@]}"
	mkdir "$mnt/d"
	echo old >"$mnt/d/file"
	head -c 300000 /dev/urandom >"$mnt/d/big"
	sync "$mnt/d/file" "$mnt/d/big"
	sm status "$mnt" >/dev/null
}

# in_time COMMAND...: must succeed, and within the timeout and what else it
# takes on a busy machine.
in_time()
{
	timeout $((wait_s + 20)) "$@" || fail "status $? of: $*"
}

# The kernel writes when the file is closed.
write_new()
{
	echo new >"$1" && sync "$1"
}

put_out()
{
	wait_until $((wait_s + 20)) store_is b failed
	status_of '.stores[] | select(.name == "b") | .why' |
		grep -q 'does not answer' || fail "no reason given"
}

# It comes back, and all are equal.
end()
{
	faults b clear
	wait_until 20 released b
	attach_again
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
	same_tree "$work/a" "$work/b"
	if [[ -d c ]]; then
		same_tree "$work/a" "$work/c"
	fi
	take_away
}

# Until its last call has ended and it is closed, it is refused.
attach_again()
{
	wait_until 60 attaches
	store_is b online || fail "b is $(store_state b)"
}

attaches()
{
	timeout 100 "$SEQMIRROR" attach --wait "$mnt" b >attach.out 2>&1
}

take_away()
{
	local pid

	faults_unpin b
	umount "$work/b" || fail "b is still held"
	for pid in "${helpers[@]}"; do
		wait "$pid" || :
	done
	helpers=()
	rm -rf a b b.below c gone
}

case_write()
{
	begin
	faults b hang write file
	echo new >"$mnt/d/file"
	in_time sync "$mnt/d/file"
	put_out
	eq contents "$(cat "$mnt/d/file")" new
	end
}

case_fsync()
{
	begin
	echo new >"$mnt/d/file"
	faults b hang sync
	in_time sync "$mnt/d/file"
	put_out
	end
}

case_names()
{
	local op

	for op in "mknod,create:touch $mnt/d/x" "mkdir:mkdir $mnt/d/y" \
		"rename:mv $mnt/d/file $mnt/d/moved" \
		"unlink:rm $mnt/d/big" "link:ln $mnt/d/file $mnt/d/l" \
		"symlink:ln -s there $mnt/d/s" "setattr:chmod 600 $mnt/d/file" \
		"setxattr:setfattr -n user.n -v v $mnt/d/file"; do
		begin
		faults b hang "${op%%:*}" '[!.m]*'
		# shellcheck disable=SC2086
		in_time ${op#*:}
		put_out
		end
	done
}

# Answered in time, nothing happens but a slow call.
case_released()
{
	wait_s=20 begin
	faults b hang write file
	start_helper write_new "$mnt/d/file"
	wait_until 10 waits b
	faults b clear
	wait "$helper_pid" || fail "sync failed"
	volume_is healthy || fail "the volume is $(status_of .state)"
	unmount_volume
	same_tree "$work/a" "$work/b"
	take_away
}

waits()
{
	(($(fault_waits "$1") > 0))
}

# Nothing is what a store has not done while the daemon was not run (frozen, its
# machine paused).
case_stopped()
{
	local until_ns before

	wait_s=3 begin
	before=$(grep -c 'is out' "$daemon_log" || :)
	faults b hang write file
	start_helper write_new "$mnt/d/file"
	wait_until 10 waits b
	kill -STOP "$daemon_pid"
	until_ns=$(($(date +%s%N) + 33 * 10 ** 8))
	wait_until 10 is_past "$until_ns"
	kill -CONT "$daemon_pid"
	store_is b online || fail "b is $(store_state b)"
	faults b clear
	wait "$helper_pid" || fail "sync failed"
	volume_is healthy || fail "the volume is $(status_of .state)"
	eq "put out" "$(grep -c 'is out' "$daemon_log" || :)" "$before"
	unmount_volume
	same_tree "$work/a" "$work/b"
	take_away
}

is_past()
{
	(($(date +%s%N) > $1))
}

# The lead does not read: the other one does, long before it is put out.
case_read()
{
	local before

	opts=read=prefer=b wait_s=8 begin
	faults b hang read '[!.m]*'
	echo 3 >/proc/sys/vm/drop_caches
	before=$(date +%s%N)
	in_time cmp "$mnt/d/big" "$work/a/d/big"
	(($(date +%s%N) - before < 7 * 10 ** 9)) || fail "a read waited"
	waits b || fail "b was not asked"
	# Others do not even try it.
	before=$(date +%s%N)
	in_time cat "$mnt/d/file" >/dev/null
	(($(date +%s%N) - before < 2 * 10 ** 9)) || fail "the next one waited"
	status_of '.stores[] | select(.name == "b") | .waits_seconds' >waits
	sm status "$mnt" | grep -q 'does not answer since' ||
		(($(cat waits) == 0)) || fail "the status does not say it"
	put_out
	end
}

# No call on the files of b ends, and names and listings are read.
case_lookup()
{
	opts=read=prefer=b begin
	faults b hang getattr,lookup,open,opendir,readdir,read '[!.m]*'
	in_time ls -lR "$mnt" >/dev/null
	in_time stat "$mnt/d/file" >/dev/null
	in_time test ! -e "$mnt/d/nothing"
	put_out
	end
}

case_map()
{
	begin
	faults b hang write,sync 'meta.*'
	in_time mkdir "$mnt/new"
	echo new >"$mnt/d/file"
	in_time sync "$mnt/d/file"
	put_out
	end
}

case_map_read()
{
	opts=read=prefer=b begin
	unmount_volume
	opts=read=prefer=b mount_volume -o "timeout=$wait_s,read=prefer=b,no_auto_attach" "$work/a" "$work/b"
	faults b hang read 'meta.*'
	in_time ls -lR "$mnt" >/dev/null
	in_time touch "$mnt/d/other"
	# Without a need for its map it need not have been noticed.
	if ! waits b; then
		faults b clear
		faults b hang write
		in_time touch "$mnt/d/more"
	fi
	put_out
	end
}

# One more reader of the map is opened: SQLite asks first whether a journal lies
# beside it.
case_map_open()
{
	local pids=()

	opts=read=prefer=b begin
	for i in {1..40}; do
		mkdir "$mnt/d$i"
		echo "$i" >"$mnt/d$i/file"
	done
	unmount_volume
	mount_volume -o "timeout=$wait_s,read=prefer=b,no_auto_attach" "$work/a" "$work/b"
	faults b hang lookup 'meta.db-*'
	for i in {1..6}; do
		timeout $((wait_s + 20)) ls -lR "$mnt" >/dev/null &
		pids+=("$!")
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "status $? of a listing"
	done
	# Others do with the readers that there are.
	if ! waits b; then
		faults b clear
		faults b hang write
	fi
	in_time touch "$mnt/d/more"
	put_out
	end
}

case_checkpoint()
{
	begin
	unmount_volume
	mount_volume -o "timeout=$wait_s,checkpoint=1,no_auto_attach" "$work/a" "$work/b"
	faults b hang sync
	for i in 1 2 3; do
		in_time dd if=/dev/urandom of="$mnt/d/more$i" bs=64k count=8 status=none
	done
	put_out
	in_time dd if=/dev/urandom of="$mnt/d/after" bs=64k count=8 conv=fsync status=none
	end
}

case_target()
{
	begin
	detach b
	dd if=/dev/urandom of="$mnt/d/more" bs=1M count=8 status=none
	faults b hang write more
	timeout $((wait_s + 60)) "$SEQMIRROR" attach --wait "$mnt" b >said 2>&1 &&
		fail "attached while it hangs"
	echo more >"$mnt/d/file"
	in_time sync "$mnt/d/file"
	wait_until 20 store_is b failed
	refused "$SEQMIRROR" attach --wait "$mnt" b
	[[ $refusal == *"does not answer"* ]] || fail "said: $refusal"
	end
}

# b is the source: the resync begins again with a.
case_source()
{
	opts=read=prefer=b begin three
	detach c
	dd if=/dev/urandom of="$mnt/d/more" bs=1M count=8 status=none
	sync "$mnt/d/more"
	faults b hang read more
	timeout 100 "$SEQMIRROR" attach --wait "$mnt" c >/dev/null ||
		fail "attach: status $?"
	store_is c online || fail "c is $(store_state c)"
	put_out
	end
}

# Two operations are stuck, others go on meanwhile; the deadline is paid once.
case_two()
{
	local first second before

	wait_s=4 begin
	faults b hang write 'stuck*'
	(echo 1 >"$mnt/d/stuck1" && sync "$mnt/d/stuck1") &
	first=$!
	(echo 2 >"$mnt/d/stuck2" && sync "$mnt/d/stuck2") &
	second=$!
	wait_until 10 waits b
	before=$SECONDS
	for i in 1 2 3 4 5; do
		in_time cat "$mnt/d/file" >/dev/null
		in_time dd if=/dev/urandom of="$mnt/d/free" bs=64k count=2 conv=fsync status=none
	done
	wait "$first" || fail "the first failed"
	wait "$second" || fail "the second failed"
	((SECONDS - before < 2 * wait_s + 15)) || fail "paid more than once"
	put_out
	end
}

# Who reads asks the next store after a quarter of the timeout.  What that leads
# to is not in a hurry: a store that is slow to commit does not look like one
# that fails.
case_slow()
{
	rm -rf a
	faulty a
	faulty b
	faults_pin b
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	wait_s=4 mount_volume -o "timeout=4,prefer=a,no_auto_attach,checkpoint=3600" \
		"$work/a" "$work/b"
	mkdir "$mnt/d"
	for i in {1..50}; do echo "$i" >"$mnt/d/$i"; done
	unmount_volume
	mount_volume -o "timeout=4,prefer=a,no_auto_attach,checkpoint=3600" \
		"$work/a" "$work/b"
	faults b delay sync 1500 'meta.*'
	faults a fail getattr,lookup,readdir EIO '[!.m]*'
	ls -l "$mnt/d" >/dev/null || fail "a listing when a fails"
	wait_until 20 store_is a failed
	faults b clear
	store_is b online || fail "b is out because it is slow"
	echo new >"$mnt/d/new" || fail "nothing can be written any more"
	unmount_volume
	faults a clear
	umount "$work/a" || fail "a is still held"
	take_away
	rm -rf a.below
}

case_three()
{
	begin three
	faults b hang write,mkdir '[!.m]*'
	in_time mkdir "$mnt/d/new"
	echo new >"$mnt/d/file"
	in_time sync "$mnt/d/file"
	put_out
	eq online "$(status_of '[.stores[] | select(.state == "online")] | length')" 2
	end
}

# The last one is never put out: it is waited for, and that is said.
case_last()
{
	begin
	detach b
	unmount_volume
	mv a gone # or it would be found, and be the one in step
	mount_volume -o "timeout=$wait_s,no_auto_attach" "$work/b"
	faults b hang write file
	start_helper write_new "$mnt/d/file"
	wait_until 10 waits b
	says()
	{
		sm status "$mnt" | grep -q 'does not answer since'
	}
	wait_until $((wait_s + 20)) says
	store_is b online || fail "the last store is $(store_state b)"
	faults b clear
	wait "$helper_pid" || fail "sync failed"
	unmount_volume
	take_away
}

# The volume can be unmounted, and mounted again.
case_unmount()
{
	begin
	echo new >"$mnt/d/file"
	sync "$mnt/d/file"
	faults b hang all '?*'
	timeout $((wait_s * 2 + 40)) "$SEQMIRROR" unmount "$mnt" 2>said &&
		fail "unmount does not say that b is held"
	not_mounted "$mnt" || fail "still mounted"
	grep -q 'leave it plugged in' said || fail "said: $(cat said)"
	# The other one is free.
	sm status "$work/a" >/dev/null || fail "a is held"
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	faults b clear
	daemon_ended
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	wait_until 60 store_is b online
	eq contents "$(cat "$mnt/d/file")" new
	unmount_volume
	same_tree "$work/a" "$work/b"
	take_away
}

# What hangs when it is unmounted hangs already.
case_unmount_stuck()
{
	begin
	faults b hang write,sync
	echo new >"$mnt/d/file"
	in_time sync "$mnt/d/file"
	put_out
	timeout $((wait_s * 2 + 40)) "$SEQMIRROR" unmount "$mnt" 2>said &&
		fail "unmount does not say that b is held"
	not_mounted "$mnt" || fail "still mounted"
	grep -q 'store b was not released' said || fail "said: $(cat said)"
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	faults b clear
	daemon_ended
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	wait_until 60 store_is b online
	unmount_volume
	same_tree "$work/a" "$work/b"
	take_away
}

# Without timeout= as well, in five minutes; or here in less.
short=mirror.close.ms:is=$((wait_s * 1000)),mirror.close.late_ms:is=3000
without_timeout()
{
	rm -rf a
	mkdir -p a
	faulty b
	faults_pin b
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	SEQMIRROR_FAULT=$short mount_volume -o "no_auto_attach,checkpoint=3600" \
		"$work/a" "$work/b"
	mkdir "$mnt/d"
	echo old >"$mnt/d/file"
	sync "$mnt/d/file"
	echo new >"$mnt/d/file"
}

can_be_short()
{
	grep -q SEQMIRROR_FAULT "$SEQMIRROR"
}

taken_back()
{
	mount_volume -o "timeout=$wait_s" "$work/a" "$work/b"
	wait_until 60 store_is b online
	eq contents "$(cat "$mnt/d/file")" "$1"
	unmount_volume
	same_tree "$work/a" "$work/b"
	take_away
}

# It hangs in the last checkpoint: it is put out, the other one is left in good
# order.
case_unmount_waits()
{
	can_be_short || return 0
	without_timeout
	faults b hang sync
	SEQMIRROR_FAULT=$short timeout 40 "$SEQMIRROR" unmount "$mnt" 2>said &&
		fail "unmount does not say that b is held"
	not_mounted "$mnt" || fail "still mounted"
	grep -q 'leave it plugged in' said || fail "said: $(cat said)"
	grep -q 'store b is out: does not answer' "$daemon_log" ||
		fail "b was not put out"
	grep -q 'left as after a crash' "$daemon_log" && fail "it gave up"
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	# In good order: it mounts without the other one, and undegraded.
	faults b clear
	daemon_ended
	mv b.below gone
	mount_volume "$work/a"
	eq contents "$(cat "$mnt/d/file")" new
	unmount_volume
	mv gone b.below
	taken_back new
}

# A thread was stuck before, with locks that the last checkpoint needs: the
# daemon ends as if it had been killed.
case_unmount_gives_up()
{
	local rc=0

	can_be_short || return 0
	without_timeout
	sync "$mnt/d/file"
	faults b hang mkdir stuck
	start_helper mkdir "$mnt/d/stuck"
	wait_until 10 waits b
	kill -TERM "$daemon_pid"
	wait_until 40 is_dead "$daemon_pid"
	not_mounted "$mnt" || fail "still mounted"
	grep -q 'left as after a crash' "$daemon_log" || fail "it did not say so"
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	faults b clear
	wait "$daemon_pid" || rc=$?
	daemon_pid=
	eq "status of the daemon" "$rc" 32
	taken_back new
}

# Without a limit a new store on such a disk is waited for, but not by the end,
# though calls on the other stores end all the time: more often than it waits.
case_unmount_adding()
{
	local rc=0

	can_be_short || return 0
	mkdir -p a b
	faulty c
	faults_pin c
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	SEQMIRROR_FAULT=${short%:*}:is=20000 mount_volume "$work/a" "$work/b"
	echo new >"$mnt/file"
	sync "$mnt/file"
	faults c hang sync
	start_helper "$SEQMIRROR" add "$mnt" "$work/c"
	wait_until 10 waits c
	kill -TERM "$daemon_pid"
	wait_until 50 is_dead "$daemon_pid"
	not_mounted "$mnt" || fail "still mounted"
	grep -q 'left as after a crash' "$daemon_log" || fail "it did not say so"
	flock -n "$work/a/.seqmirror/lock" true || fail "a is locked"
	faults c clear
	wait "$daemon_pid" || rc=$?
	daemon_pid=
	eq "status of the daemon" "$rc" 32
	faults_unpin c
	umount c
	mount_volume "$work/a" "$work/b"
	eq contents "$(cat "$mnt/file")" new
	unmount_volume
	same_tree "$work/a" "$work/b"
	rm -rf a b c c.below
}

# A real filesystem that is frozen: its calls sleep in the kernel, and nothing
# but to thaw it wakes them.
case_frozen()
{
	need fsfreeze
	mkdir a
	image b 200
	sm init --name a,b "$work/a" "$work/b" >/dev/null
	mount_volume -o "timeout=$wait_s,no_auto_attach" "$work/a" "$work/b"
	mkdir "$mnt/d"
	echo old >"$mnt/d/file"
	sync "$mnt/d/file"
	fsfreeze --freeze "$work/b"
	in_time mkdir "$mnt/d/new"
	in_time sh -c "echo new >'$mnt/d/file' && sync '$mnt/d/file'"
	put_out
	fsfreeze --unfreeze "$work/b"
	attach_again
	unmount_volume
	same_tree "$work/a" "$work/b"
	image_umount b
	rm -rf a b b.img
}

# The cleanup would wait for it.
at_end()
{
	if is_mounted "$work/b"; then
		fsfreeze --unfreeze "$work/b" 2>/dev/null || :
	fi
}

if (($# == 0)) && [[ ${HANG-} == all ]]; then
	set -- write fsync names released stopped read lookup map map_read map_open \
		checkpoint \
		target source two slow three last unmount unmount_stuck \
		unmount_waits unmount_gives_up \
		unmount_adding frozen
elif (($# == 0)); then # the others belong to the soak
	set -- write stopped read map map_open checkpoint target two unmount_stuck \
		unmount_waits unmount_gives_up \
		unmount_adding frozen
fi
for name in $(in_part "$@"); do
	echo "case $name: $(date +%T)"
	"case_$name"
done
