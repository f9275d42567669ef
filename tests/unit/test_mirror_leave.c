/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores that leave a live volume at an awkward moment, and stores that answer
 * where they should not be asked, or not be blamed.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <sys/mman.h>

#include "base/text.h"
#include "fs/mirror/internal.h"
#include "fs/mirror/nameless.h"
#include "tests/unit/three_fixture.h"

TestSuite(mirror_leave, .init = setup, .fini = teardown, .timeout = 300);

/* ---- departures ---- */

/* No map says who lacks it, so the next mount could follow one of them. */
Test(mirror_leave, a_departure_that_nobody_recorded_is_not_acknowledged)
{
	struct call w = {.fn = call_write, .id = file("f"), .len = 8};
	uint64_t before;

	cr_assert_eq(mirror_write(m, w.id, "x", 1, 0, false), 0);
	before = mirror_seq(m);
	cr_assert_eq(fault_configure("mirror.write.armed:delay=400,"
				     "mirror.record:eio"),
		     0);
	begin(&w);
	WAIT_UNTIL(mirror_seq(m) > before);
	store_fail_inject(store[2], "store.fsync", EIO);
	cr_expect_neq(mirror_fsync(m, META_ROOT_ID, true), 0);
	cr_expect_neq(end(&w), 0);
}

static int call_detach(const struct call *c)
{
	(void)c;
	return mirror_detach(m, 2);
}

static unsigned int refs_of(const struct node *n)
{
	unsigned int refs;

	mutex_lock(&m->table);
	refs = n->refs;
	mutex_unlock(&m->table);
	return refs;
}

/* Its descriptors go one after the other, and the last store seems to have it
 * alone. */
Test(mirror_leave, a_file_that_is_being_forgotten_keeps_nobody)
{
	struct call c = {.fn = call_detach};
	uint64_t id = file("f");
	struct node *n;
	unsigned int refs;

	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	n = node_peek(m, id);
	cr_assert(n);
	/* None is left that the detach's own would give back. */
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	refs = refs_of(n);
	cr_assert_eq(fault_configure("mirror.nameless.listed:delay=200:1,"
				     "mirror.fd.close:delay=600:3"),
		     0);
	begin(&c);
	WAIT_UNTIL(refs_of(n) > refs); /* it is on the list */
	mirror_forget(m, id, 1);
	cr_expect_eq(end(&c), 0);
	node_put(m, n);
}

static int never(void *arg)
{
	(void)arg;
	return 0;
}

static int call_give(const struct call *c)
{
	const struct mirror_giving how = {.slot = slot_of[2],
					  .should_stop = never};

	(void)c;
	return mirror_nameless_give(m, &how);
}

static bool place_is_open(struct node *n, unsigned int slot)
{
	bool open;

	mutex_lock(&m->fds);
	open = node_place(n, slot)->fd >= 0;
	mutex_unlock(&m->fds);
	return open;
}

