"""
stategen.py: random operations for statemachine.py, and what becomes of a sequence that found a difference: it is shortened and printed as
lines that can be replayed. The generator looks at the local tree, so that most names exist; what it makes is plain data.
"""
import random

from statemachine import *  # noqa

DIRS = ["", "a", "b", "a/c", "a/c/d", "b/e"]
NAMES = ["f", "g", "h", "a", "b", "c", "d", "e", "l", "m"]
ODD = ["n" * 255, "n" * 256, "é ü", "new\nline", "me@example.org", " ", "f/", "a/", "a/..", ".", "no/thing", "f/below", "*.swp", ".#x"]
MODES = [0o600, 0o644, 0o666, 0o755, 0o777, 0o000, 0o2755, 0o4755, 0o1777, 0o2777, 0o6777, 0o2644, 0o400, 0o222, 0o111]
OPEN_FLAGS = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR]
MORE_FLAGS = [os.O_CREAT] * 6 + [os.O_TRUNC, os.O_EXCL, os.O_APPEND, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_SYNC, os.O_NOATIME,
                                 os.O_CLOEXEC, os.O_PATH, os.O_NOCTTY]
LENGTHS = [0, 1, 7, 100, 4096, 5000, 20000, 70000, 200000]
OFFSETS = [0, 0, 1, 100, 4096, 5000, 65536, 100000, 300000]
TIMES = ["now", "omit", 0, 1, 10**18, 123456789012345678, -10**18 - 1, 987654321 * 10**9 + 5]
XATTRS = ["user.a", "user.b", "user.a", "user.b", "user.a", "user.b", "user.long" + "x" * 200, "trusted.t", "user.", "nospace", "other.x"]
VALUES = ["", "1", "two", "v" * 300]
TARGETS = ["f", "a", "../b/g", "l", "m", "nowhere", "a/c/d/f", "t" * 300, "é"]
FALLOC = [0, 0, 1, 3, 16, 17, 2, 1 | 2 | 16]
IDS = [-1, 0, 1001, 1002, 1003, 2001]


