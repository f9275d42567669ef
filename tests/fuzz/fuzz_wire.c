/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of the control socket sends, read until it breaks the rules. */
#include <sys/socket.h>
#include <unistd.h>

#include "fs/cli/wire.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire wire;
	json_t *message;
	int pair[2];
	int err;

	/* More would wait for a reader. */
	if (size > 100000)
		return 0;
	FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	FUZZ_CHECK(send(pair[1], data, size, MSG_NOSIGNAL) == (ssize_t)size);
	FUZZ_CHECK(!shutdown(pair[1], SHUT_WR));
	FUZZ_CHECK(!wire_init(&wire, pair[0]));
	do {
		message = NULL;
		err = wire_receive(&wire, 0, &message);
		FUZZ_CHECK(err || json_is_object(message));
		FUZZ_CHECK(!err || !message);
		json_decref(message);
	} while (!err);
	FUZZ_CHECK(err == -ENODATA || err == -EBADMSG || err == -EMSGSIZE);
	wire_done(&wire);
	(void)close(pair[1]);
	return 0;
}
