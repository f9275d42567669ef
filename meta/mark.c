/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"

/* One line of this length, in one sector. */
#define MARK_BYTES 160

_Static_assert(MARK_BYTES <= MAP_CALL_BYTES, "a line fits a call");

static const char mark_format[] = "seqmirror-map %c token=%016" PRIx64
				  " before=%016" PRIx64 " %016" PRIx64
				  " wal=%08" PRIx32 ".%08" PRIx32 ".%08" PRIx32
				  " %08" PRIx32;

/* FNV-1a: against a line that was torn, not against anybody. */
static uint32_t line_sum(const char *line, size_t len)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (unsigned char)line[i]) * 16777619u;
	return sum;
}

static size_t mark_print(const struct meta_mark *k, uint32_t sum,
			 char line[MARK_BYTES + 1])
{
	int len = snprintf(line, MARK_BYTES + 1, mark_format, k->state,
			   k->token, k->before, k->bare, k->base, k->restarts,
			   k->frames, sum);

	return (size_t)len;
}

/* ---- reading ---- */

static bool mark_parse(const char *line, struct meta_mark *ret)
{
	struct meta_mark k = {0};
	char again[MARK_BYTES + 1];
	uint32_t sum;

	/* Fixed widths: what was printed is what is scanned. */
	if (sscanf(line,
		   "seqmirror-map %c token=%16" SCNx64 " before=%16" SCNx64
		   " %16" SCNx64 " wal=%8" SCNx32 ".%8" SCNx32 ".%8" SCNx32
		   " %8" SCNx32,
		   &k.state, &k.token, &k.before, &k.bare, &k.base, &k.restarts,
		   &k.frames, &sum) != 8)
		return false;
	(void)mark_print(&k, 0, again);
	if (line_sum(again, strlen(again)) != sum || !strchr("POLC", k.state))
		return false;
	*ret = k;
	return true;
}

static const char *judge_wal(const struct meta_mark *k,
			     const struct wal_state *w)
{
	switch (k->state) {
	case MARK_CLOSED:
		return w->frames ? "The write-ahead log beside the map is not "
				   "its own."
				 : NULL;
	case MARK_CLOSING:
		return w->frames && w->base != k->base
			       ? "The write-ahead log beside the map is not "
				 "its own."
			       : NULL;
	case MARK_OPEN:
		break;
	case MARK_OPENING:
	default:
		return NULL;
	}
	if (!w->header)
		return "The write-ahead log of the map is missing or damaged.";
	if (w->base != k->base)
		return "The write-ahead log beside the map is not its own.";
	if (w->restarts < k->restarts)
		return "The write-ahead log of the map is an older one.";
	if (w->restarts == k->restarts && w->frames < k->frames)
		return "The write-ahead log of the map is cut or damaged.";
	return NULL;
}