/* Nobody misses what is forgotten while it is copied: nothing is said. */
Test(mirror_leave, a_file_that_is_being_forgotten_is_not_called_lost)
{
	struct call c = {.fn = call_give};
	uint64_t id = file("f");
	char said[512] = "";
	struct node *n;
	int log, before;

	cr_assert_eq(mirror_write(m, id, "contents", 8, 0, false), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	n = node_peek(m, id);
	cr_assert(n);
	node_fd_drop(m, n, slot_of[2]);
	cr_assert_eq(fault_configure("mirror.nameless.copy:delay=500"), 0);
	log = memfd_create("log", MFD_CLOEXEC);
	before = dup(STDERR_FILENO);
	cr_assert(log >= 0 && before >= 0);
	cr_assert_geq(dup2(log, STDERR_FILENO), 0);
	log_open(LOG_SINK_STDERR, LOG_LEVEL_WARN);
	begin(&c);
	WAIT_UNTIL(place_is_open(n, slot_of[2]));
	mirror_forget(m, id, 1);
	cr_expect_eq(end(&c), 0);
	cr_assert_geq(dup2(before, STDERR_FILENO), 0);
	cr_assert_geq(pread(log, said, sizeof(said) - 1, 0), 0);
	cr_expect_str_empty(said, "%s", said);
	close(log);
	close(before);
	node_put(m, n);
}

static pthread_t main_thread;
static atomic_bool closing_seen;
static atomic_bool second_ended;

static void *detach_first_slot(void *arg)
{
	(void)arg;
	cr_expect_eq(mirror_detach(m, 0), 0);
	atomic_store(&second_ended, true);
	return NULL;
}

/* Slot 1 has just been closed: slot 0 goes, which was passed already. */
static void on_change(void *arg)
{
	struct mirror_slot_info info;
	pthread_t thread;

	(void)arg;
	if (pthread_equal(pthread_self(), main_thread) ||
	    atomic_exchange(&closing_seen, true))
		return;
	cr_assert_eq(pthread_create(&thread, NULL, detach_first_slot, NULL), 0);
	(void)pthread_detach(thread);
	do {
		mirror_slot_info(m, 0, &info);
	} while (info.state != META_STORE_DETACHED);
}

Test(mirror_leave, one_that_goes_while_another_is_closed_is_closed_too)
{
	main_thread = pthread_self();
	mirror_on_change(m, on_change, NULL);
	cr_assert_eq(mirror_detach(m, 1), 0);
	WAIT_UNTIL(atomic_load(&second_ended));
	mirror_on_change(m, NULL, NULL);
}

Test(mirror_leave, a_full_map_confirms_an_epoch_with_its_ballast)
{
	uint64_t id = file("f");

	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(fault_configure("mirror.confirm:enospc:1"), 0);
	store_fail_inject(store[2], "store.fsync", EIO);
	cr_assert_eq(mirror_fsync(m, id, true), 0);
	cr_expect_eq(state_of(0), META_STORE_ONLINE);
	cr_expect_eq(state_of(1), META_STORE_ONLINE);
	cr_expect_eq(state_of(2), META_STORE_FAILED);
}

/* Slots are used again: who comes late may be none of the volume's any more. */
Test(mirror_leave, a_store_is_not_attached_as_another)
{
	char dir[2200];
	struct store *s;
	struct meta *map;

	cr_assert_eq(mirror_detach(m, slot_of[1]), 0);
	cr_assert_eq(mirror_detach(m, slot_of[2]), 0);
	snprintf(dir, sizeof(dir), "%s/.seqmirror", dirs[2]);
	cr_assert_eq(store_open(dirs[2], NULL, &s), 0);
	cr_assert_eq(meta_open(dir, META_OPEN_RW, &map, NULL), 0);
	cr_expect_eq(mirror_attach(m, slot_of[1], s, map), -ENODEV);
	cr_expect_eq(state_of(1), META_STORE_DETACHED);
	meta_close(map);
	store_close(s);
}

/* Of two that are added at once, or one that a store brings along, each has looked
 * before the other was there. */
Test(mirror_leave, no_two_members_have_one_name)
{
	struct meta_member row = {.state = META_STORE_MISSING};
	unsigned int before = mirror_slot_count(m), slot;

	cr_assert_eq(uuid_generate(row.uuid), 0);
	snprintf(row.name, sizeof(row.name), "new");
	cr_expect_eq(mirror_member_add(m, &row, &slot), 0);
	cr_expect_eq(mirror_member_add(m, &row, &slot), -EEXIST);
	cr_assert_eq(uuid_generate(row.uuid), 0);
	cr_expect_eq(mirror_member_add(m, &row, &slot), -ENOTUNIQ);
	snprintf(row.name, sizeof(row.name), "%s", m->slot[2].row.name);
	cr_expect_eq(mirror_member_add(m, &row, &slot), -ENOTUNIQ);
	cr_expect_eq(mirror_slot_count(m), before + 1);
}

/* Laps that were cut short took it further than when it left. */
Test(mirror_leave, an_attached_store_is_as_far_as_its_map_says)
{
	struct mirror_slot_info info;
	char dir[2200];
	struct store *s;
	struct meta *map;
	uint64_t want;

	cr_assert_eq(mirror_detach(m, slot_of[1]), 0);
	mirror_slot_info(m, slot_of[1], &info);
	want = info.durable_seq + 7;
	snprintf(dir, sizeof(dir), "%s/.seqmirror", dirs[1]);
	cr_assert_eq(store_open(dirs[1], NULL, &s), 0);
	cr_assert_eq(meta_open(dir, META_OPEN_RW, &map, NULL), 0);
	cr_assert_eq(meta_begin(map), 0);
	cr_assert_eq(meta_number_set(map, META_NUM_DURABLE_SEQ, want), 0);
	cr_assert_eq(meta_commit(map), 0);
	cr_assert_eq(mirror_attach(m, slot_of[1], s, map), 0);
	mirror_slot_info(m, slot_of[1], &info);
	cr_expect_eq(info.durable_seq, want);
	mirror_unattach(m, slot_of[1], META_STORE_DETACHED, "");
}

static void attach(int k)
{
	char dir[2200];
	struct meta *map;

	snprintf(dir, sizeof(dir), "%s/.seqmirror", dirs[k]);
	/* Closed a moment after it has left. */
	WAIT_UNTIL(!store_open(dirs[k], NULL, &store[k]));
	cr_assert_eq(meta_open(dir, META_OPEN_RW, &map, NULL), 0);
	cr_assert_eq(mirror_attach(m, slot_of[k], store[k], map), 0);
}

/* Else it would know nothing of the epoch that another store has for its tip. */
Test(mirror_leave, who_joins_knows_of_every_departure)
{
	uint64_t before;

	(void)file("f");
	cr_assert_eq(mirror_detach(m, slot_of[2]), 0);
	attach(2);
	before = mirror_epochs(m);
	store_fail_inject(store[0], "store.fsync", EIO);
	cr_assert_eq(mirror_fsync(m, META_ROOT_ID, false), 0);
	cr_assert_eq(state_of(0), META_STORE_FAILED);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	mirror_hold(m);
	cr_expect_eq(mirror_join(m, slot_of[2], before), -EAGAIN);
	cr_expect_eq(state_of(2), META_STORE_RESYNCING);
	cr_expect_eq(mirror_join(m, slot_of[2], mirror_epochs(m)), 0);
	cr_expect_eq(state_of(2), META_STORE_ONLINE);
	mirror_release(m);
}

#ifdef SEQMIRROR_FAULT_INJECTION

/* In the map of store 0. */
static unsigned int doubts(void)
{
	struct meta_reader *rd = meta_reader_get(m->slot[slot_of[0]].meta);
	struct meta_intent in;
	struct meta_iter it;
	unsigned int count = 0;

	cr_assert_not_null(rd);
	cr_assert_eq(meta_iter_intents(rd, &it), 0);
	while (meta_next_intent(&it, &in) > 0)
		count += meta_intent_is_doubt(&in);
	meta_iter_done(&it);
	meta_reader_put(rd);
	return count;
}

static int call_blame(const struct call *c)
{
	struct node *n;
	int r = node_get(m, c->id, &n);

	if (r)
		return r;
	slot_blame(m, slot_of[1], n, -ESTALE, "read");
	node_put(m, n);
	return 0;
}

/* Who is not online when a store is suspected does not get that in its map, and
 * may be all that is left when the suspected one comes back. */
Test(mirror_leave, who_joins_knows_of_every_doubt)
{
	struct call c = {.fn = call_blame, .id = file("f")};
	uint64_t before;

	cr_assert_eq(mirror_detach(m, slot_of[2]), 0);
	attach(2);
	before = mirror_epochs(m);
	/* The first commit is of its own map. */
	cr_assert_eq(fault_configure("meta.commit.error:eio:1,"
				     "mirror.suspect.told:delay=500"),
		     0);
	begin(&c);
	WAIT_UNTIL(doubts() > 0);
	mirror_hold(m);
	cr_expect_eq(mirror_join(m, slot_of[2], before), -EAGAIN);
	before = mirror_epochs(m); /* what a lap finds from now on is all */
	cr_expect_eq(state_of(1), META_STORE_FAILED);
	cr_expect_eq(recorded_state(0, 1), META_STORE_FAILED);
	cr_expect_eq(mirror_join(m, slot_of[2], before), 0);
	mirror_release(m);
	cr_expect_eq(end(&c), 0);
}

#endif

/* That it came back and left again says nothing about its departure. */
Test(mirror_leave, a_resync_given_up_does_not_record_a_departure)
{
	uint64_t id = file("f");

	min_stores = STORES;
	volume_reopen(0);
	cr_assert_eq(mirror_write(m, id, "x", 1, 0, false), 0);
	store_fail_inject(store[2], "store.fsync", EIO);
	cr_expect_neq(mirror_fsync(m, id, false), 0); /* nobody records it */
	cr_assert_eq(state_of(2), META_STORE_FAILED);
	attach(2);
	mirror_unattach(m, slot_of[2], META_STORE_MISSING, "");
	cr_expect_eq(mirror_fsync(m, id, false), -EIO);
}

static enum meta_store_state recorded(int k)
{
	struct meta_member rows[META_STORE_MAX];
	enum meta_store_state state = 0;
	struct meta_reader *rd;
	size_t count;

	cr_assert_eq(mirror_members_record(m), 0);
	rd = meta_reader_get(m->slot[slot_of[0]].meta);
	cr_assert_not_null(rd);
	cr_assert_eq(meta_members(rd, rows, &count), 0);
	meta_reader_put(rd);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(rows[i].uuid, m->slot[slot_of[k]].row.uuid))
			state = rows[i].state;
	return state;
}

