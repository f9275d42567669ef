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
#	TYPES	filesystems of the three stores (default ext4,xfs,ext4)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

(($# > 0)) || set -- --seeds "${SEQMIRROR_SEEDS:-20}"
here=$lib_dir/../mount
IFS=, read -r -a types <<<"${TYPES:-ext4,xfs,ext4}"
((${#types[@]} == 3)) || fail "TYPES names three filesystems: $TYPES"
# Each third seed compares what is allocated, on the first and the third.
if [[ ${types[0]} != ext4 || ${types[2]} != ext4 ]]; then
	set -- --mixed "$@"
fi
# Holes are compared, and a smaller block may be one where a larger is not.
blocks=()
[[ ${types[*]} == "ext4 xfs ext4" ]] && blocks=(-b 4096)
image r 400
image a 400 "${types[0]}" "${blocks[@]}"
image b 400 "${types[1]}"
image c 600 "${types[2]}" "${blocks[@]}"
python3 "$here/exerciser.py" --work "$work" --reference "$work/r" \
	--stores "$work/a,$work/b,$work/c" "$@" || fail "see above"
