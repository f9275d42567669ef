# SPDX-License-Identifier: Apache-2.0
"""What the resync benchmark works on, how it is changed, and how two copies of
it are compared.

One sparse file (about half of it mapped, in runs of random content) and a tree
of small files (log-normal sizes) with some hard links, symlinks and xattrs.
Changed while a replica is away: random 4 KiB writes to 1 % of the mapped blocks,
64 MiB of holes punched, 1 % of the small files changed, some deleted, created,
renamed, 2 directories renamed, some modes and xattrs changed.
"""
import ctypes
import hashlib
import os
import random
import stat as st_

MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def punch(fd, off, n):
    if libc.fallocate(fd, 3, ctypes.c_long(off), ctypes.c_long(n)):   # PUNCH_HOLE | KEEP_SIZE
        raise OSError(ctypes.get_errno(), "punch")


def runs(seed, big_mib):
    """Mapped runs (offset, length) of the big file, in MiB."""
    r, pos, out = random.Random(seed), 0, []
    while pos < big_mib:
        n = min(r.randint(1, 16), big_mib - pos)
        out.append((pos, n))
        pos += n + r.randint(1, 16)
    return out


def build(root, big_mib, files):
    r = random.Random(1)
    with open(root + "/big.img", "wb") as f:
        for pos, n in runs(1, big_mib):
            f.seek(pos * MIB)
            for _ in range(n):
                f.write(r.randbytes(MIB))
        f.truncate(big_mib * MIB)
    nd = max(4, files // 50)
    for i in range(nd):
        os.makedirs("%s/tree/t%02d/d%03d" % (root, i % 20, i))
    for i in range(files):
        n = min(1000000, int(r.lognormvariate(8.3, 1.2)))
        with open("%s/tree/t%02d/d%03d/f%05d" % (root, i % nd % 20, i % nd, i), "wb") as f:
            f.write(r.randbytes(n))
    for i in range(50):
        p = "%s/tree/t%02d/d%03d" % (root, i % nd % 20, i % nd)
        os.link("%s/f%05d" % (p, i), "%s/hard%03d" % (p, i))
        os.symlink("f%05d" % i, "%s/sym%03d" % (p, i))
        os.setxattr("%s/f%05d" % (p, i), "user.bench", b"v1-%d" % i)
    os.sync()


def listing(root):
    return sorted(os.path.relpath(os.path.join(d, f), root)
                  for d, _, fs in os.walk(root + "/tree") for f in fs if f.startswith(("f", "n", "r")))


def mutate(root, seed, big_mib, files):
    """Change the data set; return (list of changes, bytes that had to change)."""
    r, log_, need = random.Random(seed * 1000 + 17), [], 0
    fd = os.open(root + "/big.img", os.O_RDWR)
    blocks = [b for pos, n in runs(1, big_mib) for b in range(pos * 256, (pos + n) * 256)]
    for pos, n in r.sample([x for x in runs(1, big_mib) if x[1] >= 4], min(16, len(runs(1, big_mib)) // 4)):
        o = (pos + r.randint(0, n - 4)) * MIB
        punch(fd, o, 4 * MIB)
        log_.append(("punch", "big.img", o, 4 * MIB))
    for b in r.sample(blocks, len(blocks) // 100):
        os.pwrite(fd, r.randbytes(4096), b * 4096)
        log_.append(("write", "big.img", b * 4096, 4096))
        need += 4096
    os.close(fd)
    fs = listing(root)
    r.shuffle(fs)
    k = max(1, files // 200)
    for i, p in enumerate(fs[:2 * k]):                      # changed: half in place, half grown
        with open(root + "/" + p, "r+b" if i % 2 else "ab") as f:
            f.write(r.randbytes(min(4096, max(1, os.path.getsize(root + "/" + p)))))
        log_.append(("copy", p))
        need += os.path.getsize(root + "/" + p)
    for p in fs[2 * k:3 * k]:
        os.unlink(root + "/" + p)
        log_.append(("del", p))
    for i, p in enumerate(fs[3 * k:4 * k]):                 # created
        q = os.path.join(os.path.dirname(p), "n%d-%05d" % (seed, i))
        with open(root + "/" + q, "wb") as f:
            f.write(r.randbytes(min(1000000, int(r.lognormvariate(8.3, 1.2)))))
        log_.append(("copy", q))
        need += os.path.getsize(root + "/" + q)
    m = max(1, k * 2 // 5)
    for i, p in enumerate(fs[4 * k:4 * k + m]):             # renamed, to another directory
        q = os.path.join(os.path.dirname(fs[4 * k + m + i]), "r%d-%05d" % (seed, i))
        os.rename(root + "/" + p, root + "/" + q)
        log_.append(("rename", p, q))
    for p in fs[5 * k:5 * k + max(1, k // 5)]:
        os.chmod(root + "/" + p, 0o600 if seed % 2 else 0o640)
        log_.append(("chmod", p))
    for p in fs[6 * k:6 * k + max(1, k // 10)]:
        os.setxattr(root + "/" + p, "user.bench", b"round%d" % seed)
        log_.append(("xattr", p))
    tops = sorted(os.listdir(root + "/tree"))
    for i, t in enumerate(r.sample(tops, 2)):               # directories, each with many files
        subs = sorted(os.listdir(root + "/tree/" + t))
        s = r.choice(subs)
        a, b = "tree/%s/%s" % (t, s), "tree/%s/x%d-%d-%s" % (t, seed, i, s)
        os.rename(root + "/" + a, root + "/" + b)
        log_.append(("rename", a, b))
    return log_, need


def replay(a, b, changes):
    """The floor: apply the known changes to b. Names are the final ones in a,
    so renames of directories are applied first and paths mapped through them."""
    ren = [(c[1], c[2]) for c in changes if c[0] == "rename" and os.path.isdir(a + "/" + c[2])]

    def final(p):
        for x, y in ren:
            if p.startswith(x + "/"):
                return y + p[len(x):]
        return p
    dirs = set()
    for x, y in ren:
        os.rename(b + "/" + x, b + "/" + y)
        dirs.update((os.path.dirname(x), y))
    fa, fb = os.open(a + "/big.img", os.O_RDONLY), os.open(b + "/big.img", os.O_RDWR)
    # order does not matter for the result when data is read from the final state
    wr = sorted(c[2] for c in changes if c[0] == "write")
    for c in changes:
        if c[0] == "punch":
            punch(fb, c[2], c[3])
    for o in wr:
        os.pwrite(fb, os.pread(fa, 4096, o), o)
    os.close(fa)
    os.close(fb)

    def meta(p):
        s = os.lstat(a + "/" + p)
        if st_.S_ISREG(s.st_mode):
            have = set(os.listxattr(a + "/" + p))
            for x in have:
                os.setxattr(b + "/" + p, x, os.getxattr(a + "/" + p, x))
            os.chmod(b + "/" + p, s.st_mode & 0o7777)
        os.utime(b + "/" + p, ns=(s.st_atime_ns, s.st_mtime_ns))
    meta("big.img")
    for c in changes:
        p = final(c[1])
        dirs.add(os.path.dirname(p))
        if c[0] == "copy":
            with open(a + "/" + p, "rb") as f, open(b + "/" + p, "r+b" if os.path.exists(b + "/" + p) else "wb") as g:
                g.write(f.read())
                g.truncate()
            meta(p)
        elif c[0] == "del":
            os.unlink(b + "/" + p)
        elif c[0] == "rename" and not (c[1], c[2]) in ren:
            q = final(c[2])
            os.rename(b + "/" + p, b + "/" + q)
            dirs.add(os.path.dirname(q))
        elif c[0] in ("chmod", "xattr"):
            meta(p)
    for d in dirs:
        if d.startswith("tree") and os.path.isdir(a + "/" + d):
            meta(d)


def manifest(root, skip=(".glusterfs", "lost+found", ".trashcan", ".seqmirror")):
    m = {}
    for d, ds, fs in os.walk(root):
        ds[:] = [x for x in ds if x not in skip]
        for n in fs + ds:
            p = os.path.join(d, n)
            s = os.lstat(p)
            kind = st_.S_IFMT(s.st_mode)
            h = x = None
            if st_.S_ISREG(s.st_mode):
                with open(p, "rb") as f:
                    h = hashlib.file_digest(f, "sha1").hexdigest()
                x = tuple(sorted((k, os.getxattr(p, k)) for k in os.listxattr(p) if k.startswith("user.")))
            elif st_.S_ISLNK(s.st_mode):
                h = os.readlink(p)
            m[os.path.relpath(p, root)] = {"data": (kind, s.st_size if h and x is not None else 0, h),
                                           "mode": s.st_mode, "xattr": x, "mtime": s.st_mtime_ns // 10**9,
                                           "mtime below 1 s": s.st_mtime_ns,
                                           "nlink": s.st_nlink if kind == st_.S_IFREG else 0}
    return m


def compare(a, b, links=True):
    ma, mb = a if isinstance(a, dict) else manifest(a), b if isinstance(b, dict) else manifest(b)
    out = {"names": len(set(ma) ^ set(mb))}
    for k in ("data", "mode", "xattr", "mtime", "mtime below 1 s", "nlink"):
        if k == "nlink" and not links:
            continue
        out[k] = sum(1 for p in ma if p in mb and ma[p][k] != mb[p][k])
    return {k: v for k, v in out.items() if v}


def mapped(p):
    return os.stat(p).st_blocks * 512
