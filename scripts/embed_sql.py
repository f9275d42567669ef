#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn the SQL files of meta/sql/ into a C header.

usage: embed_sql.py OUTPUT SQL_DIR

Reads, below SQL_DIR:

    statements.sql          blocks headed "-- name: extent_stale_by_seq";
                            comment lines below say what each is for
    schema.sql              the whole schema of the current version
    migrate/NNN-what.sql    one step each: from version NNN - 1 to NNN

and writes

    enum meta_stmt_id       STMT_EXTENT_STALE_BY_SEQ, ..., STMT_COUNT
    meta_stmt_table[]       {name, sql}, by that enum
    meta_schema_sql         schema.sql as one string
    meta_migrations[]       {version, what, sql}, rising
    META_MIGRATION_COUNT

Comments and blank ends of lines are left out of the strings. Only one .c
file may include the tables: it defines META_SQL_TABLES first. All others
get the enum.
"""

import re
import sys
from pathlib import Path

NAME_LINE = re.compile(r"--\s*name:\s*(\S+)\s*$")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+$")
STEP = re.compile(r"(\d{3})-([a-z0-9-]+)\.sql$")


def fail(message):
    sys.exit(f"embed_sql.py: {message}")


def strip_comment(line):
    """The line without a trailing "-- ..." that stands outside quotes."""
    quote = None
    for i, char in enumerate(line):
        if quote:
            quote = None if char == quote else quote
        elif char in "'\"":
            quote = char
        elif line.startswith("--", i):
            return line[:i].rstrip()
    return line.rstrip()


def strip_comments(lines):
    stripped = (strip_comment(line) for line in lines)
    return [line for line in stripped if line]


def c_string(lines, indent):
    """The lines as adjacent C literals, one per line."""
    if not lines:
        return f'{indent}""'
    quoted = []
    for line in lines:
        text = line.replace("\\", "\\\\").replace('"', '\\"')
        text = text.replace("\t", "\\t")
        quoted.append(f'{indent}"{text}\\n"')
    return "\n".join(quoted)


def read_statements(path):
    """(name, lines of SQL) in the order of the file."""
    statements = []
    seen = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        match = NAME_LINE.match(line)
        if match:
            name = match.group(1)
            if not NAME.match(name):
                fail(f"{path}:{number}: not a noun_verb name: {name}")
            if name in seen:
                fail(f"{path}:{number}: {name} a second time")
            seen.add(name)
            statements.append((name, []))
        elif statements:
            statements[-1][1].append(line)
        elif strip_comments([line]):
            fail(f"{path}:{number}: SQL before the first name")
    result = []
    for name, lines in statements:
        sql = strip_comments(lines)
        if not sql:
            fail(f"{path}: {name} has no SQL")
        if sum(line.count(";") for line in sql) > 1 or (
            ";" in "".join(sql) and not sql[-1].endswith(";")
        ):
            fail(f"{path}: {name} must be one statement")
        result.append((name, sql))
    return result


def read_migrations(folder):
    """(version, what, lines) rising; a gap in the numbers is an error."""
    steps = []
    for path in sorted(folder.glob("*.sql")) if folder.is_dir() else []:
        match = STEP.match(path.name)
        if not match:
            fail(f"{path}: not named NNN-what.sql")
        lines = strip_comments(path.read_text("utf-8").splitlines())
        steps.append((int(match.group(1)), match.group(2), lines))
    for before, after in zip(steps, steps[1:]):
        if after[0] != before[0] + 1:
            fail(f"{folder}: no step between {before[0]} and {after[0]}")
    return steps


def emit(statements, schema, migrations):
    out = ["/* Made by embed_sql.py from meta/sql/; not to be edited. */"]
    out += ["#pragma once", "", "enum meta_stmt_id {"]
    out += [f"\tSTMT_{name.upper()}," for name, _ in statements]
    out += ["\tSTMT_COUNT", "};", ""]
    out += [f"#define META_MIGRATION_COUNT {len(migrations)}", ""]
    out += ["#ifdef META_SQL_TABLES", ""]

    out += ["static const struct meta_stmt_text {"]
    out += ["\tconst char *name;", "\tconst char *sql;"]
    out += ["} meta_stmt_table[STMT_COUNT + 1] = {"]
    for name, sql in statements:
        out += [f'\t[STMT_{name.upper()}] = {{"{name}",']
        out += [c_string(sql, "\t\t") + "},"]
    out += ["\t[STMT_COUNT] = {0, 0},", "};", ""]

    out += ["static const char meta_schema_sql[] ="]
    out += [c_string(schema, "\t") + ";", ""]

    out += ["static const struct meta_migration {"]
    out += ["\tint version;", "\tconst char *what;", "\tconst char *sql;"]
    out += ["} meta_migrations[META_MIGRATION_COUNT + 1] = {"]
    for version, what, sql in migrations:
        out += [f'\t{{{version}, "{what}",']
        out += [c_string(sql, "\t\t") + "},"]
    out += ["\t{0, 0, 0},", "};", "", "#endif", ""]
    return "\n".join(out)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sql_dir = Path(sys.argv[2])
    schema_path = sql_dir / "schema.sql"
    text = emit(
        read_statements(sql_dir / "statements.sql"),
        strip_comments(schema_path.read_text("utf-8").splitlines()),
        read_migrations(sql_dir / "migrate"),
    )
    Path(sys.argv[1]).write_text(text, "utf-8")


main()