/* A resync that changed nothing leaves what was whole whole. */
Test(mirror_leave, what_a_resync_did_not_touch_is_what_it_was)
{
	struct mirror_slot_info info;

	cr_assert_eq(mirror_detach(m, slot_of[1]), 0);
	attach(1);
	cr_expect_eq(recorded(1), META_STORE_RESYNCING);
	mirror_unattach(m, slot_of[1], META_STORE_FAILED, "no room");
	mirror_slot_info(m, slot_of[1], &info);
	cr_expect_eq(info.state, META_STORE_FAILED);
	cr_expect(info.whole);
	cr_expect_eq(recorded(1), META_STORE_DETACHED);
	attach(1);
	mirror_unattach(m, slot_of[1], META_STORE_GIVEN_UP, "");
	cr_expect_eq(state_of(1), META_STORE_DETACHED);
	attach(1);
	mirror_touches(m, slot_of[1]);
	mirror_unattach(m, slot_of[1], META_STORE_GIVEN_UP, "");
	mirror_slot_info(m, slot_of[1], &info);
	cr_expect_eq(info.state, META_STORE_GIVEN_UP);
	cr_expect_not(info.whole);
	cr_expect(info.half);
	cr_expect_eq(recorded(1), META_STORE_GIVEN_UP);
	/* Half it was, and half it stays. */
	attach(1);
	mirror_unattach(m, slot_of[1], META_STORE_FAILED, "no room");
	mirror_slot_info(m, slot_of[1], &info);
	cr_expect_not(info.whole);
	cr_expect_eq(recorded(1), META_STORE_GIVEN_UP);
}

