#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# posix_cases.sh without writeback caching and with a store away.
set -euo pipefail
OPTIONS=cache=writethrough AWAY=1 exec "$(dirname "$0")/posix_cases.sh" "$@"
