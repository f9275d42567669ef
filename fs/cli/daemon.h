/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon - a command that returns when its work is up and running.
 *
 * The work is done in a child from the start, since threads and file locks
 * do not survive a fork. The child keeps the terminal's stderr until it is
 * ready, so that errors are seen by who called; then it leaves the terminal.
 */
#pragma once

#include "base/cleanup.h"

/**
 * daemon_fork - go on in a child of its own session.
 * @ret_pipe: in the child: for daemon_ready()
 * @ret_status: in the parent: what the child ended with before it was ready,
 * or said that it fails with; 0 when it is ready
 * Return: 1 in the child, 0 in the parent, -errno
 */
MUST_CHECK int daemon_fork(int *ret_pipe, int *ret_status);

/** daemon_ready - let the parent return 0, and leave the terminal. */
void daemon_ready(int *pipe_fd);

/**
 * daemon_failed - let the parent return @status, if it still waits: also where
 * a thread is stuck that keeps this process from ending.
 */
void daemon_failed(int *pipe_fd, int status);