/* Its own map says that a lap was cut: whoever calls it whole is wrong. */
Test(mirror_leave, what_is_half_by_its_own_map_is_not_whole)
{
	struct mirror_slot_info info;
	char dir[2200];
	struct meta *map;

	cr_assert_eq(mirror_detach(m, slot_of[1]), 0);
	snprintf(dir, sizeof(dir), "%s/.seqmirror", dirs[1]);
	WAIT_UNTIL(!meta_open(dir, META_OPEN_RW, &map, NULL));
	cr_assert_eq(meta_begin(map), 0);
	cr_assert_eq(meta_number_set(map, META_NUM_RESYNCING, 1), 0);
	cr_assert_eq(meta_commit(map), 0);
	meta_close(map);
	attach(1);
	mirror_unattach(m, slot_of[1], META_STORE_FAILED, "no room");
	mirror_slot_info(m, slot_of[1], &info);
	cr_expect_not(info.whole);
	cr_expect(info.half);
	cr_expect_eq(recorded(1), META_STORE_FAILED);
}

/* ---- who is asked, and who is blamed ---- */

static struct stat stat_on(int k, const char *name)
{
	struct stat st;
	char path[8192];

	snprintf(path, sizeof(path), "%s/%s", dirs[k], name);
	cr_assert_eq(lstat(path, &st), 0);
	return st;
}

Test(mirror_leave, times_agree_when_the_lead_cannot_tell_its_own)
{
	struct mirror_entry dir, made;
	struct stat one, two;

	cr_assert_eq(mirror_mkdir(m, META_ROOT_ID, "d", 0755, &cred, &dir), 0);
	/* Long enough for the clock of file times. */
	cr_assert_eq(fault_configure("mirror.make:delay=20"), 0);
	cr_assert_eq(mirror_create(m, dir.id, "f", 0644, &cred, &made), 0);
	one = stat_on(1, "d");
	two = stat_on(2, "d");
	cr_assert_neq(one.st_mtim.tv_nsec, two.st_mtim.tv_nsec);
	store_fail_inject(store[0], "store.f", EIO);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	one = stat_on(1, "d");
	two = stat_on(2, "d");
	cr_expect_eq(one.st_mtim.tv_sec, two.st_mtim.tv_sec);
	cr_expect_eq(one.st_mtim.tv_nsec, two.st_mtim.tv_nsec);
}

