#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Build and test one configuration in a directory of its own.
#
# usage: ci.sh CONFIGURATION [SUITE...]
#
#   gcc, clang    warnings are errors; all suites
#   release       optimised gcc, as packaged
#   fault         fault points on: what the crash suite needs
#   asan          clang, address and undefined behaviour; unit tight conc mount
#   tsan          clang, threads; conc mount
#   valgrind      gcc; the unit suite under valgrind
#   analyzer      gcc -fanalyzer; builds only
#   tidy          clang-tidy over all sources but the tests; builds only
#   format        clang-format finds nothing to change
#   shell         shellcheck over all scripts
#   dist          a release archive, built and tested from itself
#
# SEQMIRROR_CI_DIR says where to build (default: build-ci below the source).
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ci_dir=${SEQMIRROR_CI_DIR:-$source_dir/build-ci}

die()
{
	echo "ci.sh: $*" >&2
	exit 2
}

(($# > 0)) || die "usage: ci.sh CONFIGURATION [SUITE...]"
config=$1
shift
suites=("$@")
build_dir=$ci_dir/$config
log_dir=$build_dir/sanitizer-logs

# Builds all, or leaves it to the run of the named suites to build what they
# need.
setup()
{
	local mode=()

	[[ ! -f $build_dir/build.ninja ]] || mode=(--reconfigure)
	meson setup "${mode[@]}" "$build_dir" "$source_dir" "$@" >/dev/null ||
		die "meson setup failed; see $build_dir/meson-logs"
	((${#suites[@]} > 0)) || ninja -C "$build_dir"
}

# Runs the given suites, or those named on the command line, that exist.
run_tests()
{
	local known names=() suite

	if ((${#suites[@]} == 0)); then
		suites=("$@")
	fi
	known=$(meson test -C "$build_dir" --list)
	for suite in "${suites[@]}"; do
		if grep -Eq "[:+]$suite([ +]|\$)" <<<"$known"; then
			names+=(--suite "$suite")
		fi
	done
	if ((${#suites[@]} > 0 && ${#names[@]} == 0)); then
		echo "ci.sh: $config: no tests in: ${suites[*]}"
		return 0
	fi
	meson test -C "$build_dir" --print-errorlogs \
		--timeout-multiplier "${timeout_factor:-2}" "${names[@]}"
}

# Criterion does not fail a test for a leak, and a daemon's report goes where
# nobody looks: a report file is a failure, whoever wrote it.
sanitized_tests()
{
	local failed=0 logs

	rm -rf "$log_dir"
	mkdir -p "$log_dir"
	chmod 1777 "$log_dir"
	export ASAN_OPTIONS="log_path=$log_dir/asan:detect_stack_use_after_return=1:abort_on_error=0"
	export UBSAN_OPTIONS="log_path=$log_dir/ubsan:halt_on_error=1:print_stacktrace=1"
	export TSAN_OPTIONS="log_path=$log_dir/tsan:second_deadlock_stack=1:halt_on_error=0"
	timeout_factor=5
	run_tests "$@" || failed=1
	logs=$(find "$log_dir" -type f)
	if [[ -n $logs ]]; then
		echo "ci.sh: $config: reports:" >&2
		xargs -d '\n' tail -n 60 <<<"$logs" >&2
		failed=1
	fi
	return "$failed"
}

sources()
{
	(cd "$source_dir" &&
		find base meta fs resync tests -name '*.[ch]' | sort)
}

case $config in
gcc)
	CC=gcc setup -Dwerror=true
	run_tests
	;;
clang)
	CC=clang setup -Dwerror=true
	run_tests
	;;
release)
	CC=gcc setup -Dwerror=true -Dbuildtype=release
	run_tests
	;;
fault)
	CC=gcc setup -Dfault_injection=true -Dlock_debug=true
	run_tests
	;;
asan)
	# The sanitizer's library is in the program, hence b_lundef.
	CC=clang setup -Db_sanitize=address,undefined -Db_lundef=false \
		-Dlock_debug=true -Dfault_injection=true
	sanitized_tests unit tight conc mount
	;;
tsan)
	CC=clang setup -Db_sanitize=thread -Db_lundef=false \
		-Dlock_debug=true -Dfault_injection=true
	sanitized_tests conc mount
	;;
valgrind)
	CC=gcc setup -Dlock_debug=true
	meson test -C "$build_dir" --no-rebuild --setup valgrind \
		--print-errorlogs --suite unit
	;;
analyzer)
	CC=gcc setup -Dc_args=-fanalyzer
	;;
tidy)
	CC=clang setup
	# Criterion's macros would drown what is ours.
	sources | grep '\.c$' | grep -v '^tests/' | (cd "$source_dir" &&
		xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build_dir")
	;;
format)
	sources | (cd "$source_dir" &&
		xargs clang-format --dry-run -Werror)
	;;
shell)
	(cd "$source_dir" && {
		find scripts tests .ci -name '*.sh'
		grep -lrE '^#!.*\b(ba)?sh$' scripts tests .ci
	} | sort -u | xargs shellcheck -x)
	;;
dist)
	CC=gcc setup
	meson dist -C "$build_dir" --allow-dirty
	;;
*)
	die "no such configuration: $config"
	;;
esac
echo "ci.sh: $config: ok"
