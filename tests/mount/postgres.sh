#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# PostgreSQL on a mount: what it said was committed is there, and nothing is
# damaged, after kills of the server and of the daemon and while stores leave
# and return. Both stores are equal at the end.
#
#	SECONDS_EACH	of load before each event (default 2)
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv
pg=
for dir in /usr/lib/postgresql/*/bin; do
	if [[ -x $dir/pgbench ]]; then pg=$dir; fi
done
[[ -n $pg ]] || skip "no PostgreSQL"
id postgres >/dev/null 2>&1 || skip "no user postgres"

# Without a process in between, which would be told instead.
postgres=(setpriv --reuid postgres --regid postgres --init-groups)
server_pid=
load_pids=()
each=${SECONDS_EACH:-2}

as_postgres()
{
	timeout 60 "${postgres[@]}" "$@"
}

sql()
{
	as_postgres "$pg/psql" -h "$work/socket" -qAtX -v ON_ERROR_STOP=1 \
		-d bench -c "$1"
}

children_of()
{
	local stat

	for stat in /proc/[0-9]*/stat; do
		# The name may hold blanks: what counts is behind it.
		sed -n 's/^\([0-9]*\) .*) . \([0-9]*\) .*/\1 \2/p' "$stat" \
			2>/dev/null || :
	done | awk -v p="$1" '$2 == p { print $1 }'
}

server_answers()
{
	"$pg/pg_isready" -q -h "$work/socket"
}

server_start()
{
	"${postgres[@]}" "$pg/postgres" -D "$mnt/db" \
		-k "$work/socket" -c listen_addresses= \
		-c max_wal_size=64MB -c checkpoint_timeout=30s \
		>>"$work/server.log" 2>&1 &
	server_pid=$!
	helpers+=("$server_pid")
	wait_until 60 server_answers
}

server_stop()
{
	kill -INT "$server_pid"
	wait_until 60 is_dead "$server_pid"
	wait "$server_pid"
}

# Each backend is a session of its own and outlives the one that made it until
# it looks: all of them are ended, and none is left when this returns.
server_kill()
{
	local all pid

	kill -STOP "$server_pid" || :
	mapfile -t all < <(children_of "$server_pid")
	for pid in "$server_pid" "${all[@]}"; do
		kill -KILL "$pid" 2>/dev/null || :
	done
	wait "$server_pid" 2>/dev/null || :
	for pid in "${all[@]}"; do
		wait_until 60 is_dead "$pid"
	done
	wait "${load_pids[@]}" || :
}

# Transfers, and numbers that are noted when they were committed.
load_start()
{
	timeout 120 "${postgres[@]}" "$pg/pgbench" -n -c 4 -T 100 \
		-h "$work/socket" bench >/dev/null 2>&1 &
	load_pids=("$!")
	awk -v n="$1" 'BEGIN { for (;; n++)
		print "INSERT INTO noted VALUES (" n ");\n\\echo " n }' 2>/dev/null |
		timeout 120 stdbuf -o L "${postgres[@]}" "$pg/psql" -qAtX \
			-h "$work/socket" -v ON_ERROR_STOP=1 -d bench \
			>>"$work/noted" 2>/dev/null &
	load_pids+=("$!")
	helpers+=("${load_pids[@]}")
	load_end=$((SECONDS + each))
	wait_until 60 load_runs
}

load_runs()
{
	((SECONDS >= load_end)) && [[ $(tail -n 1 "$work/noted" || echo 0) -gt $last ]]
}

# What was committed is there, sums agree, no page and no index is damaged.
all_is_well()
{
	local sums

	echo "$1, after $SECONDS s"

	sql "SELECT n FROM noted" | sort >have
	sort noted >wanted
	[[ -z $(comm -13 have wanted) ]] ||
		fail "$1: committed and not there: $(comm -13 have wanted)"
	sums=$(sql "SELECT count(DISTINCT s) FROM (
		SELECT sum(abalance) s FROM pgbench_accounts UNION ALL
		SELECT sum(bbalance) FROM pgbench_branches UNION ALL
		SELECT sum(tbalance) FROM pgbench_tellers UNION ALL
		SELECT sum(delta) FROM pgbench_history) x")
	eq "different sums after $1" "$sums" 1
	as_postgres "$pg/pg_amcheck" -h "$work/socket" --heapallindexed \
		-d bench || fail "$1: pg_amcheck"
	last=$(tail -n 1 noted)
}

image a 700
image b 700
chmod 755 "$work"
mkdir socket
chown postgres socket
sm init --name a,b "$work/a" "$work/b" >/dev/null
mount_volume "$work/a" "$work/b"
chmod 755 "$mnt"
mkdir -m 700 "$mnt/db"
chown postgres: "$mnt/db"
cd /
as_postgres "$pg/initdb" -D "$mnt/db" --auth=trust --data-checksums \
	--no-locale -E UTF8 >/dev/null
cd "$work"
touch noted
chmod 666 noted
last=0
server_start
as_postgres "$pg/createdb" -h "$work/socket" bench
as_postgres "$pg/pgbench" -q -i -s 2 -h "$work/socket" bench >/dev/null 2>&1
sql "CREATE EXTENSION amcheck; CREATE TABLE noted (n int PRIMARY KEY)"

load_start 1
server_kill
server_start
all_is_well "a kill of the server"

load_start $((last + 1000))
detach b
wait_until 60 load_runs
server_kill
attach b
detach a
server_start
all_is_well "a failover"
attach a

load_start $((last + 1000))
kill_daemon
server_kill
mount_volume "$work/a" "$work/b"
server_start
all_is_well "a kill of the daemon"

server_stop
as_postgres "$pg/pg_checksums" --check -D "$mnt/db" >/dev/null ||
	fail "checksums"
volume_is healthy || fail "the volume is $(status_of .state)"
unmount_volume
same_tree "$work/a" "$work/b"