Test(mirror_leave, what_we_lack_in_the_middle_of_a_change_undoes_it)
{
	uint64_t id = file("f");
	struct stat want = {.st_mode = 0600, .st_mtim = {.tv_sec = 1}}, st;

	store_fail_inject(store[1], "store.utimens", ENOMEM);
	cr_assert_eq(mirror_setattr(m, id, &want,
				    MIRROR_SET_MTIME | MIRROR_SET_MODE, &st),
		     -ENOMEM);
	for (int k = 0; k < STORES; k++) {
		struct stat is = stat_on(k, "f");

		cr_expect_eq(is.st_mode & 07777, 0644, "store %d", k);
	}
	all_online();
}

/* Who is asked second: the lead comes first, then the others in turn. */
static int second_asked(void)
{
	return slot_of[1] < slot_of[2] ? 1 : 2;
}

Test(mirror_leave, a_full_store_that_cannot_be_read_is_blamed_itself)
{
	int bad = second_asked();
	uint64_t id = file("f");

	cr_assert_eq(mirror_write(m, id, "before", 6, 0, false), 0);
	cr_assert_eq(fault_configure("mirror.write:enospc:2"), 0);
	store_fail_inject(store[bad], "store.read", EIO);
	cr_assert_eq(mirror_write(m, id, "after!", 6, 0, false), -ENOSPC);
	cr_expect_eq(state_of(0), META_STORE_ONLINE);
	cr_expect_eq(state_of(bad), META_STORE_FAILED);
	cr_expect_eq(state_of(3 - bad), META_STORE_ONLINE);
	cr_expect_eq(first_byte(0, 0), first_byte(3 - bad, 0));
}

/* Write into the only file without a name that this process has on store @k. */
static void write_nameless(int k, char byte)
{
	size_t len = strlen(dirs[k]);
	DIR *dir = opendir("/proc/self/fd");
	unsigned int written = 0;
	struct dirent *d;

	cr_assert(dir);
	while ((d = readdir(dir))) {
		char path[300], to[4096];
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", d->d_name);
		n = readlink(path, to, sizeof(to) - 1);
		if (n < 0)
			continue;
		to[n] = '\0';
		if (strncmp(to, dirs[k], len) || !strstr(to, "(deleted)"))
			continue;
		fd = open(path, O_RDWR);
		cr_assert(fd >= 0 && pwrite(fd, &byte, 1, 0) == 1);
		close(fd);
		written++;
	}
	closedir(dir);
	cr_assert_eq(written, 1);
}

Test(mirror_leave, a_nameless_file_is_not_read_where_it_could_not_be_synced)
{
	uint64_t id = file("f");
	char buf[3] = "";

	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	store_fail_inject(store[0], "store.fsync", EIO);
	cr_assert_eq(mirror_fsync(m, id, true), 0);
	store_fail_inject(store[0], "", 0);
	write_nameless(0, 'X'); /* as if the disk had lost what was written */
	cr_assert_eq(mirror_read(m, id, buf, 3, 0), 3);
	cr_expect_eq(buf[0], 'a');
}

/* Nobody else has it any more when the last but one fails meanwhile. */
Test(mirror_leave, a_detach_that_is_refused_takes_no_open_file)
{
	uint64_t id = file("f");
	char buf[8] = "";

	cr_assert_eq(mirror_write(m, id, "abc", 3, 0, false), 0);
	volume_reopen(1); /* what has no name is parked */
	cr_assert_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_assert_eq(mirror_unlink(m, META_ROOT_ID, "f"), 0);
	file("g"); /* takes the descriptors */
	store_fail_inject(store[1], "store.syncfs", EIO);
	store_fail_inject(store[2], "store.syncfs", EIO);
	cr_expect_eq(mirror_detach(m, slot_of[0]), -EBUSY);
	cr_expect_eq(state_of(0), META_STORE_ONLINE);
	cr_expect_eq(mirror_read(m, id, buf, sizeof(buf), 0), 3);
	cr_expect_str_eq(buf, "abc");
}

