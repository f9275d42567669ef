#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stores that lose their power with un-synced writes, the daemon that dies, at
# any moment and at every fault point, and pairs of them; see power_loss.py.
#
# usage: power_loss.sh [--runs N] [--seed S] [--types KIND,KIND] ...
#
# Without arguments 60 runs; with power_loss_xfs and power_loss_btrfs 100. Fault
# points need -Dfault_injection=true.
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need mkfs.ext4 losetup
for type in xfs btrfs; do
	[[ $* != *$type* ]] || need_fs "$type"
done

export FAULTYFS
(($# > 0)) || set -- --runs 60
python3 "$lib_dir/../crash/power_loss.py" --work "$work" "$@" ||
	fail "see above"
