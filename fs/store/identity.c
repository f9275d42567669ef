/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file .seqmirror/store: who this store is.
 *
 *	format=1
 *	volume=8f14e45f-ceea-467f-a0e6-9d3b1c7f5a10
 *	store=45c48cce-2e2d-4fbd-aa1a-fc51c7c6ad26
 *	name=left
 *
 * It exists whole or not at all: written under another name, made durable,
 * renamed. It is read strictly, since everything on the store is believed
 * because of it: each key once, no other, nothing around the values. A higher
 * format number is a newer file, whatever else it holds.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "fs/store/internal.h"

enum {
	IDENTITY_MAX_BYTES = 1024,
};

static bool name_valid(const char *name)
{
	size_t len = strnlen(name, sizeof(((struct store_identity *)0)->name));
	size_t i;

	if (!len || len >= sizeof(((struct store_identity *)0)->name))
		return false;
	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c == 0x7f)
			return false;
	}
	return name[0] != ' ' && name[len - 1] != ' ';
}

bool identity_valid(const struct store_identity *id)
{
	return id->format == STORE_FORMAT && name_valid(id->name) &&
	       strnlen(id->volume_uuid, sizeof(id->volume_uuid)) == 36 &&
	       strnlen(id->store_uuid, sizeof(id->store_uuid)) == 36 &&
	       uuid_valid(id->volume_uuid) && uuid_valid(id->store_uuid);
}

/* Set @dst (@size) from @value unless it was set before or does not fit. */
static int take_value(char *dst, size_t size, const char *value)
{
	size_t len = strlen(value);

	if (dst[0] || !len || len >= size)
		return -EUCLEAN;
	memcpy(dst, value, len + 1);
	return 0;
}

/* A number as it is printed: digits, no sign, no zero in front. */
static int take_format(unsigned int *format, const char *value)
{
	unsigned int n = 0;
	const char *p;

	if (*format || value[0] == '0' || !value[0])
		return -EUCLEAN;
	for (p = value; *p; p++) {
		if (*p < '0' || *p > '9' || p - value >= 9)
			return -EUCLEAN;
		n = n * 10 + (unsigned int)(*p - '0');
	}
	*format = n;
	return 0;
}

/* One line, without its newline. @known: false where the key is none. */
static int parse_line(char *line, struct store_identity *id, bool *ret_known)
{
	char *value = strchr(line, '=');

	*ret_known = true;
	if (!value)
		return -EUCLEAN;
	*value++ = '\0';
	if (!strcmp(line, "format"))
		return take_format(&id->format, value);
	if (!strcmp(line, "volume"))
		return take_value(id->volume_uuid, sizeof(id->volume_uuid),
				  value);
	if (!strcmp(line, "store"))
		return take_value(id->store_uuid, sizeof(id->store_uuid),
				  value);
	if (!strcmp(line, "name"))
		return take_value(id->name, sizeof(id->name), value);
	*ret_known = false;
	return 0;
}

/* @text: @len bytes and a NUL behind them; taken to pieces. */
static int identity_parse(char *text, size_t len, struct store_identity *ret_id)
{
	struct store_identity id = {0};
	bool damaged = false;
	char *line = text;

	if (!len || text[len - 1] != '\n' || memchr(text, '\0', len))
		return -EUCLEAN;
	while (*line) {
		char *end = strchr(line, '\n');
		bool known;
		int err;

		*end = '\0';
		err = parse_line(line, &id, &known);
		if (err || !known)
			damaged = true;
		line = end + 1;
	}
	if (id.format > STORE_FORMAT)
		return -EPROTO;
	if (damaged || !identity_valid(&id))
		return -EUCLEAN;
	*ret_id = id;
	return 0;
}

int identity_read(int priv_fd, struct store_identity *ret_id)
{
	_cleanup_close_ int fd = -1;
	char text[IDENTITY_MAX_BYTES + 1];
	struct stat st;
	size_t len = 0;

	fd = RETRY_EINTR(openat(priv_fd, STORE_FILE,
				O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
					O_CLOEXEC));
	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -EUCLEAN : -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > IDENTITY_MAX_BYTES)
		return -EUCLEAN;
	for (;;) {
		ssize_t n = RETRY_EINTR(
			read(fd, text + len, IDENTITY_MAX_BYTES - len));

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	return identity_parse(text, len, ret_id);
}

static int write_durable(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = RETRY_EINTR(write(fd, text, len));

		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return sys_result(RETRY_EINTR(fsync(fd)));
}

int identity_write(int priv_fd, const struct store_identity *id)
{
	_cleanup_close_ int fd = -1;
	char text[IDENTITY_MAX_BYTES];
	int len, err;

	assert(identity_valid(id));
	len = snprintf(text, sizeof(text),
		       "format=%u\nvolume=%s\nstore=%s\nname=%s\n", id->format,
		       id->volume_uuid, id->store_uuid, id->name);
	assert(len > 0 && (size_t)len < sizeof(text));

	if (unlinkat(priv_fd, STORE_FILE_NEW, 0) && errno != ENOENT)
		return -errno;
	fd = RETRY_EINTR(openat(
		priv_fd, STORE_FILE_NEW,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
	if (fd < 0)
		return -errno;
	err = write_durable(fd, text, (size_t)len);
	if (!err)
		err = sys_result(
			renameat(priv_fd, STORE_FILE_NEW, priv_fd, STORE_FILE));
	if (err) {
		(void)unlinkat(priv_fd, STORE_FILE_NEW, 0);
		return err;
	}
	return sys_result(RETRY_EINTR(fsync(priv_fd)));
}
