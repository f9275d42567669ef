#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the house rules that no compiler knows.

usage: check_style.py [ROOT]

Calls that are banned, notes left for later, functions above 100 lines, files
above 700 lines, blanks at line ends, and sleeps in tests (they wait for a
condition instead). Prints one line per offence and exits 1 if there are any.
"""

import re
import subprocess
import sys
from pathlib import Path

FUNCTION_LINES_MAX = 100
FILE_LINES_MAX = 700

FOLDERS = ("base", "meta", "fs", "resync", "tests", "scripts", "docs")
CODE = {".c", ".h"}
SCRIPT = {".sh", ".py", ""}
TEXT = {".sql", ".md", ".scd", ".build", ".txt", ".service"}

BANNED = re.compile(
    r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|system|popen)\s*\("
)
# Spelt so that this file does not offend itself.
LATER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
C_SLEEP = re.compile(r"(?<![\w.>])(sleep|usleep|nanosleep)\s*\(")
SHELL_SLEEP = re.compile(r"(^|[;&|(]|\bdo\b|\bthen\b)\s*sleep\s")
# A literal or a comment: neither is a call.
NOT_CODE = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.S
)


def blank_out(match):
    return "\n" * match.group(0).count("\n")


def long_functions(lines):
    """(line, length) of each function body that is too long.

    In this style the braces of a function, and of nothing else that holds
    statements, stand in the first column.
    """
    begin = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            begin = number
        elif line.startswith("}") and begin:
            if number - begin + 1 > FUNCTION_LINES_MAX:
                yield begin, number - begin + 1
            begin = None


def check_c(name, text, in_tests):
    code = NOT_CODE.sub(blank_out, text)
    for number, line in enumerate(code.splitlines(), 1):
        match = BANNED.search(line)
        if match:
            yield number, f"{match.group(1)}() is banned"
        if in_tests and C_SLEEP.search(line):
            yield number, "a test waits for a condition, it does not sleep"
    for number, length in long_functions(text.splitlines()):
        yield number, f"function of {length} lines"


def check_shell(name, text, in_tests):
    # The one place that polls is the helper which all tests wait with.
    if not in_tests or Path(name).name == "lib.sh":
        return
    for number, line in enumerate(text.splitlines(), 1):
        if SHELL_SLEEP.search(line):
            yield number, "a test waits for a condition, it does not sleep"


def check_file(root, name):
    path = root / name
    suffix = path.suffix
    if suffix not in CODE | SCRIPT | TEXT or not path.is_file():
        return
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return
    in_tests = name.startswith("tests/")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield number, "blank at the end of the line"
        if LATER.search(line):
            yield number, "a note for later: do it, or open an issue"
    if suffix in CODE:
        yield from check_c(name, text, in_tests)
    elif suffix == ".sh" or text.startswith("#!/usr/bin/env bash"):
        yield from check_shell(name, text, in_tests)
    if suffix in CODE | SCRIPT and len(lines) > FILE_LINES_MAX:
        yield 1, f"file of {len(lines)} lines"


def files_of(root):
    """Tracked and new files, or in an unpacked release all files."""
    try:
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={root}", "-C", str(root),
             "ls-files", "-co", "--exclude-standard"],
            check=True, capture_output=True, text=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listed = []
    if not listed:
        listed = [p.relative_to(root).as_posix() for p in root.rglob("*")]
    return sorted(
        name for name in listed
        if name.startswith(tuple(f + "/" for f in FOLDERS))
        and not name.startswith("tests/data/")
    )


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    offences = 0
    for name in files_of(root):
        for number, complaint in check_file(root, name):
            print(f"{name}:{number}: {complaint}")
            offences += 1
    print(f"style: {offences} offences" if offences else "style: ok")
    return 1 if offences else 0


sys.exit(main())
