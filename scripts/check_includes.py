#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check who includes whom.

usage: check_includes.py [ROOT]

    base  <-  meta      <-  fs/mirror, resync
    base  <-  fs/store  <-  fs/mirror, resync
    fs/mirror  <-  fs/mount, resync        everything  <-  fs/cli

sqlite3.h stands in meta/*.c only, the headers of FUSE in fs/mount/ only. A
.c file includes its own header first. Prints one line per offence and exits
1 if there are any.
"""

import re
import sys
from pathlib import Path

# What each folder may include besides itself.
ALLOWED = {
    "base": set(),
    "meta": {"base"},
    "fs/store": {"base"},
    "fs/mirror": {"base", "meta", "fs/store"},
    "resync": {"base", "meta", "fs/store", "fs/mirror"},
    "fs/mount": {"base", "meta", "fs/store", "fs/mirror"},
    "fs/cli": {
        "base", "meta", "fs/store", "fs/mirror", "fs/mount", "resync",
    },
}

# From outside meta/, only these of its headers.
META_PUBLIC = {"meta/meta.h", "meta/format.h"}

INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')


def folder_of(path):
    """The box that a path below the root belongs to, or None."""
    for folder in ALLOWED:
        if path.startswith(folder + "/"):
            return folder
    return None


def check_one(name, home, kind, header):
    """The complaint about one include, or None."""
    if kind == "<":
        if header == "sqlite3.h" and not (
            home == "meta" and name.endswith(".c")
        ):
            return "sqlite3.h belongs in meta/*.c"
        if header.startswith("fuse") and home != "fs/mount":
            return "FUSE headers belong in fs/mount/"
        return None
    target = folder_of(header)
    if target is None:
        # Made by the build, or beside the file: its own folder's business.
        return None if "/" not in header else f"{header} is in no folder"
    if target == home:
        return None
    if target not in ALLOWED[home]:
        return f"{home} may not include {header}"
    if target == "meta" and header not in META_PUBLIC:
        return f"{header} is private to meta/"
    return None


def check_file(root, path):
    name = path.relative_to(root).as_posix()
    home = folder_of(name)
    own = name[:-2] + ".h"
    first = True
    complaints = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, header = match.groups()
        complaint = check_one(name, home, kind, header)
        if complaint:
            complaints.append(f"{name}:{number}: {complaint}")
        if first and name.endswith(".c") and (root / own).exists():
            if header != own:
                complaints.append(f"{name}:{number}: {own} comes first")
        first = False
    return complaints


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    complaints = []
    for folder in ALLOWED:
        for path in sorted((root / folder).rglob("*.[ch]")):
            complaints += check_file(root, path)
    print("\n".join(complaints) if complaints else "includes: ok")
    return 1 if complaints else 0


sys.exit(main())
