/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors by node and slot: the kernel opens nothing (zero-message opens),
 * so this cache does.  Bounded: an idle descriptor is closed when there are
 * too many, oldest first, and opened again when needed, by the node's name,
 * its identity compared.  Nodes without a name keep theirs.
 */
#include "fs/mirror/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fault.h"
#include "fs/mirror/nameless.h"

#define OPEN_TRIES 4
#define FDS_SPARED 32u

void fds_init(struct mirror *m)
{
	struct rlimit lim;

	mutex_init(&m->fds, LOCK_RANK_LEAF);
	m->fd_limit = m->opt.fd_limit;
	if (m->fd_limit)
		return;
	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur == RLIM_INFINITY)
		lim.rlim_cur = 20000;
	/* A quarter stays for pinned ones, directories in use, the maps. */
	m->fd_limit = (unsigned int)(lim.rlim_cur - lim.rlim_cur / 4);
	if (m->fd_limit > 65536)
		m->fd_limit = 65536;
}

static void idle_unlink(struct mirror *m, struct node_place *p)
{
	if (!p->linked)
		return;
	*(p->older ? &p->older->newer : &m->fd_oldest) = p->newer;
	*(p->newer ? &p->newer->older : &m->fd_newest) = p->older;
	p->older = p->newer = NULL;
	p->linked = false;
}

static void idle_link(struct mirror *m, struct node_place *p)
{
	assert(!p->linked && p->fd >= 0 && !p->pins);
	p->older = m->fd_newest;
	p->newer = NULL;
	*(m->fd_newest ? &m->fd_newest->newer : &m->fd_oldest) = p;
	m->fd_newest = p;
	p->linked = true;
}

static unsigned int place_slot(const struct node_place *p)
{
	return p->slot;
}

/*
 * Close one of slot @i that is in no place any more, without waiting for it
 * where the store may hang.
 */
static void fd_retire(struct mirror *m, unsigned int i, int fd)
{
	struct slot *s = &m->slot[i];
	struct store *store = NULL;

	if (fd < 0)
		return;
	if (m->opt.timeout_ms) {
		mutex_lock(&m->lock);
		if (s->store && !s->closing) {
			store = s->store;
			s->users++;
		}
		mutex_unlock(&m->lock);
	}
	if (!store) {
		close_fd(&fd);
		return;
	}
	store_close_fd(store, fd);
	slots_unpin(m, SLOT_BIT(i));
}

/* fds locked: its descriptor, to be closed; -1: it has none. */
static int place_take(struct mirror *m, struct node_place *p)
{
	int fd = p->fd;

	if (fd < 0)
		return -1;
	p->fd = -1;
	p->closed_gen = atomic_load(&p->node->written_gen);
	m->fd_count--;
	return fd;
}

uint64_t node_sync_lost(struct mirror *m, struct node *n, unsigned int i)
{
	uint64_t gen;

	mutex_lock(&m->fds);
	gen = node_place(n, i)->closed_gen;
	mutex_unlock(&m->fds);
	return gen > atomic_load(&m->synced_gen) ? gen : 0;
}

void node_sync_found(struct mirror *m, struct node *n, unsigned int i,
		     uint64_t gen)
{
	mutex_lock(&m->fds);
	if (node_place(n, i)->closed_gen == gen)
		node_place(n, i)->closed_gen = 0;
	mutex_unlock(&m->fds);
}

/* fds locked: the oldest idle descriptor, to be closed; -1: none to spare. */
static int idle_evict(struct mirror *m, unsigned int limit,
		      unsigned int *ret_slot)
{
	struct node_place *p = m->fd_oldest;

	if (m->fd_count <= limit)
		return -1;
	while (p && p->node->unlinked && !p->parked)
		p = p->newer;
	if (!p)
		return -1;
	idle_unlink(m, p);
	*ret_slot = place_slot(p);
	return place_take(m, p);
}

void node_fd_put(struct mirror *m, struct node *n, unsigned int i)
{
	struct node_place *p = node_place(n, i);
	unsigned int slot = 0;
	int victim = -1;

	mutex_lock(&m->fds);
	assert(p->pins > 0);
	if (!--p->pins && p->fd >= 0) {
		idle_link(m, p);
		victim = idle_evict(m, m->fd_limit, &slot);
	}
	mutex_unlock(&m->fds);
	fd_retire(m, slot, victim); /* nothing unsynced depends on it */
}

