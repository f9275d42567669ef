#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An ordinary user mounts a volume for oneself, and sees it alone.
# In a mount namespace of its own: /dev/fuse is open to all there.
if ((EUID == 0)) && [[ -z ${MOUNTS_APART:-} ]]; then
	MOUNTS_APART=1 exec unshare -m "$0" "$@"
fi
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv fusermount3
[[ -u $(command -v fusermount3) ]] || skip "fusermount3 is not setuid"

as_user()
{
	(cd / && setpriv --reuid 65534 --regid 65534 --clear-groups \
		env HOME="$work" XDG_RUNTIME_DIR="$work/run" "$@")
}

no_daemon_left()
{
	[[ -z $(daemons_of "$mnt") ]]
}

chmod 755 "$work"
mknod -m 666 fuse c "$((0x$(stat -c %t /dev/fuse)))" \
	"$((0x$(stat -c %T /dev/fuse)))"
mount --bind fuse /dev/fuse
as_user test -x "$SEQMIRROR" || skip "others cannot reach the program"
mkdir a b
mkdir -m 700 run
chown 65534:65534 a b run "$mnt"

as_user "$SEQMIRROR" init --name a,b "$work/a" "$work/b" >/dev/null
if ! as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt" 2>err; then
	! grep -qE 'fusermount|/dev/fuse|not permitted' err ||
		skip "users cannot mount here: $(tail -n 1 err)"
	fail "mount: $(cat err)"
fi
is_mounted "$mnt" || fail "mount returned before the mount was there"
as_user sh -c "mkdir $mnt/ops && python3 $lib_dir/ops.py $mnt/ops" ||
	fail "the cases as a user"
