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

attach_again()
{
	local try

	for try in 1 2 3 4 5 6 7 8 9 10; do
		if timeout 100 "$SEQMIRROR" attach --wait "$mnt" b >attach.out 2>&1; then
			store_is b online && return
		fi
		sleep 0.2
	done
	fail "attach after $try tries: $(cat attach.out)"
}

take_away()
{
	local pid

	umount "$work/b" || fail "b is still held"
	for pid in "${helpers[@]}"; do
		wait "$pid" || :
	done
	helpers=()
	rm -rf a b b.below c
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

if (($# == 0)); then
	set -- write fsync names
fi
for name; do
	echo "case $name: $(date +%T)"
	"case_$name"
done