static void place_close_idle(struct mirror *m, struct node_place *p)
{
	int fd = -1;

	mutex_lock(&m->fds);
	if (!p->pins) {
		idle_unlink(m, p);
		fd = place_take(m, p);
	}
	mutex_unlock(&m->fds);
	fd_retire(m, place_slot(p), fd);
}

void node_fds_close_idle(struct mirror *m, struct node *n)
{
	for (unsigned int i = 0; i < node_place_count(n); i++) {
		FAULT_POINT("mirror.fd.close");
		place_close_idle(m, node_place(n, i));
	}
}

void node_fds_close(struct mirror *m, struct node *n)
{
	node_fds_close_idle(m, n);
	for (unsigned int i = 0; i < node_place_count(n); i++)
		assert(!node_place(n, i)->pins && node_place(n, i)->fd < 0);
}

void fds_close_slot(struct mirror *m, unsigned int i)
{
	VEC(int) fds = {0};
	struct node *n, *tmp;

	/* Nobody uses the slot any more: no pins, no new opens. */
	mutex_lock(&m->table);
	HASH_ITER (by_id, m->nodes, n, tmp) {
		struct node_place *p = node_place(n, i);
		int fd;

		mutex_lock(&m->fds);
		assert(!p->pins);
		idle_unlink(m, p);
		fd = p->fd;
		p->fd = -1;
		p->backing = (struct meta_backing){0};
		p->ctime = (struct meta_ctime){0};
		p->lost = p->parked = false;
		if (fd >= 0)
			m->fd_count--;
		mutex_unlock(&m->fds);
		if (fd >= 0 && vec_push(&fds, fd))
			close_fd(&fd);
	}
	mutex_unlock(&m->table);
	vec_for_each (fd, &fds)
		close_fd(fd); /* may take long where the store hangs */
	vec_done(&fds);
}

/* Install @fd, or close it if there is one already; pins the one in place. */
static int fd_install_pinned(struct mirror *m, struct node_place *p, int fd,
			     bool path)
{
	int spare = -1, use;

	mutex_lock(&m->fds);
	idle_unlink(m, p);
	if (p->fd >= 0 && (!p->fd_path || path)) {
		spare = fd;
	} else if (p->fd >= 0 && p->pins) {
		/* An O_PATH one is in use: keep both impossible, use a copy. */
		spare = fd;
		if (dup3(fd, p->fd, O_CLOEXEC) >= 0)
			p->fd_path = path;
	} else {
		spare = p->fd;
		if (p->fd < 0)
			m->fd_count++;
		p->fd = fd;
		p->fd_path = path;
	}
	p->pins++;
	use = p->fd;
	mutex_unlock(&m->fds);
	fd_retire(m, place_slot(p), spare);
	return use;
}

/* One that a file was made with. */
void node_fd_install(struct mirror *m, struct node *n, unsigned int i, int fd)
{
	if (m->opt.noatime)
		store_keep_atime(fd);
	(void)fd_install_pinned(m, node_place(n, i), fd, false);
	node_fd_put(m, n, i);
}

static struct meta_backing place_backing(struct mirror *m, struct node_place *p)
{
	struct meta_backing b;

	mutex_lock(&m->fds);
	b = p->backing;
	mutex_unlock(&m->fds);
	return b;
}

static void place_set_backing(struct mirror *m, struct node_place *p,
			      struct meta_backing b)
{
	mutex_lock(&m->fds);
	p->backing = b;
	mutex_unlock(&m->fds);
}

/* What its row says, unless another thread was faster. */
static void place_learn(struct mirror *m, struct node_place *p,
			const struct meta_node *row)
{
	mutex_lock(&m->fds);
	if (!p->backing.ino) {
		p->backing = row->backing;
		if (!p->ctime.backing)
			p->ctime = row->ctime;
	}
	mutex_unlock(&m->fds);
}

