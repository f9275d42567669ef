/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call, several slots: changes go to all, questions to the first that can
 * answer.  Here it is decided what the failure of one store means.
 */
#include "fs/mirror/internal.h"

#include <errno.h>

#include "fs/mirror/nameless.h"
#include "fs/mirror/room.h"

/* No room on one: take it back where it was done. */
static void change_undo(struct op *op, slot_mask ok, slot_fn undo, void *arg,
			const char *what)
{
	struct mirror *m = op->m;

	for_each_slot(i, ok)
	{
		int r = undo(m, i, arg);

		if (r < 0) /* it has what the others have not */
			(void)slot_put_out(m, i, what, r);
	}
}

/* Who answered otherwise than the one that took it is not what its map says. */
static void change_suspect(struct op *op, struct node *about, slot_mask failed,
			   const int res[])
{
	for_each_slot(i, failed) if (err_is_answer(res[i]) || res[i] == -ESTALE)
		slot_suspect(op->m, i, about);
}

void change_in_doubt(struct op *op, struct node *dir, int r)
{
	if (dir->kind != META_DIR || !err_is_doubt(r))
		return;
	for_each_slot(i, op_slots(op)) slot_suspect_names(op->m, i, dir);
}

static int change_run(struct op *op, slot_fn fn, slot_fn undo,
		      struct node *about, void *arg, const char *what)
{
	struct mirror *m = op->m;
	unsigned int order[META_STORE_MAX], count;
	int res[META_STORE_MAX] = {0};
	slot_mask ok = 0, tried = 0;
	int r;

	count = fan_order(m, op_slots(op), order);
	for (unsigned int k = 0; k < count; k++) {
		unsigned int i = order[k];
		bool polite;

		r = fn(m, i, arg);
		if (store_error_is_space(r))
			r = room_doubt(m, i, r);
		res[i] = r;
		if (r == -ENODE_ELSEWHERE)
			continue; /* nothing to ask there, nobody's fault */
		tried |= SLOT_BIT(i);
		if (r >= 0) {
			ok |= SLOT_BIT(i);
			continue;
		}
		polite = store_error_is_space(r) || store_error_is_ours(r) ||
			 err_is_limit(r);
		if (!ok && (polite || err_is_answer(r))) {
			/* Those before failed as devices; nothing was done. */
			for_each_slot(j, tried & ~SLOT_BIT(i))(void)
				slot_put_out(m, j, what, res[j]);
			return r;
		}
		if (polite && undo) {
			change_undo(op, ok, undo, arg, what);
			for_each_slot(j, tried & ~ok & ~SLOT_BIT(i))(void)
				slot_put_out(m, j, what, res[j]);
			return r;
		}
	}
	if (about && about->unlinked)
		return op_judge_unlinked(op, about, tried, res);
	if (about && ok)
		change_suspect(op, about, tried & ~ok, res);
	r = op_judge(op, tried, res, what);
	if (about)
		change_in_doubt(op, about, r);
	return r == -ESTALE ? -EIO : r;
}

int fan_change(struct op *op, slot_fn fn, slot_fn undo, struct node *about,
	       void *arg, const char *what)
{
	struct mirror *m = op->m;
	slot_mask pinned = 0;
	int r = 0;

	if (about && (about->kind == META_FILE || about->kind == META_DIR))
		r = node_fds_pin(m, about, op_slots(op), false, &pinned);
	if (r)
		return r; /* nothing was done */
	r = change_run(op, fn, undo, about, arg, what);
	if (pinned)
		node_fds_unpin(m, about, pinned);
	return r;
}

unsigned int ask_order(struct mirror *m, slot_mask mask,
		       unsigned int order[META_STORE_MAX])
{
	unsigned int count = fan_order(m, mask, order), slow = 0, at = 0;
	unsigned int late[META_STORE_MAX];

	if (!m->opt.timeout_ms)
		return count;
	for (unsigned int k = 0; k < count; k++) {
		if (atomic_load(&m->slot[order[k]].waits_ms) >= hurry_ms(m))
			late[slow++] = order[k];
		else
			order[at++] = order[k];
	}
	for (unsigned int k = 0; k < slow; k++)
		order[at++] = late[k];
	return count;
}

int ask_in_turn(struct mirror *m, const unsigned int order[],
		unsigned int count, slot_fn fn, void *arg, ask_done_fn done,
		int res[], unsigned int *ret_by)
{
	bool late = false;
	int r = -EIO;

	for (unsigned int k = 0; k < count; k++) {
		struct guard_hurry before =
			guard_hurry_begin(k + 1 < count ? hurry_ms(m) : 0);

		r = fn(m, order[k], arg);
		if (guard_hurry_end(before) && r < 0)
			r = -ETIME;
		res[k] = r;
		late |= r == -ETIME;
		*ret_by = k;
		if (done(r, arg))
			return r;
	}
	/* Nobody else has it: who is slow is waited for. */
	for (unsigned int k = 0; late && k < count; k++) {
		int again;

		if (res[k] != -ETIME)
			continue;
		again = fn(m, order[k], arg);
		*ret_by = k;
		if (done(again, arg))
			return again;
		res[k] = r = again;
	}
	*ret_by = count;
	return r;
}

struct asking {
	slot_fn fn;
	struct node *about;
	void *arg;
};

static int ask_slot(struct mirror *m, unsigned int i, void *arg)
{
	const struct asking *a = arg;

	return a->fn(m, i, a->arg);
}

static bool ask_is_done(int r, const void *arg)
{
	(void)arg;
	return r >= 0 || err_is_answer(r);
}

int fan_ask(struct mirror *m, slot_fn fn, struct node *about, void *arg,
	    const char *what)
{
	struct asking a = {fn, about, arg};
	unsigned int order[META_STORE_MAX], count, by;
	int res[META_STORE_MAX] = {0};
	slot_mask pin = slots_pin(m, NULL);
	int r;

	count = ask_order(m, pin, order);
	r = ask_in_turn(m, order, count, ask_slot, &a, ask_is_done, res, &by);
	/* Only blame a store when another one had the answer. */
	for (unsigned int j = 0;
	     by < count && j < count && !(about && about->unlinked); j++)
		if (j != by && res[j] < 0 && !ask_is_done(res[j], &a))
			slot_blame(m, order[j], about, res[j], what);
	slots_unpin(m, pin);
	return r == -ESTALE || r == -ENODE_ELSEWHERE ? -EIO : r;
}
