#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stores that are rotated in every way, against an oracle; see rotations.py.
#
# usage: rotations.sh [--seeds N] [--first SEED] [--rounds M] [--seconds T] ...
#
# Without arguments as many seeds as SEQMIRROR_SEEDS says, or 20.
#
#	TYPE	filesystem below the stores (default ext4)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root

(($# > 0)) || set -- --seeds "${SEQMIRROR_SEEDS:-20}"
image disk 400 "${TYPE:-ext4}"
python3 "$lib_dir/../mount/rotations.py" --work "$work" --disk "$work/disk" \
	"$@" || fail "see above"