/* The identity of @n on slot @i, from memory or that slot's map. */
int node_backing_load(struct mirror *m, struct node *n, unsigned int i,
		      struct meta_backing *ret)
{
	struct meta_reader *rd;
	struct meta_node row;
	int r;

	*ret = place_backing(m, node_place(n, i));
	if (ret->ino)
		return 0;
	if (node_is_unlinked(m, n))
		return -ENOENT;
	/* Who was made here is known from then on: nothing to wait for. */
	rd = meta_reader_get(m->slot[i].meta);
	if (!rd)
		return mirror_reader_error();
	r = meta_node_get(rd, n->id, &row);
	meta_reader_put(rd);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	*ret = row.backing;
	if (row.backing.ino)
		place_learn(m, node_place(n, i), &row);
	return 0;
}

/* Is what @fd names the node? 0, -ESTALE, -errno. */
static int fd_verify(struct mirror *m, struct node *n, unsigned int i, int fd)
{
	struct meta_backing want;
	struct store_stat st;
	int r;

	r = store_fstat(m->slot[i].store, fd,
			STORE_STAT_GEN | STORE_STAT_NO_TIMES, &st);
	if (r)
		return r;
	if (meta_kind_of(st.st.st_mode) != n->kind)
		return -ESTALE;
	r = node_backing_load(m, n, i, &want);
	if (r)
		return r;
	if (!want.ino) { /* a restored copy: trusted by its place */
		if (store_stat_is_apart(&st))
			return -ESTALE;
		want.ino = st.st.st_ino;
		want.gen = st.gen;
		place_set_backing(m, node_place(n, i), want);
	}
	if (want.ino != st.st.st_ino || want.gen != st.gen)
		return -ESTALE;
	return 0;
}

/* What applications read is read through these, unless they are told not to
 * move access times. */
static int open_flags(const struct mirror *m, const struct node *n, bool path)
{
	if (n->kind == META_DIR)
		return O_RDONLY | O_DIRECTORY;
	if (n->kind != META_FILE || path)
		return O_PATH;
	return m->opt.noatime ? O_RDWR : O_RDWR | STORE_ATIME;
}

static int open_named(struct mirror *m, unsigned int i, int dirfd,
		      const char *name, int flags)
{
	struct store *s = m->slot[i].store;
	int fd = store_openat(s, dirfd, name, flags);

	/* What its owner may only search, or not even that, is ours all the
	 * same. */
	if (fd == -EACCES)
		return store_openat_forced(s, dirfd, name, flags);
	if (fd == -EROFS && (flags & O_ACCMODE) == O_RDWR)
		return store_openat(s, dirfd, name, flags & ~O_RDWR);
	return fd;
}

/* The root is known by its place, and only its ctime is to be learned. */
static int open_root(struct mirror *m, unsigned int i, int flags, int *ret_fd)
{
	struct meta_reader *rd = meta_reader_get(m->slot[i].meta);
	struct meta_node row;
	int r;

	if (!rd)
		return mirror_reader_error();
	r = meta_node_get(rd, META_ROOT_ID, &row);
	meta_reader_put(rd);
	if (r && r != -ENOENT)
		return r;
	row.backing = (struct meta_backing){0};
	if (!r)
		place_learn(m, node_place(m->root, i), &row);
	*ret_fd = store_open_path(m->slot[i].store, "", flags);
	return *ret_fd < 0 ? *ret_fd : 0;
}

/* One attempt by the name that is known now. -ENODE_ELSEWHERE: its directory
 * has no name any more, so it is not there. */
