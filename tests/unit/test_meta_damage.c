/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What meta_open() makes of files that are not a sound map: it refuses with
 * the right error and a sentence, and has changed nothing.
 */
#include "meta/db.h"
#include "meta_fixture.h"
#include "rng.h"

static char db_path[128];
static unsigned char *whole; /* a sound map */
static size_t whole_len;
static char mark_path[128]; /* what lies beside it, which writers change */
static char mark[256];
static size_t mark_len;

static void start(struct fixture *f)
{
	ssize_t len;
	int fd;

	fixture_open(f);
	must(meta_begin(f->m));
	for (uint64_t i = 0; i < 2000; i++) {
		char name[32];

		put_node(f->m, 16 + i, META_FILE, i + 1);
		(void)snprintf(name, sizeof(name), "file-%lu", i);
		put_dentry(f->m, META_ROOT_ID, name, 16 + i, i + 1);
		must(meta_extent_set(f->m, 16 + i, 0, 8192, i + 1));
	}
	must(meta_commit(f->m));
	meta_close(f->m);
	f->m = NULL;
	(void)snprintf(db_path, sizeof(db_path), "%s/meta.db", f->dir);
	fd = open(db_path, O_RDONLY | O_CLOEXEC);
	whole_len = (size_t)lseek(fd, 0, SEEK_END);
	whole = malloc(whole_len);
	cr_assert_not_null(whole);
	len = pread(fd, whole, whole_len, 0);
	cr_assert_eq((size_t)len, whole_len);
	(void)close(fd);
	(void)snprintf(mark_path, sizeof(mark_path), "%s/meta.mark", f->dir);
	fd = open(mark_path, O_RDONLY | O_CLOEXEC);
	len = read(fd, mark, sizeof(mark));
	cr_assert_gt(len, 0);
	mark_len = (size_t)len;
	(void)close(fd);
}

static void end(struct fixture *f)
{
	free(whole);
	fixture_done(f);
}

static void write_db(const void *data, size_t len)
{
	int fd = open(db_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	ssize_t written = len ? write(fd, data, len) : 0;

	check(fd >= 0 && written == (ssize_t)len, "write");
	(void)close(fd);
	fd = open(mark_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	check(fd >= 0 && write(fd, mark, mark_len) == (ssize_t)mark_len,
	      "mark");
	(void)close(fd);
}

static int try_open(const struct fixture *f, enum meta_open_mode mode)
{
	struct meta *m = NULL;
	char *why = NULL;
	int r = meta_open(f->dir, mode, &m, &why);

	if (r == 0)
		meta_close(m);
	else
		check(why && strlen(why) > 10 && why[strlen(why) - 1] == '.',
		      "one sentence: %s", why ? why : "none");
	free(why);
	return r;
}

static void expect_refused(const struct fixture *f, int err)
{
	uint64_t before = fixture_hash(f);

	expect_int(try_open(f, META_OPEN_RW), err);
	expect_int(try_open(f, META_OPEN_RO), err);
	check(fixture_hash(f) == before, "nothing is changed");
}

Test(meta_damage, no_database)
{
	struct fixture f;
	unsigned char *zeros;
	struct rng rng = rng_seed();

	start(&f);
	write_db(NULL, 0);
	expect_refused(&f, -EUCLEAN);
	write_db("hello", 5);
	expect_refused(&f, -EUCLEAN);
	zeros = calloc(1, whole_len);
	write_db(zeros, whole_len);
	expect_refused(&f, -EUCLEAN);
	for (size_t i = 0; i < whole_len; i++)
		zeros[i] = (unsigned char)rng_below(&rng, 256);
	write_db(zeros, whole_len);
	expect_refused(&f, -EUCLEAN);
	/* Garbage behind a good header. */
	memcpy(zeros, whole, 100);
	write_db(zeros, whole_len);
	expect_refused(&f, -EUCLEAN);
	free(zeros);
	cr_assert_eq(unlink(db_path), 0);
	cr_assert_eq(mkdir(db_path, 0700), 0);
	expect_int(try_open(&f, META_OPEN_RW), -EUCLEAN);
	expect_int(try_open(&f, META_OPEN_RO), -EUCLEAN);
	cr_assert_eq(rmdir(db_path), 0);
	cr_assert_eq(symlink("/etc/passwd", db_path), 0);
	expect_int(try_open(&f, META_OPEN_RW), -EUCLEAN);
	end(&f);
}

/* What SQLite would open beside a sound map, and wait for at a fifo. */
Test(meta_damage, no_logs)
{
	static const char *const names[] = {"-wal", "-journal"};
	struct fixture f;
	char path[PATH_MAX];

	start(&f);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s%s", db_path, names[i]);
		write_db(whole, whole_len);
		cr_assert_eq(mkfifo(path, 0600), 0);
		expect_int(try_open(&f, META_OPEN_RO), -EUCLEAN);
		expect_int(try_open(&f, META_OPEN_RW), -EUCLEAN);
		cr_assert_eq(unlink(path), 0);
		cr_assert_eq(symlink("/etc/passwd", path), 0);
		expect_int(try_open(&f, META_OPEN_RO), -EUCLEAN);
		expect_int(try_open(&f, META_OPEN_RW), -EUCLEAN);
		cr_assert_eq(unlink(path), 0);
		expect_int(try_open(&f, META_OPEN_RW), 0);
	}
	end(&f);
}

Test(meta_damage, truncated)
{
	size_t lens[] = {1, 99, 100, 512, 4095, 4096, 8192, 5000};
	struct fixture f;

	start(&f);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		write_db(whole, lens[i]);
		expect_refused(&f, -EUCLEAN);
	}
	write_db(whole, whole_len - 4096);
	expect_refused(&f, -EUCLEAN);
	end(&f);
}

