/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/cli/json_util.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const char hex_digits[] = "0123456789abcdef";

/* A new reference goes to the object or is let go. */
static int put(json_t *object, const char *key, json_t *value)
{
	if (!object || !value) {
		json_decref(value);
		return -ENOMEM;
	}
	return json_object_set_new(object, key, value) < 0 ? -ENOMEM : 0;
}

int json_put_number(json_t *object, const char *key, uint64_t number)
{
	/* JSON numbers of Jansson are signed; none of ours gets there. */
	if (number > INT64_MAX)
		number = INT64_MAX;
	return put(object, key, json_integer((json_int_t)number));
}

int json_put_seconds(json_t *object, const char *key, double seconds)
{
	if (!isfinite(seconds) || seconds < 0.0)
		return put(object, key, json_null());
	return put(object, key, json_real(round(seconds * 1000.0) / 1000.0));
}

json_t *json_safe(const char *text)
{
	_cleanup_free_ char *safe = NULL;
	json_t *value = json_string(text);
	size_t size;

	if (value)
		return value;
	/* Not UTF-8, or no memory, which comes out below. */
	size = strlen(text) * 4 + 8;
	safe = malloc(size);
	if (!safe)
		return NULL;
	(void)text_escape(safe, size, text);
	return json_string(safe);
}

int json_put_text(json_t *object, const char *key, const char *text)
{
	return put(object, key, json_safe(text));
}

static int put_hex(json_t *object, const char *key, const char *bytes)
{
	_cleanup_free_ char *hex_key = NULL;
	_cleanup_free_ char *hex = NULL;
	size_t len = strlen(bytes);

	hex = malloc(2 * len + 1);
	if (!hex || asprintf(&hex_key, "%s_hex", key) < 0) {
		hex_key = NULL;
		return -ENOMEM;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		hex[2 * i] = hex_digits[byte >> 4];
		hex[2 * i + 1] = hex_digits[byte & 15];
	}
	hex[2 * len] = '\0';
	return put(object, hex_key, json_string(hex));
}

int json_put_bytes(json_t *object, const char *key, const char *bytes)
{
	json_t *plain = json_string(bytes);
	int err;

	if (plain)
		return put(object, key, plain);
	err = json_put_text(object, key, bytes);
	return err ? err : put_hex(object, key, bytes);
}

static int hex_value(char digit)
{
	const char *at = digit ? strchr(hex_digits, digit) : NULL;

	return at ? (int)(at - hex_digits) : -1;
}

static int get_hex(const char *hex, char *buf, size_t size)
{
	size_t len = strlen(hex);

	if (len % 2)
		return -EINVAL;
	if (len / 2 >= size)
		return -ENAMETOOLONG;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_value(hex[i]);
		int low = hex_value(hex[i + 1]);

		if (high < 0 || low < 0 || high + low == 0)
			return -EINVAL;
		buf[i / 2] = (char)(high * 16 + low);
	}
	buf[len / 2] = '\0';
	return 0;
}

int json_get_bytes(const json_t *object, const char *key, char *buf,
		   size_t size)
{
	char hex_key[64];
	const json_t *value;
	const char *text;

	(void)snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	value = json_object_get(object, hex_key);
	if (value) {
		text = json_string_value(value);
		return text ? get_hex(text, buf, size) : -EINVAL;
	}
	value = json_object_get(object, key);
	if (!value)
		return -ENOENT;
	text = json_string_value(value);
	if (!text)
		return -EINVAL;
	if (strlen(text) >= size)
		return -ENAMETOOLONG;
	(void)snprintf(buf, size, "%s", text);
	return 0;
}

uint64_t json_number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 ? 0 : (uint64_t)value;
}

double json_seconds(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : -1.0;
}

const char *json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

bool json_flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

int json_print(const json_t *value)
{
	if (json_dumpf(value, stdout,
		       JSON_INDENT(2) | JSON_REAL_PRECISION(15)) &&
	    !ferror(stdout))
		return -ENOMEM;
	(void)putchar('\n');
	return 0;
}
