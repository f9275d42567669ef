/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz targets: functions that take bytes from outside. Each fuzz_<name>.c
 * defines LLVMFuzzerTestOneInput(); corpus/<name> holds inputs worth keeping.
 *
 * With -Dfuzz=true (clang) a target is a libFuzzer program:
 *
 *	fuzz_wire -max_total_time=60 tests/fuzz/corpus/wire
 *
 * In every build it is also linked with replay.c, which the tests run: all of
 * the corpus, and some thousand seeded mutations of it.
 *
 * A target never trusts its input with a path, and aborts when a promise of
 * the function's header is broken.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(cond)                                               \
	do {                                                           \
		if (!(cond)) {                                         \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, \
				      __LINE__, #cond);                \
			abort();                                       \
		}                                                      \
	} while (0)
