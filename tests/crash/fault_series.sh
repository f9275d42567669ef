#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Random faults of stores under an application that goes on; see
# fault_series.py.
#
# usage: fault_series.sh [--runs N] [--seed S] [--only KIND]
#	[--types KIND,KIND] ...
#
# Without arguments as many runs as begin in 16 s.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need mkfs.ext4 losetup
[[ -x $FAULTYFS ]] || skip "no faultyfs"
for type in xfs btrfs; do
	[[ $* != *$type* ]] || need_fs "$type"
done

export FAULTYFS
(($# > 0)) || set -- --runs 100 --seconds 16
python3 "$lib_dir/../crash/fault_series.py" --work "$work" "$@" ||
	fail "see above"