static int open_once(struct mirror *m, struct node *n, unsigned int i,
		     int flags, int *ret_fd)
{
	char name[META_NAME_MAX + 1];
	struct node *parent;
	int dirfd, fd, r;

	if (n == m->root)
		return open_root(m, i, flags, ret_fd);
	r = node_name_get(m, n, &parent, name);
	if (r)
		return r;
	FAULT_POINT("mirror.open.named");
	r = node_fd_get(m, parent, i, false, &dirfd);
	if (r) {
		node_put(m, parent);
		return r;
	}
	fd = open_named(m, i, dirfd, name, flags);
	r = fd < 0 ? fd : fd_verify(m, n, i, fd);
	node_fd_put(m, parent, i);
	if (r == -ENOENT || r == -ESTALE || r == -ELOOP || r == -ENOTDIR)
		node_name_drop(m, n, parent, name); /* perhaps it moved on */
	node_put(m, parent);
	if (r) {
		fd_retire(m, i, fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static void move_count(struct node *n, uint32_t change)
{
	n->moving += change;
	atomic_fetch_add(&n->moves, 1);
}

void move_begin(struct mirror *m, struct node *n, struct node *other)
{
	mutex_lock(&m->lock);
	move_count(n, 1);
	if (other)
		move_count(other, 1);
	mutex_unlock(&m->lock);
}

void move_end(struct mirror *m, struct node *n, struct node *other)
{
	mutex_lock(&m->lock);
	move_count(n, -1u);
	if (other)
		move_count(other, -1u);
	cond_broadcast(&m->moved);
	mutex_unlock(&m->lock);
}

/* It may lie under another name by now. */
static bool is_misplaced(int r)
{
	return r == -ENOENT || r == -ESTALE || r == -ELOOP || r == -ENOTDIR ||
	       r == -ENODE_ELSEWHERE;
}

/*
 * Whoever moves it holds all locks it needs and opens its directories only, so
 * this may hold some too.
 */
static void move_wait(struct mirror *m, const struct node *n)
{
	mutex_lock(&m->lock);
	while (n->moving)
		cond_wait(&m->moved, &m->lock);
	mutex_unlock(&m->lock);
}

int node_open_fresh(struct mirror *m, struct node *n, unsigned int i, int flags,
		    int *ret_fd)
{
	int r = -ESTALE;

	for (int tries = 0; tries < OPEN_TRIES;) {
		uint32_t moves = atomic_load(&n->moves);

		r = open_once(m, n, i, flags, ret_fd);
		if (!is_misplaced(r))
			return r;
		move_wait(m, n);
		if (node_is_unlinked(m, n))
			return -ENOENT;
		/* If it was moved meanwhile, that says nothing of the store. */
		tries += moves == atomic_load(&n->moves);
	}
	return r == -ENOENT ? -ESTALE : r;
}

/* Reopen what an O_PATH descriptor of a node without a name stands for. */
static int open_through(struct mirror *m, struct node_place *p, unsigned int i,
			int flags, int *ret_fd)
{
	const struct store *s = m->slot[i].store;
	bool lost;
	int fd;

	mutex_lock(&m->fds);
	fd = p->lost ? -1 : p->fd;
	lost = p->lost;
	if (fd >= 0) { /* it is not closed meanwhile */
		idle_unlink(m, p);
		p->pins++;
	}
	mutex_unlock(&m->fds);
	if (fd < 0)
		return lost ? -ENODE_ELSEWHERE
			    : park_open(m, p->node, i, flags, ret_fd);
	*ret_fd = store_reopen(s, fd, flags);
	if (*ret_fd == -EACCES && (flags & O_ACCMODE) == O_RDWR)
		*ret_fd = store_reopen(s, fd, flags & ~O_RDWR);
	node_fd_put(m, p->node, i);
	return MIN(*ret_fd, 0);
}

static int fd_open(struct mirror *m, struct node *n, unsigned int i, int flags,
		   int *ret_fd)
{
	struct node_place *p = node_place(n, i);
	int r;

	if (!node_is_unlinked(m, n)) {
		r = path_open(m, n, i);
		if (!r)
			r = node_open_fresh(m, n, i, flags, ret_fd);
		if ((r != -ENOENT && r != -ENODE_ELSEWHERE) ||
		    !node_is_unlinked(m, n))
			return r;
	}
	return open_through(m, p, i, flags, ret_fd);
}

/* The process has no descriptor left: give up some that nobody uses. */
static bool fds_spare(struct mirror *m)
{
	unsigned int spared = 0;

	for (; spared < FDS_SPARED; spared++) {
		unsigned int slot = 0;
		int fd;

		mutex_lock(&m->fds);
		fd = idle_evict(m, 0, &slot);
		mutex_unlock(&m->fds);
		if (fd < 0)
			break;
		fd_retire(m, slot, fd);
	}
	return spared > 0;
}

int node_fd_get(struct mirror *m, struct node *n, unsigned int i, bool path,
		int *ret_fd)
{
	struct node_place *p = node_place(n, i);
	int flags = open_flags(m, n, path);
	int fd, r;

	path = flags == O_PATH;
	mutex_lock(&m->fds);
	if (p->fd >= 0 && !p->lost && (!p->fd_path || path)) {
		idle_unlink(m, p);
		p->pins++;
		*ret_fd = p->fd;
		mutex_unlock(&m->fds);
		return 0;
	}
	mutex_unlock(&m->fds);
	r = fd_open(m, n, i, flags, &fd);
	if (r == -EMFILE && fds_spare(m))
		r = fd_open(m, n, i, flags, &fd);
	if (r)
		return r;
	*ret_fd = fd_install_pinned(m, p, fd, path);
	return 0;
}

int node_reader_get(struct mirror *m, struct node *n, unsigned int i,
		    struct node_reader *ret)
{
	int r = node_fd_get(m, n, i, false, &ret->fd);

	ret->own = r == -EPERM && n->kind == META_FILE;
	if (!ret->own)
		return r;
	return node_open_fresh(m, n, i, open_flags(m, n, false) & ~O_RDWR,
			       &ret->fd);
}

void node_reader_put(struct mirror *m, struct node *n, unsigned int i,
		     struct node_reader *r)
{
	if (r->own)
		fd_retire(m, i, r->fd);
	else
		node_fd_put(m, n, i);
}

int node_fds_pin(struct mirror *m, struct node *n, slot_mask mask, bool path,
		 slot_mask *ret_pinned)
{
	slot_mask pinned = 0;

	for_each_slot(i, mask)
	{
		int fd, r = node_fd_get(m, n, i, path, &fd);

		if (!r)
			pinned |= SLOT_BIT(i);
		if (!store_error_is_ours(r))
			continue; /* what else is wrong, the call will say */
		node_fds_unpin(m, n, pinned);
		return r;
	}
	*ret_pinned = pinned;
	return 0;
}

void node_fds_unpin(struct mirror *m, struct node *n, slot_mask pinned)
{
	for_each_slot(i, pinned) node_fd_put(m, n, i);
}

void node_fd_lose(struct mirror *m, struct node *n, unsigned int i)
{
	mutex_lock(&m->fds);
	node_place(n, i)->lost = true;
	mutex_unlock(&m->fds);
}

void node_fd_adopt(struct mirror *m, struct node *n, unsigned int i, int fd)
{
	bool path = n->kind != META_FILE && n->kind != META_DIR;

	if (m->opt.noatime && !path)
		store_keep_atime(fd);
	mutex_lock(&m->fds);
	node_place(n, i)->lost = false;
	mutex_unlock(&m->fds);
	(void)fd_install_pinned(m, node_place(n, i), fd, path);
	node_fd_put(m, n, i);
}

void node_fd_drop(struct mirror *m, struct node *n, unsigned int i)
{
	unpark(m, n, i);
	place_close_idle(m, node_place(n, i));
}

/* By descriptor, also what cannot be opened for reading: a name may be given to
 * something else while it is used. */
int node_handle_get(struct mirror *m, struct node *n, unsigned int i,
		    struct node_handle *ret)
{
	*ret = (struct node_handle){.node = n, .slot = i};
	ret->obj = (struct store_obj){.fd = -1, .dirfd = -1};
	return node_fd_get(m, n, i, false, &ret->obj.fd);
}

void node_handle_put(struct mirror *m, struct node_handle *h)
{
	node_fd_put(m, h->node, h->slot);
}

int mirror_node_open(struct mirror *m, uint64_t node, unsigned int slot,
		     int flags)
{
	struct mirror_ref ref;
	struct node *n;
	int fd = -1, r;

	r = mirror_ref_get_now(m, slot, &ref);
	if (r)
		return r;
	r = node_get(m, node, &n);
	if (!r) {
		r = node_open_fresh(m, n, slot, flags & ~O_CLOEXEC, &fd);
		node_put(m, n);
	}
	mirror_ref_put(m, &ref);
	return r ? r : fd;
}
