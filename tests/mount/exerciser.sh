#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Random operations and events against a plain directory; see exerciser.py.
#
# usage: exerciser.sh [--seeds N] [--ops M] [--first SEED] [--seconds T] ...
#
# Without arguments as many seeds as SEQMIRROR_SEEDS says, or 20.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq

(($# > 0)) || set -- --seeds "${SEQMIRROR_SEEDS:-20}"
here=$lib_dir/../mount
other=ext4
if command -v mkfs.xfs >/dev/null; then
	other=xfs
fi
image r 400
image a 400
image b 400 "$other"
image c 600
python3 "$here/exerciser.py" --work "$work" --reference "$work/r" \
	--stores "$work/a,$work/b,$work/c" "$@" || fail "see above"
