/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of a map that say what they like: a small sound map, some of its values
 * replaced behind the library's back (checks of the schema off), then read and
 * written in every way. Errors are fine, crashes and endless walks are not.
 *
 * Input: records of ten bytes: table and column, row, eight bytes of value.
 * (Pages that are damaged: unit/meta_damage.)
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "meta/meta.h"
#include "meta/vfs.h"
#include "tests/fuzz/fuzz.h"

#define VOLUME_UUID "11111111-1111-4111-8111-111111111111"
#define STORE_UUID  "22222222-2222-4222-8222-222222222222"
#define FILE_ID	    20ull
#define ROWS_MAX    10000

static char dir[] = "/tmp/fuzz-map-XXXXXX";
static char map_path[64];
static char mark_path[64];
static uint8_t sound[1u << 20];
static size_t sound_size;

static const struct {
	const char *table, *column;
} columns[] = {
	{"node", "kind"},	  {"node", "backing_ino"},
	{"node", "backing_gen"},  {"node", "attr_seq"},
	{"node", "seq"},	  {"dentry", "node"},
	{"dentry", "seq"},	  {"dentry", "name"},
	{"dentry", "parent"},	  {"extent", "start"},
	{"extent", "end"},	  {"extent", "seq"},
	{"extent", "node"},	  {"intent", "kind"},
	{"intent", "start"},	  {"intent", "end"},
	{"intent", "generation"}, {"store", "state"},
	{"store", "name"},	  {"store", "path_hint"},
	{"store", "durable_seq"}, {"epoch", "id"},
	{"epoch", "members"},	  {"epoch", "base"},
	{"epoch", "first_seq"},	  {"epoch", "confirmed"},
	{"volume", "value"},	  {"moment", "time_ns"},
};

static void directory_remove(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		(void)closedir(d);
	(void)rmdir(dir);
}

static void fill_sound(struct meta *m)
{
	struct meta_member member = {.uuid = STORE_UUID,
				     .name = "a",
				     .path_hint = "/nowhere",
				     .state = META_STORE_ONLINE};
	struct meta_epoch epoch = {.id = VOLUME_UUID,
				   .first_seq = 16,
				   .member_count = 1,
				   .members = {STORE_UUID}};

	FUZZ_CHECK(!meta_begin(m));
	for (uint64_t i = 0; i < 8; i++) {
		struct meta_node n = {.id = FILE_ID + i,
				      .kind = i % 7 + 1,
				      .backing = {i + 100, i},
				      .seq = 20 + i};
		struct meta_dentry d = {.parent = META_ROOT_ID,
					.node = n.id,
					.seq = n.seq,
					.name_len = 1,
					.name = {(char)('a' + i)}};
		struct meta_intent in = {.node = n.id,
					 .kind = i % 3 + 1,
					 .end = i % 3 ? 0 : 8192,
					 .generation = i};

		FUZZ_CHECK(!meta_node_put(m, &n) && !meta_dentry_put(m, &d) &&
			   !meta_intent_put(m, &in) &&
			   !meta_extent_set(m, FILE_ID, i * 8192,
					    i * 8192 + 4096, n.seq));
	}
	FUZZ_CHECK(!meta_member_put(m, &member) &&
		   !meta_epoch_append(m, &epoch) &&
		   !meta_moment_put(m, 20, 1) && !meta_commit(m));
}

static void make_sound(void)
{
	struct meta_node root = {
		.id = META_ROOT_ID, .kind = META_DIR, .backing = {2, 3}};
	struct meta *m;
	FILE *file;

	FUZZ_CHECK(mkdtemp(dir) && !atexit(directory_remove));
	(void)snprintf(map_path, sizeof(map_path), "%s/meta.db", dir);
	(void)snprintf(mark_path, sizeof(mark_path), "%s/meta.mark", dir);
	FUZZ_CHECK(!meta_create(dir, VOLUME_UUID, STORE_UUID, &root));
	FUZZ_CHECK(!meta_open(dir, META_OPEN_RW, &m, NULL));
	fill_sound(m);
	meta_close(m);
	file = fopen(map_path, "re");
	FUZZ_CHECK(file);
	sound_size = fread(sound, 1, sizeof(sound), file);
	FUZZ_CHECK(sound_size > 0 && sound_size < sizeof(sound));
	(void)fclose(file);
}

static void put_sound(void)
{
	FILE *file = fopen(map_path, "we");

	FUZZ_CHECK(file && fwrite(sound, 1, sound_size, file) == sound_size);
	FUZZ_CHECK(!fclose(file));
	/* It would say that this map is an older one. */
	FUZZ_CHECK(!unlink(mark_path) || errno == ENOENT);
}

/* A change that SQLite refuses (a key twice) is none. */
static void damage(sqlite3 *db, const uint8_t *record)
{
	const char *table = columns[record[0] % ARRAY_SIZE(columns)].table;
	const char *column = columns[record[0] % ARRAY_SIZE(columns)].column;
	char sql[200];
	sqlite3_stmt *stmt;
	int64_t value;

	memcpy(&value, record + 2, sizeof(value));
	(void)snprintf(sql, sizeof(sql),
		       "UPDATE %s SET %s = ? WHERE (%s) = (SELECT %s FROM %s "
		       "LIMIT 1 OFFSET %d)",
		       table, column, column, column, table, record[1] % 8);
	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return;
	if (record[1] & 0x80)
		(void)sqlite3_bind_blob(stmt, 1, record + 2, 8, SQLITE_STATIC);
	else if (record[1] & 0x40)
		(void)sqlite3_bind_text(stmt, 1, (const char *)record + 2, 8,
					SQLITE_STATIC);
	else
		(void)sqlite3_bind_int64(stmt, 1, value);
	(void)sqlite3_step(stmt);
	(void)sqlite3_finalize(stmt);
}

