/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "base/vec.h"
#include "fs/cli/ui.h"

struct cell {
	enum ui_colour colour;
	char text[UI_CELL_MAX];
};

struct note {
	size_t after_row; /* number of rows above it */
	char *text;
};

struct ui_table {
	unsigned int columns;
	unsigned int right;
	VEC(struct cell) cells;
	VEC(struct note) notes;
};

struct ui_table *ui_table_new(unsigned int columns, unsigned int right)
{
	struct ui_table *t = calloc(1, sizeof(*t));

	assert(columns > 0 && columns <= UI_TABLE_COLUMNS);
	if (!t)
		return NULL;
	t->columns = columns;
	t->right = right;
	return t;
}

void ui_table_free(struct ui_table *t)
{
	if (!t)
		return;
	vec_for_each (note, &t->notes)
		free(note->text);
	vec_done(&t->notes);
	vec_done(&t->cells);
	free(t);
}

int ui_table_cell(struct ui_table *t, enum ui_colour colour, const char *fmt,
		  ...)
{
	struct cell cell = {.colour = colour};
	char raw[UI_CELL_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	(void)text_escape(cell.text, sizeof(cell.text), raw);
	return vec_push(&t->cells, cell);
}

int ui_table_note(struct ui_table *t, const char *fmt, ...)
{
	_cleanup_free_ char *raw = NULL;
	struct note note = {.after_row = t->cells.count / t->columns};
	va_list args;
	size_t size;
	int n;

	va_start(args, fmt);
	n = vasprintf(&raw, fmt, args);
	va_end(args);
	if (n < 0) {
		raw = NULL;
		return -ENOMEM;
	}
	size = (size_t)n * 4 + 8;
	note.text = malloc(size);
	if (!note.text)
		return -ENOMEM;
	(void)text_escape(note.text, size, raw);
	n = vec_push(&t->notes, note);
	if (n < 0)
		free(note.text);
	return n;
}

/* Characters rather than bytes; the text is valid UTF-8. */
static size_t text_columns(const char *text)
{
	size_t columns = 0;

	for (; *text; text++)
		columns += (*text & 0xc0) != 0x80;
	return columns;
}

static void pad(size_t columns)
{
	while (columns--)
		(void)putchar(' ');
}

static void print_cell(const struct ui_table *t, unsigned int column,
		       const struct cell *cell, size_t width)
{
	size_t columns = text_columns(cell->text);
	bool right = t->right & (1u << column);
	bool last = column + 1 == t->columns;
	bool painted = cell->colour != UI_PLAIN;

	if (right)
		pad(width - columns);
	(void)printf("%s%s%s", painted ? ui_paint(cell->colour) : "",
		     cell->text, painted ? ui_paint(UI_PLAIN) : "");
	if (!right && !last)
		pad(width - columns);
	if (!last)
		pad(2);
}

void ui_table_print(const struct ui_table *t)
{
	size_t width[UI_TABLE_COLUMNS] = {0};
	size_t rows = t->cells.count / t->columns;
	size_t note = 0;

	for (size_t i = 0; i < t->cells.count; i++)
		width[i % t->columns] =
			MAX(width[i % t->columns],
			    text_columns(t->cells.data[i].text));
	for (size_t row = 0; row < rows; row++) {
		pad(2);
		for (unsigned int c = 0; c < t->columns; c++)
			print_cell(t, c, &t->cells.data[row * t->columns + c],
				   width[c]);
		(void)putchar('\n');
		for (; note < t->notes.count &&
		       t->notes.data[note].after_row == row + 1;
		     note++)
			(void)printf("    %s\n", t->notes.data[note].text);
	}
}
