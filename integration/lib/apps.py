"""
apps.py: what the cases about programs share: a source tree with everything in it that tools trip over, and the comparison of two trees.
"""
from stm import *  # noqa

TORTURE = bool(os.environ.get("STEMMA_TORTURE"))
HOLE = 1 << 20


def sample_tree(top, acl=False):
    """Files of all kinds, names, sizes, modes, owners, times; hard and symbolic links, a fifo, xattrs, a sparse file."""
    os.makedirs(os.path.join(top, "a/b"))
    os.mkdir(os.path.join(top, "empty dir"))
    for i in range(30):
        put(os.path.join(top, f"a/f{i}"), f"content {i}\n" * i)
    for i, name in enumerate(("with space", "é ü ß", "new\nline", "-dash", "me@example.org", "n" * 200, "*?[x]")):
        put(os.path.join(top, name), f"named {i}")
    put(os.path.join(top, "a/b/big"), os.urandom(700000))
    put(os.path.join(top, "a/b/zeros"), bytes(300000))
    with open(os.path.join(top, "sparse"), "wb") as f:
        f.write(b"head")
        f.seek(4 * HOLE)
        f.write(b"middle")
        f.truncate(8 * HOLE)
    put(os.path.join(top, "script"), "#!/bin/sh\necho ran\n", mode=0o755)
    put(os.path.join(top, "secret"), "x", mode=0o600)
    os.symlink("a/f3", os.path.join(top, "link"))
    os.symlink("/nowhere", os.path.join(top, "dangling"))
    os.symlink("a", os.path.join(top, "dirlink"))
    os.link(os.path.join(top, "a/f5"), os.path.join(top, "a/f5-again"))
    os.link(os.path.join(top, "a/f5"), os.path.join(top, "a/b/f5-elsewhere"))
    os.mkfifo(os.path.join(top, "fifo"))
    os.setxattr(os.path.join(top, "a/f1"), "user.note", b"kept")
    os.setxattr(os.path.join(top, "a/b"), "user.dir", b"of a directory")
    if os.geteuid() == 0:
        os.chown(os.path.join(top, "a/f2"), 1001, 1002)
        os.lchown(os.path.join(top, "link"), 1003, 1003)
        os.chmod(os.path.join(top, "a/f2"), 0o4750)
        os.chmod(os.path.join(top, "a/b"), 0o2775)
    if acl:
        run("setfacl", "-m", "u:1005:rw,g:1006:r", os.path.join(top, "a/f4"))
        run("setfacl", "-d", "-m", "u:1005:rwx", os.path.join(top, "a"))
    for base, dirs, files in os.walk(top, topdown=False):
        for i, n in enumerate(dirs + files):
            os.utime(os.path.join(base, n), ns=(10**18, 10**18 + i * 1000003), follow_symlinks=False)
    return top


def told(top, leave_out=()):
    """Everything of a tree; leave_out: of "xattrs", "links", "times", "owners", "fine times", "dir times", "fifo"."""
    out = {}
    for base, dirs, files in os.walk(top):
        for n in dirs + files:
            p = os.path.join(base, n)
            st = os.lstat(p)
            directory, plain = stat.S_ISDIR(st.st_mode), stat.S_ISREG(st.st_mode)
            if stat.S_ISFIFO(st.st_mode) and "fifo" in leave_out:
                continue
            body = os.readlink(p) if stat.S_ISLNK(st.st_mode) else get(p) if plain else None
            x = None if "xattrs" in leave_out else {a: os.getxattr(p, a, follow_symlinks=False) for a in os.listxattr(p, follow_symlinks=False)}
            mtime = None if "times" in leave_out or (directory and "dir times" in leave_out) else st.st_mtime_ns
            if mtime is not None and "fine times" in leave_out:
                mtime //= 2 * 10**9
            out[os.path.relpath(p, top)] = (oct(st.st_mode), mtime, body, x, None if "owners" in leave_out else (st.st_uid, st.st_gid),
                                            st.st_nlink if plain and "links" not in leave_out else 0)
    return out


def same(a, b, *leave_out):
    a, b = told(a, leave_out), told(b, leave_out)
    eq(sorted(b), sorted(a), "names")
    for p in a:
        eq(b[p], a[p], p)


def changed_by(path):
    """A flipped byte, which keeps size and time: the control of every comparison."""
    st = os.stat(path)
    data = bytearray(get(path))
    data[len(data) // 2] ^= 1
    put(path, bytes(data), 0)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