! ls "$mnt" >/dev/null 2>&1 || fail "root sees into a user's mount"
# A directory that its owner may not search is no fault of a store's.
as_user sh -c "mkdir $mnt/closed && echo x >$mnt/closed/f && mkfifo $mnt/closed/p &&
	touch -d 2001-02-03 $mnt/closed/* && chmod 600 $mnt/closed"
as_user "$SEQMIRROR" detach "$mnt" b >/dev/null
as_user sh -c "echo changed >$mnt/note && rm -r $mnt/ops/rename"
as_user "$SEQMIRROR" attach --wait "$mnt" b >/dev/null
eq "state" "$(as_user "$SEQMIRROR" status --json "$mnt" | jq -r .state)" \
	healthy
as_user sh -c "chmod 700 $mnt/closed && rm -r $mnt/closed"

# Directories that do not let their owner change them go and move while a store
# is away, some between two of their kind.
as_user sh -c "cd $mnt && mkdir -p from/sub to gone/in stay && echo 1 >from/sub/f &&
	echo 2 >gone/in/f && mkdir stay/one stay/two && echo 3 >stay/one/f &&
	chmod 555 from/sub gone/in gone from to stay/* && sync -f ."
as_user "$SEQMIRROR" detach "$mnt" b >/dev/null
as_user sh -c "cd $mnt && chmod u+w from to from/sub && mv from/sub to/sub2 &&
	chmod u-w from to to/sub2 && chmod -R u+w gone && rm -r gone &&
	mv stay/two stay/three && mv stay/one stay/two && mv stay/three stay/one"
as_user "$SEQMIRROR" attach --wait "$mnt" b >/dev/null
eq "state" "$(as_user "$SEQMIRROR" status --json "$mnt" | jq -r .state)" \
	healthy
eq "moved" "$(cat b/to/sub2/f b/stay/two/f | xargs)" "1 3"
eq "limbo" "$(ls -A b/.seqmirror/limbo)" ""
eq "modes" "$(cd b && stat -c %a from to to/sub2 stay/* | xargs)" \
	"555 555 555 555 555"
as_user sh -c "cd $mnt && chmod -R u+w from to stay && rm -r from to stay"

# A scrub of files that shut their owner out, and a repair.
as_user sh -c "cd $mnt && echo r >ro && echo n >none &&
	setfattr -n user.a -v 1 ro && setfattr -n user.a -v 1 none &&
	chmod 444 ro && chmod 0 none && mkdir shut && echo x >shut/x &&
	chmod 0 shut && sync -f ."
as_user "$SEQMIRROR" scrub --wait "$mnt" >scrub.log 2>&1 ||
	fail "a scrub as a user: $(cat scrub.log)"
! grep -q "not at rest, or shut" scrub.log || fail "$(cat scrub.log)"
as_user sh -c "chmod 644 $work/b/ro && echo R >$work/b/ro && chmod 444 $work/b/ro"
if as_user "$SEQMIRROR" scrub --wait "$mnt" >scrub.log 2>&1; then
	fail "not found"
fi
as_user "$SEQMIRROR" scrub --repair --prefer a --wait "$mnt" >scrub.log 2>&1 ||
	fail "a repair as a user: $(cat scrub.log)"
eq "ro" "$(cat b/ro)" r

# A crash over files and directories that shut their owner out.
as_user sh -c "cd $mnt && mkdir dark dark/in && echo x >dark/f &&
	echo y >dark/in/g && chmod 0 dark/in/g && chmod 0 dark/in && chmod 600 dark &&
	chmod 700 shut && mkdir -p shut/q/r && echo z >shut/q/r/z &&
	chmod 0 shut/q/r && chmod 0 shut/q && chmod 0 shut &&
	umask 777 && dd if=/dev/zero of=shut-file bs=4k count=1 conv=fsync 2>dd.err"
kill -KILL "$(daemons_of "$mnt")"
wait_until 30 no_daemon_left
umount -l "$mnt"

# A dry run lifts no mode, for a moment neither: a change time would tell.
modes_of()
{
	find a b -name .seqmirror -prune -o -printf '%p %m %C@\n'
}
modes_of >before
! as_user "$SEQMIRROR" resync --dry-run "$work/a" "$work/b" >err 2>&1 ||
	fail "a dry run looked into what shuts its owner out"
grep -q "a dry run changes no modes" err || fail "said: $(cat err)"
modes_of >after
diff before after || fail "a dry run changed something"

as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt" 2>err ||
	fail "a mount after a crash: $(cat err)"
is_healthy()
{
	[[ $(as_user "$SEQMIRROR" status --json "$mnt" | jq -r .state) == healthy ]]
}
wait_until 60 is_healthy
as_user fusermount3 -u "$mnt"
wait_until 20 not_mounted "$mnt"
wait_until 30 no_daemon_left
same_tree "$work/a" "$work/b"
eq "note" "$(cat b/note)" changed

# Unmounted: a new symlink in a directory that shuts its owner out.
as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
as_user "$SEQMIRROR" detach "$mnt" b >/dev/null
as_user sh -c "mkdir $mnt/closed && ln -s none $mnt/closed/link &&
	chmod 0 $mnt/closed"
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
as_user "$SEQMIRROR" resync "$work/a" "$work/b" >resync.log 2>&1 ||
	fail "resync as a user: $(cat resync.log)"
same_tree "$work/a" "$work/b"

# Directories that are read-only, or shut their owner out one in another: moved,
# exchanged, changed and removed while a store was away.
for how in mounted unmounted; do
	as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
	as_user sh -c "cd $mnt && mkdir -p w/x w/y w/gone/sub w/deep/m/n w/other &&
		for d in x y gone/sub deep/m/n; do
			echo \$d >w/\$d/f && ln -s \$d w/\$d/s && chmod 0 w/\$d/f
		done && cd w && chmod 500 x gone/sub gone &&
		chmod 0 y deep/m/n && chmod 0 deep/m && chmod 0 deep"
	as_user "$SEQMIRROR" detach "$mnt" b >/dev/null
	as_user sh -c "cd $mnt/w && chmod -R u+rwx . && rm -r gone &&
		mv x other && mv y x && cd deep/m/n && echo more >>f &&
		mv f g && rm s && ln -s t t && echo new >new && chmod 0 new g &&
		cd ../../.. && mv deep/m m && chmod 0 m/n && chmod 0 m &&
		chmod 500 other/x other && chmod 0 x deep"
	if [[ $how == mounted ]]; then
		as_user "$SEQMIRROR" attach --wait "$mnt" b >attach.log 2>&1 ||
			fail "attach as a user: $(cat attach.log)"
	fi
	as_user fusermount3 -u "$mnt"
	wait_until 30 no_daemon_left
	if [[ $how == unmounted ]]; then
		as_user "$SEQMIRROR" resync "$work/a" "$work/b" \
			>resync.log 2>&1 ||
			fail "resync as a user: $(cat resync.log)"
	fi
	same_tree "$work/a" "$work/b"
	as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
	as_user sh -c "cd $mnt && chmod -R u+rwx w && rm -r w"
	as_user fusermount3 -u "$mnt"
	wait_until 30 no_daemon_left
done

# A copy whose hard links to such files became files of their own.
as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
as_user sh -c "chmod 700 $mnt/closed && ln $mnt/shut-file $mnt/closed/two &&
	ln $mnt/closed/link $mnt/link2 && chmod 0 $mnt/closed"
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
mv b old
cp -r --preserve=mode,ownership,timestamps,xattr --no-dereference old b
rm -rf old
# A mount of it that is refused leaves it as it is.
if ! grep -qs '^[[:space:]]*user_allow_other' /etc/fuse.conf; then
	mv a away
	! as_user "$SEQMIRROR" mount -o allow_other "$work/b" "$mnt" 2>err ||
		fail "mounted with allow_other"
	mv away a
	grep -q "cannot be mounted" err || fail "said: $(cat err)"
fi
if [[ -e /dev/cpu_dma_latency ]]; then
	! as_user "$SEQMIRROR" mount -o low_latency=on "$work/a" "$work/b" \
		"$mnt" 2>err || fail "mounted with low_latency=on"
	grep -q "low_latency=on: .* it takes root" err || fail "said: $(cat err)"
fi
eq "links of the copy" "$(stat -c %h b/shut-file b/link2 | xargs)" "1 1"
as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
wait_until 60 is_healthy
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
eq "links" "$(stat -c %h b/shut-file b/link2 | xargs)" "2 2"
eq "found" "$(ls b/.seqmirror/found)" ""
same_tree "$work/a" "$work/b"

# The map of one is lost: taken back, it is compared with files that shut their
# owner out, one in another.
as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
as_user sh -c "cd $mnt && mkdir -p w/m/n && echo n >w/m/n/f && ln -s n w/m/n/s &&
	chmod 0 w/m/n/f w/m/n && chmod 0 w/m && chmod 0 w"
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
rm -f b/.seqmirror/meta.db*
chmod 700 b/w b/w/m b/w/m/n
echo mine >b/w/m/n/mine
chown 65534:65534 b/w/m/n/mine
chmod 0 b/w b/w/m b/w/m/n
as_user "$SEQMIRROR" mount "$work/a" "$mnt"
as_user "$SEQMIRROR" attach --rebuild --wait "$mnt" "$work/b" >attach.log 2>&1 ||
	fail "attach --rebuild as a user: $(cat attach.log)"
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
same_tree "$work/a" "$work/b"
eq "found" "$(cat b/.seqmirror/found/mine)" mine

# A check leaves no trace, so it does not look into w; all else it tells. A repair
# looks.
as_user sh -c "echo x >$work/b/unknown && chmod 700 $work/b/w &&
	touch $work/b/w/unknown && mkdir $work/b/listed && touch $work/b/listed/f &&
	chmod 0 $work/b/w"
as_user "$SEQMIRROR" check --json "$work/b" >check.json 2>check.log &&
	fail "a check found nothing"
for finding in "unreadable w" "unknown unknown" "unknown listed"; do
	jq -r '.findings[] | "\(.kind) \(.path)"' check.json | grep -qx "$finding" ||
		fail "not $finding: $(cat check.json check.log)"
done
as_user "$SEQMIRROR" check --repair "$work/b" >check.log 2>&1 ||
	fail "check --repair as a user: $(cat check.log)"
grep -q w/unknown check.log || fail "a repair did not look: $(cat check.log)"
eq "mode" "$(stat -c %a b/w)" 0
as_user "$SEQMIRROR" resync "$work/b" "$work/a" >/dev/null
same_tree "$work/a" "$work/b"

# Deeper than a walk keeps its way open, each shut: after the lowest it has to come
# back to those above.
as_user "$SEQMIRROR" mount "$work/a" "$work/b" "$mnt"
as_user python3 - "$mnt" <<-'PYTHON'
	import os, sys
	os.chdir(sys.argv[1])
	for i in range(40):
	    os.mkdir("deep")
	    os.mkdir("twin")
	    os.chdir("deep")
	for i in range(40):
	    os.chdir("..")
	    os.chmod("deep", 0)
	    os.chmod("twin", 0)
PYTHON
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
as_user touch "$work/a/last"
as_user "$SEQMIRROR" check --repair "$work/a" >check.log 2>&1 ||
	fail "check --repair of what is deep: $(tail -n 3 check.log)"
grep -q last check.log || fail "a repair did not look: $(cat check.log)"
as_user "$SEQMIRROR" check --repair "$work/a" >check.log 2>&1 ||
	fail "check --repair once more: $(tail -n 3 check.log)"
! grep -q repaired check.log ||
	fail "a look was taken for a change: $(tail -n 5 check.log)"
as_user "$SEQMIRROR" resync "$work/a" "$work/b" >/dev/null
same_tree "$work/a" "$work/b"

# The map of one is lost: made anew from files that shut their owner out.
rm -f a/.seqmirror/meta.db*
as_user "$SEQMIRROR" check --rebuild "$work/a" >rebuild.log 2>&1 ||
	fail "check --rebuild as a user: $(cat rebuild.log)"
eq "mode" "$(stat -c %a a/shut-file a/dark | xargs)" "0 600"

# What has a group that is not his cannot be copied by him: the store stays out,
# and what is said names it, and that as a reason.
mkdir c d
echo x >c/foreign
chown -R 65534:65534 c d
as_user "$SEQMIRROR" init --name c,d "$work/c" "$work/d" >/dev/null
# A repair that had to lift no mode leaves the time of the map, by which the next
# check knows what was changed before this one was over.
before=$(stat -c %y c/.seqmirror/meta.db)
as_user "$SEQMIRROR" check --repair "$work/c" >check.log 2>&1 ||
	fail "check --repair of what is sound: $(cat check.log)"
eq "time of the map" "$(stat -c %y c/.seqmirror/meta.db)" "$before"
chown 65534:0 c/foreign
as_user "$SEQMIRROR" mount "$work/c" "$work/d" "$mnt"
! as_user "$SEQMIRROR" attach --wait "$mnt" d >attach.log 2>&1 ||
	fail "a foreign group was copied"
grep -q "foreign: attributes: .*a group that you may not give" attach.log ||
	fail "attach says: $(cat attach.log)"
as_user fusermount3 -u "$mnt"
wait_until 30 no_daemon_left
