/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, in the few shapes that this program speaks.
 *
 * A path or a name may hold any bytes; JSON holds UTF-8. Such a value is the
 * key with the escaped text, and beside it KEY_hex with the bytes as they
 * are, where the two differ.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define _cleanup_json_ _cleanup_(json_decrefp)

/* A string: the text, escaped where it is not UTF-8. NULL: no memory. */
json_t *json_safe(const char *text);

/*
 * Every setter takes a NULL object for "no memory came before" and leaves it
 * at that, so that a row of them is checked once: the last says -ENOMEM.
 */
MUST_CHECK int json_put_bytes(json_t *object, const char *key,
			      const char *bytes);
MUST_CHECK int json_put_number(json_t *object, const char *key,
			       uint64_t number);
MUST_CHECK int json_put_text(json_t *object, const char *key, const char *text);
/* Seconds with milliseconds; negative: null. */
MUST_CHECK int json_put_seconds(json_t *object, const char *key,
				double seconds);

/**
 * json_get_bytes - the bytes that json_put_bytes() was given.
 * Return: 0, -ENOENT (no such key), -EINVAL (not a text), -ENAMETOOLONG
 */
MUST_CHECK int json_get_bytes(const json_t *object, const char *key, char *buf,
			      size_t size);

/* What is missing or of another kind reads as 0, -1.0, "" or false. */
uint64_t json_number(const json_t *object, const char *key);
double json_seconds(const json_t *object, const char *key);
const char *json_text(const json_t *object, const char *key);
bool json_flag(const json_t *object, const char *key);

/**
 * json_print - one object on stdout, indented. Whether it went out is seen, and
 * told, when the program ends.
 * Return: 0, -ENOMEM
 */
MUST_CHECK int json_print(const json_t *value);
