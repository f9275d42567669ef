# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the tests on real mounts share. A test sources this first:
#
#	# shellcheck source=tests/lib/lib.sh
#	. "$(dirname "$0")/../lib/lib.sh"
#
# It then stands in a private directory ($work), and whatever it mounts or
# starts through the functions below is taken away when it ends. A test that
# ends well but leaves something behind fails; one that fails prints the
# daemon's log. Exit status: 0 passed, 77 skipped, else failed.
#
#	SEQMIRROR	the program under test (meson sets it)
#	FAULTYFS	the filesystem of faulty() (the same; else beside it)
#	KEEP=1		leave the files of the test where they are
set -Eeuo pipefail
shopt -s inherit_errexit

# In a mount namespace of its own a test keeps what others have mounted, and so
# their daemons alive.
if [[ -n ${MOUNTS_APART:-} ]]; then
	awk '$5 ~ "/seqmirror-" { print $5 }' /proc/self/mountinfo |
		while read -r point; do
			umount -l "$(printf %b "$point")" 2>/dev/null || :
		done
fi

lib_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${SEQMIRROR:?says where the program is}"
SEQMIRROR=$(readlink -f "$SEQMIRROR")
: "${FAULTYFS:=$(dirname "$SEQMIRROR")/../../tests/faultyfs}"
test_name=$(basename "$0" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/seqmirror-$test_name.XXXXXX")
work=$(readlink -f "$work")
mnt=$work/mnt
daemon_log=$work/daemon.log
daemon_pid=
# Ordinary processes of a test: ended by the cleanup.
helpers=()
mkdir "$mnt"
: >"$daemon_log"
export PYTHONDONTWRITEBYTECODE=1
# The system's own tools first: where python3 is a shim that looks for the
# right version, each of some hundred calls takes 0.4 s instead of 0.04 s.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
umask 022
cd "$work"

# ---- the verdict ----

skip()
{
	echo "skipped: $*"
	exit 77
}

fail()
{
	echo "FAILED: $*" >&2
	exit 1
}

need_root()
{
	((EUID == 0)) || skip "needs root"
	[[ -c /dev/fuse ]] || skip "no /dev/fuse"
}

need()
{
	local command

	for command; do
		command -v "$command" >/dev/null || skip "no $command"
	done
}

# can_make TYPE: says whether filesystems of that type can be made and mounted
# here; ext4 can. If not, the reason is in $why: what mkfs or mount said.
can_make()
{
	local type=$1 probe=$work/probe_$1 rc=0

	[[ $type != ext4 ]] || return 0
	why="no mkfs.$type"
	command -v "mkfs.$type" >/dev/null || return 1
	mkdir -p "$probe"
	truncate -s 320M "$probe.img" # no xfs is smaller
	why=$({ "mkfs.$type" -q "$probe.img" &&
		mount -o loop,noatime "$probe.img" "$probe" &&
		umount "$probe"; } 2>&1) || rc=$?
	why="cannot make and mount a $type here: $why"
	rm -f "$probe.img"
	rmdir "$probe"
	return "$rc"
}

need_fs()
{
	local type

	for type; do
		can_make "$type" || skip "$why"
	done
}

# in_part WORD...: all of them, or with PART=K/N every N-th from the K-th on, for
# tests that wait most of the time and are run side by side.
in_part()
{
	local part=${PART:-1/1} at=0 word

	for word; do
		if ((at++ % ${part#*/} == ${part%/*} - 1)); then
			echo "$word"
		fi
	done
}

# poll_until SECONDS COMMAND...: silent; the status says whether it came true.
poll_until()
{
	local end=$((SECONDS + $1))
	shift

	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

wait_until()
{
	poll_until "$@" || fail "not within $1 s: ${*:2}"
}

# eq WHAT HAVE WANT
eq()
{
	[[ $2 == "$3" ]] || fail "$1 is '$2', wanted '$3'"
}

# ---- mounts as the kernel lists them; never touches what is mounted ----

mounts_below()
{
	awk -v p="$1" '$5 == p || index($5, p "/") == 1 { print $5 }' \
		/proc/self/mountinfo | tac
}

is_mounted()
{
	awk -v p="$1" '$5 == p { n = 1 } END { exit !n }' /proc/self/mountinfo
}

not_mounted()
{
	! is_mounted "$1"
}

# Alive, and not only a remnant that nobody has waited for.
is_alive()
{
	local state

	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' \
		"/proc/$1/status" 2>/dev/null) || return 1
	[[ -n $state && $state != Z ]]
}

is_dead()
{
	! is_alive "$1"
}

# What a process has handed to write(2) and its kin so far, in bytes.
written_by()
{
	sed -n 's/^wchar: //p' "/proc/$1/io"
}

# What a resync copies between two commits, in bytes.
batch_bytes()
{
	local mib

	mib=$(sed -nE 's/^#define LAP_BYTES +\(UINT64_C\(([0-9]+)\) << 20\)$/\1/p' \
		"$lib_dir/../../resync/lap.h")
	[[ -n $mib ]] || fail "resync/lap.h says no LAP_BYTES"
	echo $((mib << 20))
}

# Processes that run the program and have this directory among their words.
daemons_of()
{
	local dir pid

	for dir in /proc/[0-9]*; do
		pid=${dir#/proc/}
		[[ $(readlink "$dir/exe" 2>/dev/null) == "$SEQMIRROR"* ]] ||
			continue
		if tr '\0' '\n' <"$dir/cmdline" 2>/dev/null |
			grep -qF -- "$1"; then
			echo "$pid"
		fi
	done
}

# ---- images: filesystems of their own for stores ----

# image NAME SIZE_MB [ext4|xfs|btrfs [MKFS_OPTION...]]: a sparse file, mounted
# on $work/NAME.
image()
{
	local name=$1 size=$2 type=${3:-ext4} options=()

	need losetup
	need_fs "$type"
	case $type in
	ext4) options=(-q -F -m 0) ;;
	xfs) options=(-q -f) ;;
	btrfs) options=(-q -f) ;;
	esac
	truncate -s "${size}M" "$work/$name.img"
	"mkfs.$type" "${options[@]}" "${@:4}" "$work/$name.img" >/dev/null
	mkdir "$work/$name"
	image_mount "$name"
	# Belongs to the filesystem and is nobody's file.
	if [[ -d $work/$name/lost+found ]]; then
		rmdir "$work/$name/lost+found"
	fi
}

image_mount()
{
	mount -o loop,noatime "$work/$1.img" "$work/$1"
}

image_umount()
{
	umount "$work/$1"
}

# image_power NAME: what was shut down is mounted anew. Who has copied all mounts
# (unshare) keeps the old one for a while, which is off, and the new one then too.
image_power()
{
	image_umount "$1" || fail "the dead filesystem is still held"
	image_mount "$1"
	wait_until 30 image_is_on "$1"
}
image_is_on()
{
	! sync "$work/$1" 2>/dev/null || return 0
	image_umount "$1" 2>/dev/null && image_mount "$1"
	sync "$work/$1" 2>/dev/null
}

image_umount_lazily()
{
	umount -l "$work/$1"
}

# faulty NAME [SOURCE]: $work/NAME shows SOURCE (default: a new directory
# $work/NAME.below) through a filesystem that fails as faults() says.
faulty()
{
	local name=$1 source=${2:-$work/$1.below}

	[[ -x $FAULTYFS ]] || skip "no faultyfs"
	mkdir -p "$source" "$work/$name"
	start_helper "$FAULTYFS" "$source" "$work/$name"
	wait_until 10 is_mounted "$work/$name"
}

# disk NAME SIZE_MB [ext4|xfs|btrfs]: like image, on a disk whose sectors fail
# as faults NAME.disk says.
disk()
{
	local name=$1 size=$2 type=${3:-ext4} options=(-q -F -m 0 -b 4096)

	need losetup filefrag
	need_fs "$type"
	[[ $type == ext4 ]] || options=(-q -f)
	faulty "$name.disk"
	truncate -s "${size}M" "$work/$name.disk/$name.img"
	"mkfs.$type" "${options[@]}" "$work/$name.disk/$name.img" >/dev/null
	mkdir "$work/$name"
	disk_mount "$name"
	if [[ -d $work/$name/lost+found ]]; then
		rmdir "$work/$name/lost+found"
	fi
}

disk_mount()
{
	mount -o loop,noatime "$work/$1.disk/$1.img" "$work/$1"
}

# bad_sector NAME FILE BLOCK: that block (4 KiB) of a file on disk NAME can be
# read no more until it is written.
bad_sector()
{
	local block

	block=$(filefrag -b4096 -e "$work/$1/$2" | tr -s ' .:' ' ' |
		awk -v b="$3" '$1 ~ /^[0-9]+$/ && b >= $2 && b <= $3 {
			print $4 + b - $2 }')
	[[ -n $block ]] || fail "$2 has no block $3 on $1"
	faults "$1.disk" bad "$1.img" $((block * 4096)) 4096
	echo 3 >/proc/sys/vm/drop_caches
}

# faults NAME COMMAND...: as tests/lib/faultyfs.h lists them. To create it would
# wait for the lock of the directory, which what hangs may hold.
faults()
{
	echo "${*:2}" | dd of="$work/$1/.faultyfs" conv=nocreat,notrunc \
		status=none || fail "not a command: ${*:2}"
}

# faults_pin NAME: its .faultyfs stays known to the kernel, whoever makes it
# forget what is cached. To be looked up again it would wait for the lock of the
# directory as well. faults_unpin NAME, before it is unmounted.
declare -A pins=()
faults_pin()
{
	sleep infinity <"$work/$1/.faultyfs" &
	pins[$1]=$!
}

faults_unpin()
{
	[[ -n ${pins[$1]:-} ]] || return 0
	kill "${pins[$1]}"
	wait "${pins[$1]}" || :
	unset "pins[$1]"
}

# fault_hits NAME: how often the rules in force struck, together.
fault_hits()
{
	sed 's/^hits=\([0-9]*\).*/\1/' "$work/$1/.faultyfs" |
		awk '{ n += $1 } END { print n + 0 }'
}

# fault_waits NAME: how many calls hang there now.
fault_waits()
{
	sed 's/.*waiting=\([0-9]*\).*/\1/' "$work/$1/.faultyfs" |
		awk '{ n += $1 } END { print n + 0 }'
}

# ---- the program ----

sm()
{
	"$SEQMIRROR" "$@"
}

# mount(8) looks for it in the usual places only. For a test in a mount namespace
# of its own.
install_program()
{
	mount -t tmpfs none /usr/local/sbin
	ln -s "$SEQMIRROR" /usr/local/sbin/seqmirror
}

# mount_volume [-o OPTIONS] STORE...: mounts on $mnt, the daemon's words go to
# $daemon_log.
mount_volume()
{
	start_mount "$@"
	poll_until 60 mount_settled || fail "the mount does not come"
	is_mounted "$mnt" || fail "mounting: $(tail -n 3 "$daemon_log")"
	wait_until 20 volume_answers
}

start_mount()
{
	echo "--- mount $*" >>"$daemon_log"
	"$SEQMIRROR" mount -f "$@" "$mnt" >>"$daemon_log" 2>&1 &
	daemon_pid=$!
}

mount_settled()
{
	is_mounted "$mnt" || is_dead "$daemon_pid"
}

volume_answers()
{
	sm status --json "$mnt" >/dev/null 2>&1
}

# The daemon must end well.
unmount_volume()
{
	sm unmount "$mnt"
	not_mounted "$mnt" || fail "unmount returned with the mount in place"
	daemon_ended
}

daemon_ended()
{
	local rc=0

	if [[ -n $daemon_pid ]]; then
		wait_until 60 is_dead "$daemon_pid"
		wait "$daemon_pid" || rc=$?
		daemon_pid=
		((rc == 0)) || fail "the daemon ended with status $rc"
	fi
}

# kill -9, as the kernel would when memory is short.
kill_daemon()
{
	# It may be dead already, by a fault point.
	kill -KILL "$daemon_pid" 2>/dev/null || :
	wait "$daemon_pid" 2>/dev/null || :
	daemon_pid=
	if is_mounted "$mnt"; then
		umount -l "$mnt"
	fi
}

# status_of FILTER [PLACE]: of the status as JSON, through jq -r.
status_of()
{
	sm status --json "${2:-$mnt}" | jq -r "$1"
}

# store_state NAME: its state as the volume sees it.
store_state()
{
	status_of ".stores[] | select(.name == \"$1\") | .state"
}

store_is()
{
	[[ $(store_state "$1") == "$2" ]]
}

volume_is()
{
	[[ $(status_of .state) == "$1" ]]
}

detach()
{
	sm detach "$mnt" "$1" >/dev/null
	store_is "$1" detached || fail "$1 is $(store_state "$1") after detach"
}

# attach NAME: waits until it is online.
attach()
{
	timeout 240 "$SEQMIRROR" attach --wait "$mnt" "$1" >/dev/null ||
		fail "attach --wait $1: status $?"
	store_is "$1" online || fail "$1 is $(store_state "$1") after attach"
}

# refused COMMAND...: fails with status 1 or 2 (32 for mount) and one line
# that begins with the program's name; the line is left in $refusal.
refused()
{
	local rc=0

	timeout 30 "$@" >"$work/refused.out" 2>"$work/refused.err" || rc=$?
	refusal=$(grep -v '^seqmirror: hint: ' "$work/refused.err" || :)
	((rc != 0)) || fail "not refused: $*"
	((rc != 124)) || fail "hangs: $*"
	((rc < 124)) || fail "status $rc: $*: $refusal"
	[[ $refusal == "seqmirror: "* ]] || fail "no reason given: '$refusal'"
	eq "lines of the refusal ($refusal)" "$(wc -l <<<"$refusal")" 1
}

# checked STORE...: what `check` finds, as JSON in $report; the status must be what
# that says.
checked()
{
	local rc=0

	report=$work/report.json
	sm check --json "$@" >"$report" || rc=$?
	jq -e . "$report" >/dev/null || fail "check --json: $(cat "$report")"
	eq "status of check" "$rc" $(($(jq .wrong "$report") > 0))
}

# sound STORE: nothing is wrong.
sound()
{
	checked "$1"
	eq "$1 wrong" "$(jq -c '[.findings[] | select(.class == "wrong")]' \
		"$report")" "[]"
}

same_tree()
{
	local output

	output=$(python3 "$lib_dir/treecmp.py" "$@") || {
		sed -n 1,40p <<<"$output" >&2
		fail "trees differ: $*"
	}
}

# start_helper COMMAND...: in the background; its pid is in $helper_pid.
start_helper()
{
	"$@" &
	helper_pid=$!
	helpers+=("$helper_pid")
}

# ---- the end ----

cleanup()
{
	local rc=$? pid point left='' image

	trap - EXIT ERR
	set +e
	cd /
	# What hangs goes on, or nothing here would end.
	for point in "$work"/*/.faultyfs; do
		[[ -e $point ]] && echo clear |
			dd of="$point" conv=nocreat,notrunc status=none
	done
	# Of the test itself, if it has something of its own to put back.
	if declare -F at_end >/dev/null; then
		at_end
	fi
	for image in "$work"/*.disk; do # before its faultyfs goes
		is_mounted "${image%.disk}" && umount "${image%.disk}" 2>/dev/null
	done
	for pid in "${helpers[@]}" "${pins[@]}"; do
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	if is_mounted "$mnt"; then
		left+=" the mount"
		sm unmount "$mnt" >/dev/null 2>&1 &
		poll_until 10 not_mounted "$mnt" || umount -l "$mnt"
	fi
	if [[ -n $daemon_pid ]] && ! poll_until 10 is_dead "$daemon_pid"; then
		left+=" daemon $daemon_pid"
	fi
	for pid in $(daemons_of "$work"); do
		if ! poll_until 5 is_dead "$pid"; then
			left+=" process $pid"
			kill -KILL "$pid"
			poll_until 10 is_dead "$pid"
		fi
	done
	while read -r point; do
		umount "$point" 2>/dev/null || umount -l "$point"
	done < <(mounts_below "$work")
	for image in "$work"/*.img; do
		[[ -e $image ]] || continue
		for pid in $(losetup -n -O NAME -j "$image"); do
			losetup -d "$pid"
		done
	done
	if ((rc == 0)) && [[ -n $left ]]; then
		echo "FAILED: left behind:$left" >&2
		rc=1
	fi
	if grep /proc/self/ "$daemon_log" >&2; then
		echo "FAILED: the log names a store as nobody knows it" >&2
		rc=1
	fi
	if ((rc != 0 && rc != 77)) && [[ -s $daemon_log ]]; then
		echo "--- the daemon's log ends:" >&2
		tail -n 60 "$daemon_log" >&2
	fi
	if [[ -z ${KEEP:-} ]]; then
		rm -rf --one-file-system "$work"
	else
		echo "kept: $work"
	fi
	exit "$rc"
}
trap cleanup EXIT
trap 'echo "$test_name.sh: line $LINENO: status $?: $BASH_COMMAND" >&2' ERR
trap 'exit 143' TERM INT HUP
