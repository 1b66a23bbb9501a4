"""
treemodel.py: random changes of a tree, done on a mount and on a local directory alike; the local directory is the model. Used by the
cases that compare what is left: after the changes, after a restart, after a crash.
"""
import random

from stm import *  # noqa

DIRS = ["", "a", "b", "a/c", "a/c/d", "b/e"]
NAMES = ["f", "f", "g", "g", "h", "a", "b", "c", "d", "e"]


def attempt(fn, *args):
    try:
        return fn(*args)
    except OSError as e:
        return errno.errorcode[e.errno]


def append(p, data):
    fd = os.open(p, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def create_new(p):
    os.close(os.open(p, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))


def read_all(p):
    st = os.lstat(p)
    return get(p) if stat.S_ISREG(st.st_mode) else st.st_mode


def told(top):
    out = {}
    for base, dirs, files in os.walk(top):
        for n in dirs + files:
            p = os.path.join(base, n)
            st = os.lstat(p)
            body = os.readlink(p) if stat.S_ISLNK(st.st_mode) else get(p) if stat.S_ISREG(st.st_mode) else None
            x = sorted((a, os.getxattr(p, a)) for a in os.listxattr(p, follow_symlinks=False)) if not stat.S_ISLNK(st.st_mode) else None
            out[os.path.relpath(p, top)] = (oct(st.st_mode), st.st_nlink, body, x, st.st_size if not stat.S_ISDIR(st.st_mode) else 0)
    return out


def links(top):
    """Which names are one file."""
    groups = {}
    for base, dirs, files in os.walk(top):
        for n in files:
            p = os.path.join(base, n)
            groups.setdefault(os.lstat(p).st_ino, []).append(os.path.relpath(p, top))
    return sorted(sorted(g) for g in groups.values())


def step(rng, n):
    """A change, as a function of the tree's top."""
    def pick():
        d, f = rng.choice(DIRS), rng.choice(NAMES)
        return lambda top: os.path.join(top, d, f)
    p, q, data, mode = pick(), pick(), rng.randbytes(rng.choice([0, 5, 300, 5000, 70000])), rng.choice([0o600, 0o644, 0o755])
    flag = rng.choice([RENAME_NOREPLACE, RENAME_EXCHANGE])
    return rng.choice([
        ("put", lambda t: put(p(t), data)), ("put", lambda t: put(p(t), data)), ("append", lambda t: append(p(t), data[:100])),
        ("create", lambda t: create_new(p(t))), ("mkdir", lambda t: os.mkdir(p(t))), ("mkdir", lambda t: os.mkdir(p(t))),
        ("rmdir", lambda t: os.rmdir(p(t))), ("unlink", lambda t: os.unlink(p(t))), ("rename", lambda t: os.rename(p(t), q(t))),
        ("rename", lambda t: os.rename(p(t), q(t))), ("rename", lambda t: os.rename(p(t), q(t))),
        ("renameat2", lambda t: renameat2(p(t), q(t), flag)), ("link", lambda t: os.link(p(t), q(t), follow_symlinks=False)),
        ("symlink", lambda t: os.symlink("target%d" % n, p(t))), ("mkfifo", lambda t: os.mkfifo(p(t), 0o600)),
        ("chmod", lambda t: os.path.islink(p(t)) or os.chmod(p(t), mode)), ("truncate", lambda t: os.truncate(p(t), len(data) // 2)),
        ("read", lambda t: read_all(p(t))), ("list", lambda t: sorted(os.listdir(p(t)))),
        ("setxattr", lambda t: os.path.islink(p(t)) or os.setxattr(p(t), "user.n", b"%d" % n)), ("stat", lambda t: os.lstat(p(t)).st_nlink)])


def exercise(m, seed, steps):
    """Returns the local directory, the one on the mount, and how many of the changes did anything. Every answer must be the same."""
    rng = random.Random(seed)
    here, there = os.path.join(WORK, f"local{seed}"), m / f"tree{seed}"
    for top in (here, there):
        os.makedirs(os.path.join(top, "a/c/d"))
        os.makedirs(os.path.join(top, "b/e"))
        for f in ("f", "a/f", "b/g", "a/c/f"):
            put(os.path.join(top, f), "at first")
    good = 0
    for n in range(steps):
        name, fn = step(rng, n)
        if name in ("put", "append", "truncate") and any(stat.S_ISFIFO(os.lstat(os.path.join(b, f)).st_mode)
                                                        for b, _, fs in os.walk(here) for f in fs):
            for top in (here, there):  # opening a fifo would wait for ever
                for b, _, fs in os.walk(top):
                    for f in fs:
                        if stat.S_ISFIFO(os.lstat(os.path.join(b, f)).st_mode):
                            os.unlink(os.path.join(b, f))
        want, got = attempt(fn, here), attempt(fn, there)
        eq(got, want, f"seed {seed} step {n}: {name}")
        good += not isinstance(want, str)
        if n % 50 == 49:
            same(here, there, f"seed {seed} after step {n}")
    return here, there, good


def same(here, there, when):
    """Names, types, modes, link counts, contents, attributes and hard links of both trees must be equal."""
    a, b = told(here), told(there)
    eq(sorted(b), sorted(a), f"{when}: names")
    for p in a:
        eq(b[p], a[p], f"{when}: {p}")
    eq(links(there), links(here), f"{when}: hard links")