static int mark_read(struct meta *m)
{
	char line[MARK_BYTES + 1] = "";
	_cleanup_close_ int fd = -1;
	ssize_t len;

	fd = openat(m->dir_fd, META_MARK_NAME,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : -errno;
	len = pread(fd, line, MARK_BYTES, 0);
	if (len < 0)
		return errno == EISDIR ? 0 : -errno;
	if (len == MARK_BYTES)
		m->mark.known = mark_parse(line, &m->mark);
	return 0;
}

int mark_load(struct meta *m, const char **ret_why)
{
	struct wal_state w;
	int r = mark_read(m);

	if (r < 0 || !m->mark.known)
		return r;
	r = wal_look(m->dir_fd, &w);
	if (r < 0)
		return r;
	*ret_why = judge_wal(&m->mark, &w);
	return *ret_why ? -EUCLEAN : 0;
}

bool mark_fits(const struct meta *m, uint64_t token)
{
	const struct meta_mark *k = &m->mark;

	return !k->known || token == k->token ||
	       (k->state == MARK_OPENING && token == k->before);
}

bool mark_fits_bare(const struct meta *m, uint64_t token)
{
	const struct meta_mark *k = &m->mark;

	return !k->known || token == k->token || token == k->before ||
	       token == k->bare || k->bare == UINT64_MAX;
}

/* ---- writing ---- */

static int remove_mark(struct map_call *k)
{
	int r = FAULT_ERR("meta.mark.remove");

	if (r < 0)
		return r;
	if (unlinkat(k->dir_fd, META_MARK_NAME, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(k->dir_fd) < 0 ? -errno : 0;
}

/* Without a mark nothing is asked for; an old one would ask for too much. */
static void mark_give_up(struct meta *m, int err)
{
	struct map_call k = {.fn = remove_mark, .dir_fd = m->dir_fd, .fd = -1};

	log_warn("no mark beside the map: path=%s error=%s", m->told_path,
		 strerror(-err));
	close_fd(&m->mark_fd);
	m->mark.known = false; /* it is not begun again either */
	err = map_call(m, &k);
	if (err < 0) {
		log_warn("nor can the old one be removed: path=%s error=%s",
			 m->told_path, strerror(-err));
		m->mark_stays = true;
	}
}

static int write_mark(struct map_call *k)
{
	errno = EIO; /* of a write that came short */
	if (pwrite(k->fd, k->buf, k->len, 0) != (ssize_t)k->len)
		return -errno;
	return k->durable && fdatasync(k->fd) < 0 ? -errno : 0;
}

static void mark_write(struct meta *m, bool durable)
{
	struct map_call k = {
		.fn = write_mark,
		.dir_fd = -1,
		.fd = m->mark_fd,
		.durable = durable,
		.len = MARK_BYTES,
	};
	char line[MARK_BYTES + 1];
	size_t len;
	int r;

	if (m->mark_fd < 0)
		return;
	len = mark_print(&m->mark, 0, line);
	len = mark_print(&m->mark, line_sum(line, len), line);
	memset(line + len, ' ', MARK_BYTES - len);
	line[MARK_BYTES - 1] = '\n';
	memcpy(k.buf, line, MARK_BYTES);
	r = map_call(m, &k);
	if (r < 0)
		mark_give_up(m, r);
}

static int open_mark(struct map_call *k)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r = FAULT_ERR("meta.mark.open");

	if (r < 0)
		return r;
	fd = openat(k->dir_fd, META_MARK_NAME,
		    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		    0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? steal_fd(&fd) : -EUCLEAN;
}

static int mark_open_file(struct meta *m)
{
	struct map_call k = {
		.fn = open_mark,
		.dir_fd = m->dir_fd,
		.fd = -1,
		.gives_fd = true,
	};
	int fd = map_call(m, &k);

	if (fd == -ENOSPC || fd == -EDQUOT) {
		mark_give_up(m, fd);
		return 0;
	}
	if (fd < 0)
		return fd;
	m->mark_fd = fd;
	return 0;
}

int mark_token(uint64_t *ret)
{
	do {
		if (getrandom(ret, sizeof(*ret), 0) != sizeof(*ret))
			return -errno;
		*ret &= INT64_MAX; /* as a number in the map */
	} while (!*ret);
	return 0;
}

int mark_opening(struct meta *m)
{
	uint64_t token;
	int r = mark_token(&token);

	if (r == 0 && m->mark_fd < 0)
		r = mark_open_file(m);
	if (r < 0)
		return r;
	m->mark = (struct meta_mark){
		.known = true,
		.state = MARK_OPENING,
		.token = token,
		.before = m->mark_token,
		.bare = m->bare_token,
	};
	m->mark_token = token;
	mark_write(m, true);
	/* The old one does not know this token. */
	return m->mark_stays ? -EIO : 0;
}

void mark_committed(struct meta *m, const unsigned char *wal_header,
		    uint64_t frames)
{
	struct wal_state w = {0};

	if (m->mark_fd < 0 || !wal_parse_header(wal_header, &w))
		return;
	m->mark.state = MARK_OPEN;
	m->mark.base = w.base;
	m->mark.restarts = w.restarts;
	m->mark.frames = (uint32_t)frames;
	mark_write(m, false);
}

void mark_unsure(struct meta *m, int err)
{
	if (m->mark_fd >= 0)
		mark_give_up(m, err);
}

int mark_closing(struct meta *m, const unsigned char *wal_header)
{
	struct wal_state w;

	if (wal_header && wal_parse_header(wal_header, &w))
		m->mark.base = w.base;
	/* Nothing was changed, but a WAL that a crash left is moved now. */
	if (m->mark_fd < 0 && m->mark.known && m->mark.state != MARK_CLOSED &&
	    mark_open_file(m) < 0)
		mark_give_up(m, -EIO);
	m->mark.token = m->mark_token;
	m->mark.state = MARK_CLOSING;
	mark_write(m, true);
	return m->mark_stays ? -EIO : 0;
}

static int sync_dir(struct map_call *k)
{
	return fsync(k->dir_fd) < 0 ? -errno : 0;
}

/* The mark may reach the disk before the directory does, and with a WAL that
 * is there again after a loss of power it would call the map damaged. */
void mark_closed(struct meta *m)
{
	struct map_call k = {.fn = sync_dir, .dir_fd = m->dir_fd, .fd = -1};

	if (m->mark_fd >= 0 && map_call(m, &k) == 0) {
		m->mark.state = MARK_CLOSED;
		mark_write(m, false);
	}
	close_fd(&m->mark_fd);
}

int mark_create(struct meta *m, uint64_t token)
{
	int r = mark_open_file(m);

	if (r < 0)
		return r;
	m->mark = (struct meta_mark){
		.known = true,
		.state = MARK_CLOSED,
		.token = token,
		.bare = token,
	};
	mark_write(m, true);
	close_fd(&m->mark_fd);
	/* One of a map before this knows nothing of it. */
	return m->mark_stays ? -EIO : 0;
}