static void damage_all(const uint8_t *data, size_t size)
{
	sqlite3 *db;

	/* With the checksums of its pages, or nothing would be read. */
	FUZZ_CHECK(sqlite3_open_v2(map_path, &db, SQLITE_OPEN_READWRITE,
				   VFS_RW) == SQLITE_OK);
	(void)sqlite3_exec(
		db,
		"PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
		"PRAGMA ignore_check_constraints=ON; BEGIN",
		NULL, NULL, NULL);
	for (; size >= 10; data += 10, size -= 10)
		damage(db, data);
	(void)sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	FUZZ_CHECK(sqlite3_close(db) == SQLITE_OK);
}

/* @call opens `it`, @next steps it into `row`. */
#define WALK(call, next)                                         \
	do {                                                     \
		struct meta_iter it = {0};                       \
		unsigned int steps_ = 0;                         \
		if (!(call))                                     \
			while ((next) > 0)                       \
				FUZZ_CHECK(steps_++ < ROWS_MAX); \
		meta_iter_done(&it);                             \
	} while (0)

static void read_rows(struct meta_reader *rd)
{
	struct meta_dentry dentry;
	struct meta_extent extent;
	struct meta_intent intent;
	struct meta_node node;

	WALK(meta_iter_nodes(rd, 0, &it), meta_next_node(&it, &node));
	WALK(meta_iter_nodes_since(rd, 0, 0, &it), meta_next_node(&it, &node));
	WALK(meta_iter_dentries(rd, META_ROOT_ID, 0, &it),
	     meta_next_dentry(&it, &dentry));
	WALK(meta_iter_dentries_by_name(rd, META_ROOT_ID, &it),
	     meta_next_dentry(&it, &dentry));
	WALK(meta_iter_names(rd, FILE_ID, &it), meta_next_dentry(&it, &dentry));
	WALK(meta_iter_extents(rd, FILE_ID, 0, META_RANGE_MAX, &it),
	     meta_next_extent(&it, &extent));
	WALK(meta_iter_extents_since(rd, 0, 0, 0, &it),
	     meta_next_extent(&it, &extent));
	WALK(meta_iter_intents(rd, &it), meta_next_intent(&it, &intent));
}

static void read_rest(struct meta_reader *rd)
{
	struct meta_member *members = calloc(META_STORE_MAX, sizeof(*members));
	struct meta_epoch *epochs = NULL;
	struct meta_delta_sum sum;
	struct meta_dentry dentry;
	struct meta_node node;
	uint64_t number;
	size_t count;

	FUZZ_CHECK(members);
	if (!meta_members(rd, members, &count)) {
		FUZZ_CHECK(count <= META_STORE_MAX);
		for (size_t i = 0; i < count; i++)
			FUZZ_CHECK(memchr(members[i].name, '\0',
					  sizeof(members[i].name)) &&
				   memchr(members[i].path_hint, '\0',
					  sizeof(members[i].path_hint)));
	}
	if (!meta_epochs(rd, &epochs, &count))
		for (size_t i = 0; i < count; i++)
			FUZZ_CHECK(epochs[i].member_count <= META_STORE_MAX);
	for (int i = META_NUM_SEQ_RESERVED; i <= META_NUM_ROOT_GEN; i++)
		ignore_result(
			meta_number_get(rd, (enum meta_number)i, &number));
	ignore_result(meta_node_get(rd, FILE_ID, &node));
	ignore_result(meta_node_find(rd, (struct meta_backing){100, 0}, &node));
	ignore_result(meta_dentry_get(rd, META_ROOT_ID, "a", 1, &dentry));
	ignore_result(meta_dentry_of(rd, FILE_ID, &dentry));
	ignore_result(meta_delta_sum(rd, 0, 1000, &sum));
	ignore_result(meta_moment_at(rd, 100, &number));
	ignore_result(meta_newer_than(rd, rd, 0));
	ignore_result(meta_integrity(rd));
	free(epochs);
	free(members);
}

static void write_some(struct meta *m)
{
	if (meta_begin(m))
		return;
	ignore_result(meta_number_set(m, META_NUM_HORIZON, 1000));
	ignore_result(meta_extent_set(m, FILE_ID, 4096, 65536, 50));
	ignore_result(meta_extent_clear(m, FILE_ID, 8192, META_RANGE_MAX));
	ignore_result(meta_compact_step(m, 1000));
	ignore_result(meta_node_raise(m, FILE_ID, 60, 60));
	ignore_result(meta_node_del(m, FILE_ID + 1));
	ignore_result(meta_intent_drop_through(m, 4));
	ignore_result(meta_commit(m)); /* undone when it fails */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct meta_reader *rd;
	struct meta *m;
	char *why = NULL;

	if (!sound_size)
		make_sound();
	put_sound();
	damage_all(data, size);
	if (!meta_open(dir, META_OPEN_RW, &m, &why)) {
		rd = meta_reader_get(m);
		if (rd) {
			read_rows(rd);
			read_rest(rd);
			meta_reader_put(rd);
		}
		write_some(m);
		meta_close(m);
	}
	free(why);
	return 0;
}