/* The last store is never put out, and a checkpoint drops what was armed. */
Test(mirror_leave, what_the_last_store_did_by_half_stays_in_doubt)
{
	uint64_t id = file("f"), dir;

	cr_assert_eq(mirror_mkdir(m, META_ROOT_ID, "d", 0755, &cred, &e), 0);
	dir = e.id;
	store_fail_inject(store[1], "store.fsync", EIO);
	store_fail_inject(store[2], "store.fsync", EIO);
	cr_assert_eq(mirror_fsync(m, id, false), 0);
	cr_assert_eq(state_of(2), META_STORE_FAILED);
	/* It moves, and cannot be taken back. */
	cr_assert_eq(fault_configure("store.statat:eio:2,mirror.rename:eio:2"),
		     0);
	cr_expect_eq(mirror_whiteout(m, META_ROOT_ID, "f", dir, "g", 0, &cred),
		     -EIO);
	store_fail_inject(store[0], "", 0);
	cr_assert_eq(fault_configure(""), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	volume_reopen(0);
	cr_expect_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), -ENOENT);
	cr_assert_eq(mirror_lookup(m, dir, "g", &e), 0);
	cr_expect_eq(e.id, id);
}

/* What lies there unknown to the map, while the last store does not do what it
 * is asked: @how it was made. */
struct stranger {
	const char *how, *call;
	int (*put)(const char *path);
	int (*make)(void);
};

static int put_file(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0666);

	return fd < 0 ? -1 : fchmod(fd, 0666) + close(fd);
}

static int put_of_other(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);

	return fd < 0 ? -1 : fchown(fd, 1234, 1234) + close(fd);
}

static int put_link(const char *path)
{
	return symlink("there", path);
}

static int put_dir(const char *path)
{
	return mkdir(path, 0700) + chmod(path, 01777);
}

static int make_file(void)
{
	return mirror_create(m, META_ROOT_ID, "x", 0600, &cred, &e);
}

static int make_link(void)
{
	return mirror_symlink(m, META_ROOT_ID, "x", "where", &cred, &e);
}

static int make_dir(void)
{
	return mirror_mkdir(m, META_ROOT_ID, "x", 0755, &cred, &e);
}

static const struct stranger strangers[] = {
	{"permissions", "store.create", put_file, make_file},
	{"owner", "store.create", put_of_other, make_file},
	{"target", "store.symlink", put_link, make_link},
	{"directory", "store.mkdir", put_dir, make_dir},
};

Test(mirror_leave, what_lies_there_is_not_taken_for_what_was_made)
{
	char path[2200];

	snprintf(path, sizeof(path), "%s/x", dirs[0]);
	cr_assert_eq(mirror_detach(m, slot_of[1]), 0);
	cr_assert_eq(mirror_detach(m, slot_of[2]), 0);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(*strangers); i++) {
		const struct stranger *s = &strangers[i];

		if (s->put == put_of_other && geteuid() != 0)
			continue;
		cr_assert_eq(s->put(path), 0, "%s", s->how);
		store_fail_inject(store[0], s->call, EIO);
		cr_expect_eq(s->make(), -EIO, "%s", s->how);
		store_fail_inject(store[0], "", 0);
		cr_assert_eq(mirror_close(m), 0);
		cr_assert_eq(remove(path), 0);
		volume_open(0);
	}
}

/* Who writes elsewhere in the same window must not take it for covered. */
Test(mirror_leave, what_the_last_map_refused_to_arm_is_not_written)
{
	struct call w = {.fn = call_write, .id = file("f"), .len = 8};
	uint64_t before;

	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
	cr_assert_eq(mirror_detach(m, slot_of[1]), 0);
	cr_assert_eq(mirror_detach(m, slot_of[2]), 0);
	before = mirror_seq(m);
	cr_assert_eq(fault_configure("mirror.numbered:delay=400:1,"
				     "mirror.arm:eio:1"),
		     0);
	begin(&w);
	WAIT_UNTIL(mirror_seq(m) > before);
	cr_expect_eq(mirror_write(m, w.id, "x", 1, 8192, false), -EROFS);
	cr_expect_eq(end(&w), -EROFS);
}
