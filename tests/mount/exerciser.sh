#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Random operations and events against a plain directory; see exerciser.py.
#
# usage: exerciser.sh [--seeds N] [--ops M] [--first SEED] [--seconds T] ...
#
# Without arguments as many seeds as SEQMIRROR_SEEDS says, or 20. Each fourth
# seed mounts with cache=writethrough.
#
#	TYPES	filesystems of the three stores (default ext4,xfs,ext4), each with
#		the size of its blocks if wanted: ext4/1024,xfs/65536,ext4
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

(($# > 0)) || set -- --seeds "${SEQMIRROR_SEEDS:-20}"
here=$lib_dir/../mount
IFS=, read -r -a types <<<"${TYPES:-ext4,xfs,ext4}"
((${#types[@]} == 3)) || fail "TYPES names three filesystems: $TYPES"
# Holes are compared, and a smaller block may be one where a larger is not.
if [[ ${types[*]} == "ext4 xfs ext4" ]]; then
	types=(ext4/4096 xfs ext4/4096)
fi
# Each third seed compares what is allocated, on the first and the third.
if [[ ${types[0]} != ext4/4096 || ${types[2]} != ext4/4096 ]]; then
	set -- --mixed "$@"
fi

# store NAME SIZE_MB TYPE[/BLOCK]
store()
{
	local type=${3%/*} block=() size=${3#*/}

	if [[ $3 == */* ]]; then
		case $type in
		ext4) block=(-b "$size") ;;
		xfs) block=(-b "size=$size") ;;
		*) fail "TYPES: blocks of a $type have one size" ;;
		esac
	fi
	image "$1" "$2" "$type" "${block[@]}"
}

image r 400
store a 400 "${types[0]}"
store b 400 "${types[1]}"
store c 600 "${types[2]}"
python3 "$here/exerciser.py" --work "$work" --reference "$work/r" \
	--stores "$work/a,$work/b,$work/c" "$@" || fail "see above"
