/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a command line, and lines that the kernel writes. */
#include "base/text.h"
#include "fs/cli/changes.h"
#include "fs/cli/mountinfo.h"
#include "tests/fuzz/fuzz.h"

#define NOW_NS UINT64_C(1800000000000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mount_entry row;
	char quoted[256];
	uint64_t value;
	char *text = malloc(size + 1);

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (!size_parse(text, &value)) {
		char printed[SIZE_TEXT_MAX];

		FUZZ_CHECK(strlen(size_format(printed, value)) <
			   sizeof(printed));
	}
	ignore_result(changes_parse_time(text, NOW_NS, &value));
	ignore_result(mountinfo_parse_line(text, &row));
	FUZZ_CHECK(strlen(path_quote(quoted, sizeof(quoted), text)) <
		   sizeof(quoted));
	/* What is printed can neither break a line nor steer a terminal. */
	for (const char *p = quoted; *p; p++)
		FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
	free(text);
	return 0;
}
