#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Numbers and handles outlive a mount.

usage: posix_remount.py remember|compare DIRECTORY FILE

`remember` writes the inode number, attributes and handle of everything below
DIRECTORY to FILE; `compare` finds all of it again, the handles first, when the
kernel knows nothing yet.
"""

import os
import pickle
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from posix_dirs import handle_of, open_handle  # noqa: E402
from posix_side import walk  # noqa: E402


def attributes(st):
    return (st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid,
            st.st_size, st.st_rdev, st.st_mtime_ns)


def main():
    action, top, file = sys.argv[1:]
    os.chdir(top)
    if action == "remember":
        known = {path: (attributes(os.lstat(path)), bytes(handle_of(path)))
                 for path in walk(".")}
        with open(file, "wb") as out:
            pickle.dump(known, out)
        return 0
    with open(file, "rb") as saved:
        known = pickle.load(saved)
    wrong = 0
    for path, (was, handle) in sorted(known.items()):
        try:
            fd = open_handle(handle, os.O_PATH)
            now = attributes(os.fstat(fd))
            os.close(fd)
        except OSError as error:
            now = error
        if now != was:
            print(f"by handle: {path}: {was}, now {now}")
            wrong += 1
    for path, (was, _) in sorted(known.items()):
        now = attributes(os.lstat(path))
        if now != was:
            print(f"by path: {path}: {was}, now {now}")
            wrong += 1
    gone = set(walk(".")) ^ set(known)
    if gone:
        print(f"other names: {sorted(gone)[:10]}")
    print(f"{len(known)} known, {wrong} changed")
    return 1 if wrong or gone else 0


if __name__ == "__main__":
    sys.exit(main())
