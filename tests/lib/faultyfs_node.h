/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of faultyfs: named by the inode number of the source, each with an
 * O_PATH descriptor.  Thread-safe; a node lives until the kernel forgets it.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <stdint.h>

#define CONTROL_INO (UINT64_MAX - 1)

struct node {
	uint64_t ino;
	int fd;
	uint64_t nlookup;
	char name[256];
	struct node *next;
};

extern struct node root_node;

/* NULL: not known. */
struct node *node_of(fuse_ino_t ino);
/* The name for the rules: the one by which it was found last. */
char *name_of(fuse_ino_t ino, char name[256]);
void node_rename(struct node *n, const char *name);
/* Look up, with one lookup count more. Return: 0, -errno */
int find(fuse_ino_t parent, const char *name, struct fuse_entry_param *e);
void node_forget(fuse_ino_t ino, uint64_t nlookup);

struct proc_path {
	char text[64];
};
/* Its path under /proc/self/fd. */
struct proc_path proc_of(fuse_ino_t ino);

/* FUSE_SET_ATTR_* of @what. Return: 0, -errno */
int set_attrs(fuse_ino_t ino, const struct stat *want, int what);