/* user_version stands at 60, application_id at 68 of the header. */
Test(meta_damage, versions)
{
	struct fixture f;

	start(&f);
	whole[63] = META_FORMAT_VERSION + 1;
	write_db(whole, whole_len);
	expect_refused(&f, -EPROTO);
	whole[63] = 0;
	write_db(whole, whole_len);
	expect_refused(&f, -EUCLEAN);
	whole[63] = META_FORMAT_VERSION;
	whole[68] ^= 1;
	write_db(whole, whole_len);
	expect_refused(&f, -EUCLEAN);
	end(&f);
}

/* Some bits mean nothing to a reader (a counter of changes); the others are
 * noticed. */
/* All the same: with different ones side by side Criterion 2.4 leaks. */
Test(meta_damage, each_bit_of_the_header, .timeout = 500)
{
	struct fixture f;
	uint64_t before;
	int accepted = 0;
	int r;

	start(&f);
	for (size_t bit = 0; bit < 800; bit++) {
		whole[bit / 8] ^= (unsigned char)(1u << bit % 8);
		write_db(whole, whole_len);
		before = fixture_hash(&f);
		r = try_open(&f, META_OPEN_RO);
		check(r == 0 || r == -EUCLEAN || r == -EPROTO, "bit %zu: %d",
		      bit, r);
		check(fixture_hash(&f) == before, "changed: bit %zu", bit);
		if (r < 0) {
			expect_int(try_open(&f, META_OPEN_RW), r);
			check(fixture_hash(&f) == before, "bit %zu", bit);
		}
		accepted += r == 0;
		whole[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	/* Change counters, free list, cache size, library version. */
	cr_assert(accepted <= 8 * 36, "%d bits accepted", accepted);
	end(&f);
}

/* All there is to read, whatever it says. */
static void use(struct meta *m)
{
	struct meta_reader *rd = meta_reader_get(m);
	struct meta_member members[META_STORE_MAX];
	_cleanup_free_ struct meta_epoch *epochs = NULL;
	struct meta_delta_sum sum;
	struct meta_dentry d;
	struct meta_node n;
	struct meta_iter it;
	size_t count;
	int r;

	if (!rd)
		return;
	r = meta_iter_nodes_since(rd, 0, 0, &it);
	while (r == 0 && meta_next_node(&it, &n) > 0)
		;
	meta_iter_done(&it);
	r = meta_iter_dentries(rd, META_ROOT_ID, 0, &it);
	while (r == 0 && meta_next_dentry(&it, &d) > 0)
		;
	meta_iter_done(&it);
	for (uint64_t id = 16; id < 2016; id += 7) {
		r = meta_node_get(rd, id, &n);
		check(r == 0 || r == -ENOENT || r == -EUCLEAN, "get: %d", r);
		r = meta_dentry_of(rd, id, &d);
		check(r == 0 || r == -ENOENT || r == -EUCLEAN, "of: %d", r);
	}
	r = meta_delta_sum(rd, 0, UINT64_MAX, &sum);
	check(r == 0 || r == -EUCLEAN, "sum: %d", r);
	r = meta_members(rd, members, &count);
	check(r == 0 || r == -EUCLEAN, "members: %d", r);
	r = meta_epochs(rd, &epochs, &count);
	check(r == 0 || r == -EUCLEAN, "epochs: %d", r);
	r = meta_newer_than(rd, rd, 0);
	check(r == 0 || r == 1 || r == -EUCLEAN, "newer: %d", r);
	meta_reader_put(rd);
}

/* Pages damaged behind the header: found now or when they are read, never a
 * crash. */
Test(meta_damage, random_pages, .timeout = 500)
{
	struct rng rng = rng_seed();
	unsigned char *copy;
	struct fixture f;
	struct meta *m;
	int r;

	start(&f);
	copy = malloc(whole_len);
	for (int round = 0; round < 120; round++) {
		memcpy(copy, whole, whole_len);
		for (uint64_t i = 0; i < 1 + rng_below(&rng, 40); i++)
			copy[100 + rng_below(&rng, whole_len - 100)] =
				(unsigned char)rng_below(&rng, 256);
		write_db(copy, whole_len);
		r = meta_open(f.dir, META_OPEN_RW, &m, NULL);
		check(r == 0 || r == -EUCLEAN, "open: %d", r);
		if (r < 0)
			continue;
		use(m);
		must(meta_begin(m));
		for (uint64_t id = 16; id < 516; id += 5) {
			r = meta_extent_set(m, id, 4096, 12288, 9000 + id);
			check(r == 0 || r == -EUCLEAN, "set: %d", r);
			if (r == 0)
				r = meta_node_del(m, id + 1);
			check(r == 0 || r == -EUCLEAN, "del: %d", r);
		}
		r = meta_commit(m);
		check(r == 0 || r == -EUCLEAN, "commit: %d", r);
		meta_close(m);
	}
	free(copy);
	end(&f);
}

/* A schema that lacks something of ours is damage, not an older version. */
Test(meta_damage, schema)
{
	static const char *const harm[] = {
		"DROP INDEX extent_by_seq",
		"DROP TABLE moment",
		"ALTER TABLE node RENAME COLUMN attr_seq TO other",
		"DELETE FROM volume WHERE key = 'store_uuid'",
	};
	struct fixture f;

	start(&f);
	for (size_t i = 0; i < ARRAY_SIZE(harm); i++) {
		write_db(whole, whole_len);
		fixture_reopen(&f, META_OPEN_RW);
		must(conn_exec(&f.m->writer.conn, harm[i]));
		meta_close(f.m);
		f.m = NULL;
		expect_int(try_open(&f, META_OPEN_RO), -EUCLEAN);
		expect_int(try_open(&f, META_OPEN_RW), -EUCLEAN);
	}
	end(&f);
}

/* A map that somebody made: what no path can lead to is never handed on. */
Test(meta_damage, names_that_are_none)
{
	static const char *const harm[] = {
		"CAST('a/b' AS BLOB)", "CAST('.' AS BLOB)",
		"CAST('..' AS BLOB)",  "x'610062'",
		"CAST('/' AS BLOB)",
	};
	struct fixture f;

	start(&f);
	for (size_t i = 0; i < ARRAY_SIZE(harm); i++) {
		_cleanup_meta_iter_ struct meta_iter it = {0};
		struct meta_reader *rd;
		struct meta_dentry d;
		char sql[128];
		int r;

		write_db(whole, whole_len);
		fixture_reopen(&f, META_OPEN_RW);
		snprintf(sql, sizeof(sql),
			 "UPDATE dentry SET name = %s WHERE seq = "
			 "(SELECT max(seq) FROM dentry)",
			 harm[i]);
		must(conn_exec(&f.m->writer.conn, sql));
		rd = meta_reader_get(f.m);
		r = meta_iter_dentries_all(rd, &it);
		while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0)
			r = 0;
		expect_int(r, -EUCLEAN);
		meta_iter_done(&it);
		meta_reader_put(rd);
		meta_close(f.m);
		f.m = NULL;
	}
	end(&f);
}

/* ---- wrong, or right: nothing between ---- */

static void hash_add(uint64_t *hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		*hash = (*hash ^ p[i]) * UINT64_C(1099511628211);
}

static int hash_nodes(struct meta_reader *rd, uint64_t *hash)
{
	struct meta_iter it;
	struct meta_node n;
	int r = meta_iter_nodes(rd, 0, &it);

	while (r == 0 && (r = meta_next_node(&it, &n)) > 0) {
		uint64_t v[] = {n.id,	       n.kind,	   n.backing.ino,
				n.backing.gen, n.attr_seq, n.seq};

		hash_add(hash, v, sizeof(v));
		r = 0;
	}
	meta_iter_done(&it);
	return r;
}

static int hash_dentries(struct meta_reader *rd, uint64_t *hash)
{
	struct meta_dentry d;
	struct meta_iter it;
	int r = meta_iter_dentries_all(rd, &it);

	while (r == 0 && (r = meta_next_dentry(&it, &d)) > 0) {
		uint64_t v[] = {d.parent, d.node, d.seq, d.name_len};

		hash_add(hash, v, sizeof(v));
		hash_add(hash, d.name, d.name_len);
		r = 0;
	}
	meta_iter_done(&it);
	return r;
}

static int hash_extents(struct meta_reader *rd, uint64_t *hash)
{
	struct meta_extent e;
	struct meta_iter it;
	int r = meta_iter_extents_since(rd, 0, 0, 0, &it);

	while (r == 0 && (r = meta_next_extent(&it, &e)) > 0) {
		uint64_t v[] = {e.node, e.start, e.end, e.seq};

		hash_add(hash, v, sizeof(v));
		r = 0;
	}
	meta_iter_done(&it);
	return r;
}

static int hash_intents(struct meta_reader *rd, uint64_t *hash)
{
	struct meta_intent in;
	struct meta_iter it;
	int r = meta_iter_intents(rd, &it);

	while (r == 0 && (r = meta_next_intent(&it, &in)) > 0) {
		uint64_t v[] = {in.node, in.kind, in.start, in.end,
				in.generation};

		hash_add(hash, v, sizeof(v));
		r = 0;
	}
	meta_iter_done(&it);
	return r;
}

static int hash_rows(struct meta_reader *rd, uint64_t *hash)
{
	int r = hash_nodes(rd, hash);

	if (r == 0)
		r = hash_dentries(rd, hash);
	if (r == 0)
		r = hash_extents(rd, hash);
	return r ? r : hash_intents(rd, hash);
}

static int hash_numbers(struct meta_reader *rd, uint64_t *hash)
{
	int r = 0;

	for (int i = META_NUM_SEQ_RESERVED; r == 0 && i <= META_NUM_ROOT_GEN;
	     i++) {
		uint64_t value;

		r = meta_number_get(rd, (enum meta_number)i, &value);
		if (r == 0)
			hash_add(hash, &value, sizeof(value));
	}
	return r;
}

/* Everything the map says, as one number; -errno when any of it is refused. */
static int hash_map(const struct fixture *f, enum meta_open_mode mode,
		    uint64_t *ret)
{
	struct meta_reader *rd;
	struct meta *m;
	int r = meta_open(f->dir, mode, &m, NULL);

	*ret = UINT64_C(14695981039346656037);
	if (r < 0)
		return r;
	rd = meta_reader_get(m);
	r = rd ? hash_rows(rd, ret) : -EIO;
	if (r == 0)
		r = hash_numbers(rd, ret);
	meta_reader_put(rd);
	meta_close(m);
	return r;
}

/* Numbers and ranges that nobody can go on from. */
Test(meta_damage, numbers_that_are_none)
{
	static const struct {
		const char *harm;
		bool opens; /* what is read row by row is found then */
	} v[] = {
		{"UPDATE volume SET value = 9223372036854775807 "
		 "WHERE key = 'seq_reserved'"},
		{"UPDATE volume SET value = 281474976710656 "
		 "WHERE key = 'node_reserved'"},
		{"UPDATE volume SET value = 281474976710656 "
		 "WHERE key = 'durable_seq'"},
		{"UPDATE volume SET value = 281474976710656 "
		 "WHERE key = 'horizon'"},
		{"UPDATE node SET seq = 281474976710656 WHERE id = 17", true},
		{"UPDATE dentry SET seq = 281474976710656 WHERE node = 17",
		 true},
		{"UPDATE dentry SET cookie = 281474976710656 WHERE node = 17",
		 true},
		{"UPDATE extent SET seq = 281474976710656 WHERE node = 17",
		 true},
		{"UPDATE intent SET start = 4095", true},
		{"UPDATE intent SET end = 8193", true},
		{"UPDATE intent SET end = 9223372036854775807", true},
	};
	struct fixture f;

	start(&f);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		uint64_t hash = 0;
		struct meta_reader *rd;

		write_db(whole, whole_len);
		fixture_reopen(&f, META_OPEN_RW);
		must(meta_begin(f.m));
		must(meta_number_set(f.m, META_NUM_SEQ_RESERVED, 3000));
		must(meta_number_set(f.m, META_NUM_DURABLE_SEQ, 3000));
		must(meta_number_set(f.m, META_NUM_HORIZON, 1));
		must(meta_intent_put(
			f.m, &(struct meta_intent){.node = 17,
						   .end = 8192,
						   .kind = META_INTENT_DATA,
						   .generation = 1}));
		must(meta_commit(f.m));
		must(conn_exec(&f.m->writer.conn,
			       "PRAGMA ignore_check_constraints=ON"));
		must(conn_exec(&f.m->writer.conn, v[i].harm));
		if (v[i].opens) {
			rd = meta_reader_get(f.m);
			expect_int(hash_rows(rd, &hash), -EUCLEAN);
			meta_reader_put(rd);
		}
		meta_close(f.m);
		f.m = NULL;
		expect_int(try_open(&f, META_OPEN_RO),
			   v[i].opens ? 0 : -EUCLEAN);
		expect_int(try_open(&f, META_OPEN_RW),
			   v[i].opens ? 0 : -EUCLEAN);
	}
	end(&f);
}

