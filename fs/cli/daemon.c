/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fs/cli/cli.h"
#include "fs/cli/ui.h"

/* A byte, 0: ready; else: it failed, and that is its status, though a thread
 * that is stuck may keep it from ending. The end without one: it ended, and how
 * says why. */
static int wait_ready(int fd, pid_t child)
{
	char byte;
	ssize_t n;
	int status;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return (unsigned char)byte;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return MOUNT_SYSTEM;
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	ui_error("mount", "the daemon ended before it was ready");
	return MOUNT_SYSTEM;
}

int daemon_fork(int *ret_pipe, int *ret_status)
{
	const pid_t parent = getpid();
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	(void)fflush(NULL);
	child = fork();
	if (child < 0) {
		int err = -errno;

		close_fd(&ends[0]);
		close_fd(&ends[1]);
		return err;
	}
	if (child > 0) {
		close_fd(&ends[1]);
		*ret_status = wait_ready(ends[0], child);
		close_fd(&ends[0]);
		return 0;
	}
	close_fd(&ends[0]);
	(void)setsid();
	/* Who gives up waiting does not want to find it mounted later. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		_exit(MOUNT_SYSTEM);
	*ret_pipe = ends[1];
	return 1;
}

void daemon_ready(int *pipe_fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, 0);
	(void)fflush(NULL);
	if (null_fd >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			(void)dup2(null_fd, fd);
		if (null_fd > 2)
			close_fd(&null_fd);
	}
	/* A parent that was killed meanwhile need not know. */
	if (write(*pipe_fd, "", 1) < 0)
		errno = 0;
	close_fd(pipe_fd);
}

void daemon_failed(int *pipe_fd, int status)
{
	const unsigned char byte = (unsigned char)status;

	if (*pipe_fd >= 0 && status && write(*pipe_fd, &byte, 1) < 0)
		errno = 0;
	close_fd(pipe_fd);
}
