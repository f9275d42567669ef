/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading from a live volume when a store, or its map, cannot be read.  What
 * comes back after rewriting is tested on a filesystem with bad sectors, in
 * tests/mount/bad_sectors.sh.
 */
#include <poll.h>

#include "base/fault.h"
#include "base/log.h"
#include "fs/mirror/mirror.h"
#include "tests/unit/volume_fixture.h"

static struct fixture f;
static struct mirror *m;
static struct store *lead, *other;
static unsigned int lead_slot;
static const struct mirror_cred cred = {.umask = 022};
static struct mirror_entry e;

static void volume_open(void)
{
	const char *paths[] = {f.path[0], f.path[1]};
	struct resync_assembly *a = calloc(1, sizeof(*a));
	struct mirror_options o = {.checkpoint_ms = 60000};

	cr_assert_eq(resync_assemble(paths, 2, true, a), 0, "%s", a->why);
	lead_slot = a->lead;
	o.prefer_slot = (int)lead_slot;
	lead = a->members[lead_slot].store;
	other = a->members[!lead_slot].store;
	cr_assert_eq(mirror_open(a->members, a->count, a->lead, &o, &m), 0);
	free(a);
}

static void setup(void)
{
	(void)log_open(LOG_SINK_STDERR, LOG_LEVEL_ERR);
	fixture_init(&f, 2);
	fixture_volume(&f);
	volume_open();
	cr_assert_eq(mirror_create(m, META_ROOT_ID, "f", 0644, &cred, &e), 0);
	cr_assert_eq(mirror_write(m, e.id, "contents", 8, 0, false), 0);
	cr_assert_eq(mirror_checkpoint(m, NULL), 0);
}

static void teardown(void)
{
	cr_assert_eq(fault_configure(""), 0);
	(void)mirror_close(m);
	fixture_done(&f);
}

TestSuite(mirror_read, .init = setup, .fini = teardown, .timeout = 300);

static struct mirror_slot_info lead_info(void)
{
	struct mirror_slot_info info;

	mirror_slot_info(m, lead_slot, &info);
	return info;
}

static void reopen(void)
{
	cr_assert_eq(mirror_close(m), 0);
	volume_open();
}

static void lead_goes_out(void)
{
	for (int tries = 0; lead_info().state != META_STORE_FAILED; tries++) {
		cr_assert_lt(tries, 5000, "never out");
		(void)poll(NULL, 0, 1);
	}
}

Test(mirror_read, a_store_that_reads_nothing_any_more_is_put_out)
{
	char buf[8];

	store_fail_inject(lead, "store.read", EIO);
	cr_expect_eq(mirror_read(m, e.id, buf, sizeof(buf), 0), 8);
	cr_expect(!memcmp(buf, "contents", 8));
	lead_goes_out(); /* what was rewritten cannot be read either */
	cr_expect_geq(lead_info().errors_read, 1);
	cr_expect_eq(lead_info().repaired, 0);
}

Test(mirror_read, a_bad_block_that_cannot_be_rewritten_puts_the_store_out)
{
	char buf[8];

	store_fail_inject(lead, "store.read", EIO);
	cr_assert_eq(fault_configure("mirror.repair.write:eio:1"), 0);
	cr_expect_eq(mirror_read(m, e.id, buf, sizeof(buf), 0), 8);
	lead_goes_out();
	cr_expect_eq(lead_info().repaired, 0);
}

Test(mirror_read, an_error_that_does_not_come_back_is_counted_and_no_more)
{
	char buf[8];

	cr_assert_eq(fault_configure("mirror.read:eio:1"), 0);
	cr_expect_eq(mirror_read(m, e.id, buf, sizeof(buf), 0), 8);
	cr_expect_eq(mirror_read(m, e.id, buf, sizeof(buf), 0), 8);
	cr_expect_eq(lead_info().errors_read, 1);
	cr_expect_eq(lead_info().state, META_STORE_ONLINE);
}

Test(mirror_read, what_nobody_can_read_puts_nobody_out)
{
	struct mirror_slot_info info;
	char buf[8];

	store_fail_inject(lead, "store.read", EIO);
	store_fail_inject(other, "store.read", EIO);
	for (int i = 0; i < 200; i++)
		cr_assert_eq(mirror_read(m, e.id, buf, sizeof(buf), 0), -EIO);
	mirror_slot_info(m, !lead_slot, &info);
	cr_expect_eq(info.state, META_STORE_ONLINE);
	cr_expect_eq(lead_info().state, META_STORE_ONLINE);
}

Test(mirror_read, the_next_map_answers_when_the_lead_has_none)
{
	reopen();
	cr_assert_eq(fault_configure("mirror.map.read:eio:1"), 0);
	cr_expect_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
	cr_expect_eq(lead_info().state, META_STORE_FAILED);
	cr_expect_eq(lead_info().errors_read, 1);
}

Test(mirror_read, a_node_is_found_by_id_in_the_next_map)
{
	uint64_t id = e.id;

	reopen();
	cr_assert_eq(fault_configure("mirror.map.read:eio:1"), 0);
	cr_expect_eq(mirror_lookup_id(m, id, &e), 0);
	cr_expect_eq(e.id, id);
	cr_expect_eq(lead_info().state, META_STORE_FAILED);
}

Test(mirror_read, maps_that_nobody_can_read_are_an_error_and_put_nobody_out)
{
	reopen();
	cr_assert_eq(fault_configure("mirror.map.read:eio"), 0);
	cr_expect_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), -EIO);
	cr_expect_eq(lead_info().state, META_STORE_ONLINE);
	cr_assert_eq(fault_configure(""), 0);
	cr_expect_eq(mirror_lookup(m, META_ROOT_ID, "f", &e), 0);
}