/* Returns the length it has then. */
static size_t harm_at_random(struct rng *rng, unsigned char *copy)
{
	size_t pages = whole_len / 4096;
	size_t page = rng_below(rng, pages);
	size_t other = rng_below(rng, pages);
	unsigned char held[4096];

	switch (rng_below(rng, 6)) {
	case 0: /* cut, anywhere */
		return rng_below(rng, whole_len);
	case 1: /* a page of zeros */
		memset(copy + page * 4096, 0, 4096);
		break;
	case 2: /* written in the wrong place */
		memcpy(held, copy + page * 4096, 4096);
		memcpy(copy + page * 4096, copy + other * 4096, 4096);
		memcpy(copy + other * 4096, held, 4096);
		break;
	case 3: /* half a sector's worth of garbage */
		for (size_t i = 0; i < 256; i++)
			copy[page * 4096 + 512 + i] =
				(unsigned char)rng_below(rng, 256);
		break;
	default: /* bits */
		for (uint64_t i = 0; i < 1 + rng_below(rng, 8); i++)
			copy[rng_below(rng, whole_len)] ^=
				(unsigned char)(1u << rng_below(rng, 8));
		break;
	}
	return whole_len;
}

/* Not one number may come out other than it was written. */
Test(meta_damage, an_error_or_the_truth, .timeout = 500)
{
	struct rng rng = rng_seed();
	uint64_t truth, told;
	unsigned char *copy;
	struct fixture f;
	int refused = 0;
	size_t len;
	int r;

	start(&f);
	copy = malloc(whole_len);
	cr_assert_not_null(copy);
	expect_int(hash_map(&f, META_OPEN_RO, &truth), 0);
	for (int round = 0; round < 250; round++) {
		memcpy(copy, whole, whole_len);
		len = harm_at_random(&rng, copy);
		write_db(copy, len);
		r = hash_map(&f, META_OPEN_RO, &told);
		check(r == -EUCLEAN || r == -EPROTO || r == -EIO || r == 0,
		      "round %d: %d", round, r);
		check(r < 0 || told == truth, "round %d is a lie", round);
		refused += r < 0;
		write_db(copy, len);
		r = hash_map(&f, META_OPEN_RW, &told);
		check(r < 0 || told == truth, "round %d is a lie", round);
	}
	/* What is left hit pages that nobody has read here. */
	cr_assert(refused > 100, "%d", refused);
	free(copy);
	end(&f);
}

Test(meta_damage, integrity)
{
	struct meta_reader *rd;
	struct fixture f;

	start(&f);
	/* A page of an index, zeroed. */
	memset(whole + whole_len - 4096, 0, 4096);
	write_db(whole, whole_len);
	fixture_reopen(&f, META_OPEN_RO);
	rd = meta_reader_get(f.m);
	expect_int(meta_integrity(rd), 0);
	meta_reader_put(rd);
	end(&f);
}
