#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# power_loss.sh between an xfs and an ext4.
set -euo pipefail
exec "$(dirname "$0")/power_loss.sh" --runs 25 --types xfs,ext4 "$@"