class Generator:
    """steps: every so many the names that exist are looked up again."""

    def __init__(self, seed, machine):
        self.rng, self.machine = random.Random(seed), machine
        self.count = 0
        self.pool = self.others = []
        self.recent = "a/c/d"  # what was opened as a directory

    def look(self):
        top = self.machine.here.top
        self.pool = [os.path.relpath(os.path.join(b, n), top) for b, ds, fs in os.walk(top) for n in ds + fs]
        self.others = [p for p in self.pool if not stat.S_ISDIR(os.lstat(os.path.join(top, p)).st_mode)]

    def path(self):
        r = self.rng.random()
        if self.pool and r < 0.65:
            return self.rng.choice(self.pool)
        if r < 0.97:
            return os.path.join(self.rng.choice(DIRS), self.rng.choice(NAMES))
        return os.path.join(self.rng.choice(DIRS), self.rng.choice(ODD))

    def other(self):
        """Mostly no directory."""
        return self.rng.choice(self.others) if self.others and self.rng.random() < 0.7 else self.path()

    def user(self):
        return self.rng.choices([0, 1, 2, 3], [60, 20, 12, 8])[0]

    def slot(self):
        """Mostly one that is open."""
        used = sorted(self.machine.here.slots)
        return self.rng.choice(used) if used and self.rng.random() < 0.95 else self.rng.randrange(SLOTS)

    def dir_slot(self):
        """Mostly a directory's."""
        dirs = sorted(s for s, fd in self.machine.here.slots.items() if stat.S_ISDIR(os.fstat(fd).st_mode))
        return self.rng.choice(dirs) if dirs and self.rng.random() < 0.8 else self.slot()

    def length(self):
        r = self.rng
        return r.choice(LENGTHS) if r.random() < 0.995 else 1_500_000

    def operation(self):
        if self.count % 20 == 0:
            self.look()
        self.count += 1
        name, weight = zip(*WEIGHTS)
        what = self.rng.choices(name, weight)[0]
        return [what, self.user()] + getattr(self, "args_" + what)()

    def flags(self):
        r = self.rng
        flags = r.choice(OPEN_FLAGS)
        for _ in range(r.choice([0, 1, 1, 2, 3])):
            flags |= r.choice(MORE_FLAGS)
        return flags

    def args_open(self):
        if self.rng.random() < 0.1:
            self.recent = self.path()
            return [self.rng.randrange(SLOTS), self.recent, os.O_RDONLY, 0]
        return [self.rng.randrange(SLOTS), self.other() if self.rng.random() < 0.8 else self.path(), self.flags(), self.rng.choice(MODES)]

    def args_openat(self):
        return [self.rng.randrange(SLOTS), self.dir_slot(), self.rng.choice(NAMES + ["."]), self.flags(), 0o644]

    def args_tmpfile(self):
        return [self.rng.randrange(SLOTS), self.path(), self.rng.choice([os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL]), self.rng.choice(MODES)]

    def args_linkfd(self):
        return [self.slot(), self.path()]

    def args_mkdirat(self):
        return [self.dir_slot(), self.rng.choice(NAMES), 0o755]

    def args_mkdir(self):
        return [self.path(), self.rng.choice(MODES + [0o777] * 15)]

    def args_mknod(self):
        kind = self.rng.choice([stat.S_IFIFO, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, 0])
        return [self.path(), kind | self.rng.choice(MODES), os.makedev(240, 7) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0]

    def args_symlink(self):
        return [self.path(), self.rng.choice(TARGETS)]

    def args_link(self):
        return [self.other(), self.path(), self.rng.random() < 0.2]

    def args_unlink(self):
        return [self.path()]

    args_statfs = args_list = args_unlink

    def args_rmdir(self):
        return [self.recent if self.rng.random() < 0.4 else self.path()]

    def args_readlink(self):
        return [self.other()]

    def args_rename(self):
        return [self.path(), self.path(), self.rng.choice([0, 0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE | 1, 64])]

    def args_umask(self):
        return [self.rng.choice([0o022, 0o022, 0o002, 0o077, 0])]

    def args_stat(self):
        return [self.path(), self.rng.random() < 0.6]

    def args_access(self):
        return [self.path(), self.rng.randrange(8)]

    def args_chmod(self):
        return [self.path(), self.rng.choice(MODES + [0o755, 0o777] * 6)]

    def args_chown(self):
        return [self.path(), self.rng.choice(IDS), self.rng.choice(IDS), self.rng.random() < 0.8]

    def args_utimens(self):
        return [self.path(), self.rng.choice(TIMES), self.rng.choice(TIMES), self.rng.random() < 0.7]

    def args_futimens(self):
        return [self.slot(), self.rng.choice(TIMES), self.rng.choice(TIMES)]

    def args_fstat(self):
        return [self.slot()]

    args_close = args_flistxattr = args_fstat

    def args_listfd(self):
        return [self.dir_slot()]

    def args_fchmod(self):
        return [self.slot(), self.rng.choice(MODES)]

    def args_fchown(self):
        return [self.slot(), self.rng.choice(IDS), self.rng.choice(IDS)]

    def args_setxattr(self):
        return [self.other() if self.rng.random() < 0.7 else self.path(), self.rng.choice(XATTRS), self.rng.choice(VALUES), self.rng.choice([0, 0, 1, 2]), self.rng.random() < 0.8]

    def args_getxattr(self):
        return [self.other() if self.rng.random() < 0.7 else self.path(), self.rng.choice(XATTRS), self.rng.random() < 0.8]

    args_removexattr = args_getxattr

    def args_listxattr(self):
        return [self.path(), self.rng.random() < 0.8]

    def args_fsetxattr(self):
        return [self.slot(), self.rng.choice(XATTRS), self.rng.choice(VALUES), self.rng.choice([0, 0, 1, 2])]

    def args_save(self):
        return [self.other(), self.rng.choice([os.O_TRUNC, os.O_TRUNC, os.O_APPEND, os.O_EXCL, 0]), self.rng.choice(MODES + [0o666] * 10),
                self.count, self.length()]

    def args_truncate(self):
        return [self.other(), self.rng.choice(LENGTHS + OFFSETS)]

    def args_dup(self):
        return [self.slot(), self.rng.randrange(SLOTS)]

    def args_pread(self):
        return [self.slot(), self.length(), self.rng.choice(OFFSETS)]

    args_mmapread = args_pread

    def args_pwrite(self):
        return [self.slot(), self.count, self.length(), self.rng.choice(OFFSETS)]

    args_mmapwrite = args_pwrite

    def args_read(self):
        return [self.slot(), self.length()]

    def args_write(self):
        return [self.slot(), self.count, self.length()]

    def args_lseek(self):
        return [self.slot(), self.rng.choice(OFFSETS + [-1, -100]), self.rng.choice(["set", "cur", "end"])]

    def args_ftruncate(self):
        return [self.slot(), self.rng.choice(LENGTHS + OFFSETS)]

    def args_fallocate(self):
        return [self.slot(), self.rng.choice(FALLOC), self.rng.choice(OFFSETS), self.rng.choice(LENGTHS)]

    def args_fsync(self):
        return [self.slot(), self.rng.random() < 0.5]

    def args_copyrange(self):
        return [self.slot(), self.slot(), self.length(), self.rng.choice(OFFSETS), self.rng.choice(OFFSETS)]

    def args_holes(self):
        return [self.slot(), self.rng.choice(OFFSETS)]

    def args_seekdir(self):
        return [self.path(), self.rng.randrange(100)]


