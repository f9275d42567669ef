#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Install what is missing to build, test, measure or check seqmirror on Debian
# or Ubuntu.
#
# usage: install-deps.sh [build] [test] [programs] [bench] [ci]  (default: build)
#
# Does nothing, and needs no rights and no network, when all is there.
set -euo pipefail

build=(
	gcc libc6-dev meson ninja-build pkg-config python3
	libfuse3-dev libsqlite3-dev libxxhash-dev libjansson-dev uthash-dev
	scdoc
)
# What the mount tests use besides: fusermount3, setfacl, setfattr, losetup
# and the mkfs of each kind of store. Without them tests skip.
test=(
	libcriterion-dev fuse3 acl attr e2fsprogs xfsprogs btrfs-progs
	util-linux sqlite3 jq iproute2 sudo
)
# Real programs that mount/posix_programs and mount/postgres run on a mount;
# what is missing they leave out. Debian starts a PostgreSQL server of its own
# when it installs the package: that is why scripts/test does not ask for these.
programs=(
	git make rsync qemu-utils fio stress-ng postgresql
)
# Others that seqmirror is compared with; those that cannot be had are left out
# of a comparison, not installed by force.
bench=(
	fio git rsync attr e2fsprogs util-linux iproute2 mergerfs btrfs-progs
	glusterfs-server
)
# All configurations of ci.sh.
ci=(
	clang libclang-rt-dev clang-format clang-tidy llvm shellcheck valgrind
)

die()
{
	echo "install-deps.sh: $*" >&2
	exit 1
}

is_installed()
{
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == \
		installed ]]
}

wanted=()
for set_name in "${@:-build}"; do
	case $set_name in
	build) wanted+=("${build[@]}") ;;
	test) wanted+=("${build[@]}" "${test[@]}") ;;
	programs) wanted+=("${programs[@]}") ;;
	bench) wanted+=("${build[@]}" "${bench[@]}") ;;
	ci) wanted+=("${build[@]}" "${test[@]}" "${ci[@]}") ;;
	*) die "no such set: $set_name (there are build, test, programs, bench, ci)" ;;
	esac
done

command -v dpkg-query >/dev/null ||
	die "not a Debian system; install by hand: ${wanted[*]}"

missing=()
for package in "${wanted[@]}"; do
	is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
	exit 0
fi

as_root=()
if ((EUID != 0)); then
	command -v sudo >/dev/null ||
		die "run as root, or install: ${missing[*]}"
	as_root=(sudo)
fi

# Another apt may be at work: wait for its lock instead of failing.
apt_get()
{
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

echo "install-deps.sh: installing ${missing[*]}" >&2
apt_get update
apt_get install -y --no-install-recommends "${missing[@]}"
