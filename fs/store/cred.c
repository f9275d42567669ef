/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's identity around one call.
 *
 * Linux keeps the ids that decide on new files (fsuid, fsgid), capabilities
 * and, after unshare(CLONE_FS), the umask per thread. So a thread can become
 * the caller for the length of a system call while the others go on as root.
 *
 * Leaving fsuid 0 makes the kernel take all capabilities about files from the
 * effective set. Those to pass directories are put back at once: whether the
 * caller may do this at all was decided above the mirror, and a store whose
 * root is closed to users must work. CAP_FSETID stays away, so that set-group-id
 * bits fall where they would for the caller. On the way back to fsuid 0 the
 * kernel itself puts back everything that is permitted.
 */
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/store/internal.h"

static pthread_once_t umask_once = PTHREAD_ONCE_INIT;
static mode_t umask_base; /* of the process, before any thread's own */
static _Thread_local bool umask_own;

/*
 * A new thread shares the umask of the one that started it, which may be in
 * the middle of a call for somebody with a umask of his own. So what a thread
 * has between calls is read once for the process, when none is inside yet.
 */
static void umask_base_read(void)
{
	_cleanup_fclose_ FILE *status = fopen("/proc/self/status", "re");
	char line[256];

	while (status && fgets(line, sizeof(line), status)) {
		if (!strncmp(line, "Umask:", 6)) {
			umask_base = (mode_t)strtoul(line + 6, NULL, 8) & 0777;
			return;
		}
	}
	umask_base = umask(077);
	umask(umask_base);
}

static bool umask_make_own(void)
{
	if (umask_own)
		return true;
	pthread_once(&umask_once, umask_base_read);
	if (unshare(CLONE_FS))
		return false;
	umask(umask_base);
	umask_own = true;
	return true;
}

/* Raise what is permitted of the capabilities that a call needs. */
static int caps_raise(bool device)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint32_t want = CAP_TO_MASK(CAP_DAC_OVERRIDE) |
			CAP_TO_MASK(CAP_DAC_READ_SEARCH) |
			CAP_TO_MASK(CAP_FOWNER);

	if (device)
		want |= CAP_TO_MASK(CAP_MKNOD);
	if (syscall(SYS_capget, &head, data))
		return -errno;
	want &= data[0].permitted;
	if ((data[0].effective & want) == want)
		return 0;
	data[0].effective |= want;
	return sys_result((int)syscall(SYS_capset, &head, data));
}

/* setfsuid(2) and setfsgid(2) report no failure: a second call, with an id
 * that never is valid, says what is in force. */
static int fsuid_set(uid_t uid, uid_t *ret_old)
{
	*ret_old = (uid_t)setfsuid(uid);
	if ((uid_t)setfsuid((uid_t)-1) == uid)
		return 0;
	(void)setfsuid(*ret_old);
	return geteuid() ? -EPERM : -EINVAL;
}

static int fsgid_set(gid_t gid, gid_t *ret_old)
{
	*ret_old = (gid_t)setfsgid(gid);
	if ((gid_t)setfsgid((gid_t)-1) == gid)
		return 0;
	(void)setfsgid(*ret_old);
	return geteuid() ? -EPERM : -EINVAL;
}

static int ids_enter(struct cred_scope *scope, const struct store *s,
		     const struct store_cred *cred, bool device)
{
	int err;

	if (s->euid != 0)
		return 0; /* can be nobody else, and need not */
	if (cred->gid != 0) {
		err = fsgid_set(cred->gid, &scope->old_gid);
		if (err)
			return err;
		scope->gid_set = true;
	}
	if (cred->uid != 0) {
		err = fsuid_set(cred->uid, &scope->old_uid);
		if (err)
			return err;
		scope->uid_set = true;
		return caps_raise(device);
	}
	return 0;
}

int cred_enter(struct cred_scope *scope, const struct store *s,
	       const struct store_cred *cred, bool device)
{
	int err;

	*scope = (struct cred_scope){.mode_mask = (mode_t)~0};
	if (!cred)
		return 0;
	err = ids_enter(scope, s, cred, device);
	if (err) {
		cred_leave(scope);
		return err;
	}
	/* Where the umask cannot be set apart the mode is masked instead:
	 * right but for directories with a default ACL, which ignore it. */
	if (umask_make_own()) {
		scope->old_umask = umask(cred->umask & 0777);
		scope->umask_set = true;
	} else {
		scope->mode_mask = (mode_t) ~(cred->umask & 0777);
	}
	return 0;
}

void cred_leave(struct cred_scope *scope)
{
	int saved_errno = errno;

	if (scope->umask_set)
		umask(scope->old_umask);
	if (scope->uid_set)
		(void)setfsuid(scope->old_uid);
	if (scope->gid_set)
		(void)setfsgid(scope->old_gid);
	errno = saved_errno;
}
