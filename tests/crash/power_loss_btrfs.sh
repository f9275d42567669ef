#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# power_loss.sh between a btrfs and an ext4.
set -euo pipefail
exec "$(dirname "$0")/power_loss.sh" --runs 15 --types btrfs,ext4 "$@"