WEIGHTS = [("open", 16), ("openat", 3), ("mkdirat", 2), ("tmpfile", 2), ("linkfd", 3), ("mkdir", 5), ("mknod", 3), ("symlink", 3), ("link", 4), ("unlink", 4), ("rmdir", 3),
           ("rename", 8), ("readlink", 1), ("umask", 1), ("stat", 2), ("access", 3), ("chmod", 5), ("chown", 4), ("utimens", 3),
           ("futimens", 1), ("fstat", 1), ("fchmod", 2), ("fchown", 2), ("statfs", 1), ("setxattr", 3), ("getxattr", 2), ("listxattr", 2),
           ("removexattr", 3), ("fsetxattr", 1), ("flistxattr", 1), ("save", 10), ("truncate", 3), ("close", 5), ("dup", 2), ("pread", 4),
           ("pwrite", 7), ("read", 3), ("write", 4), ("lseek", 2), ("ftruncate", 3), ("fallocate", 4), ("fsync", 1), ("copyrange", 3),
           ("mmapread", 2), ("mmapwrite", 3), ("holes", 2), ("list", 2), ("listfd", 1), ("seekdir", 2)]


class Found(Failed):
    """A difference; ops: what led to it."""

    def __init__(self, message, ops):
        super().__init__(message)
        self.ops = ops
        self.what = message.split("]: ")[1].split(" ")[0] if "]: " in message else message


def start(here, there, **kw):
    for top in (here, there):
        subprocess.run(["rm", "-rf", top], check=True)
    return Machine(here, there, **kw)


def explore(here, there, seed, steps, every=100, **kw):
    """Runs so many random operations; returns the machine, closed. Raises Found at the first difference."""
    machine = start(here, there, **kw)
    generator = Generator(seed, machine)
    for rel in DIRS[1:]:
        for side in (machine.here, machine.there):
            os.mkdir(side.p(rel))
            os.chmod(side.p(rel), 0o777)
    ops = []
    try:
        while machine.steps < steps:
            ops.append(generator.operation())
            machine.step(ops[-1])
            if len(ops) % every == 0:
                machine.compare_trees()
        machine.compare_trees()
    except Failed as e:
        raise Found(f"seed {seed} step {len(ops)}: {json.dumps(ops[-1])}: {e}", ops) from None
    finally:
        machine.close()
    return machine


def differs(here, there, ops, fine_times):
    """What the operations, done from the start, find different; None: nothing."""
    machine = start(here, there, fine_times=fine_times)
    for rel in DIRS[1:]:
        for side in (machine.here, machine.there):
            os.mkdir(side.p(rel))
            os.chmod(side.p(rel), 0o777)
    try:
        for op in ops:
            machine.step(op)
        machine.compare_trees()
    except Failed as e:
        return Found(f"{json.dumps(op)}: {e}", [op])
    finally:
        machine.close()
    return None


def alike(a, b):
    """Whether two differences are of one kind: the same operation, the same comparison."""
    return b is not None and a.ops[-1][0] == b.ops[-1][0] and a.what == b.what


def shorten(here, there, found, fine_times, seconds=40):
    """Leaves out what is not needed to find such a difference: halves first, then smaller pieces, as long as there is time."""
    end, ops = time.monotonic() + seconds, found.ops
    piece = len(ops) // 2
    while piece >= 1:
        at = 0
        while at < len(ops) and time.monotonic() < end:
            fewer = ops[:at] + ops[at + piece:]
            if fewer and alike(found, differs(here, there, fewer, fine_times)):
                ops = fewer
            else:
                at += piece
        piece //= 2
    return ops, differs(here, there, ops, fine_times)


def coverage_table(coverage):
    """operation × type of object: how often, and how often it succeeded."""
    rows = collections.defaultdict(list)
    for (op, kind), (n, good) in sorted(coverage.items()):
        rows[op].append(f"{kind} {good}/{n}")
    return "\n".join(f"    {op:12} {', '.join(cells)}" for op, cells in sorted(rows.items()))
