/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind -o. */
#include "fs/mount/mount.h"
#include "tests/fuzz/fuzz.h"

/* What a mount tells of itself is what it was told. */
static void check_same(const struct mount_options *options)
{
	const char *name;
	char *text = NULL;

	FUZZ_CHECK(!mount_options_text(options, &text));
	FUZZ_CHECK(!mount_options_differ(
		options, text, options->fsname ? options->fsname : "", &name));
	FUZZ_CHECK(!name || strcmp(name, "context=") == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mount_options options;
	char why[MOUNT_WHY_MAX];
	char *text = malloc(size + 1);
	int err;

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	mount_options_init(&options);
	why[0] = '\0';
	err = mount_options_parse(&options, text, why);
	FUZZ_CHECK(!err || err == -EINVAL || err == -EOPNOTSUPP);
	FUZZ_CHECK(!err == !why[0]);
	FUZZ_CHECK(memchr(why, '\0', sizeof(why)));
	if (!err)
		check_same(&options);
	mount_options_done(&options);
	free(text);
	return 0;
}
