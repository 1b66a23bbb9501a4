"""
killloop.py: processes that work in a mount while its daemons are killed. Each knows exactly what must be there: after each kill it is told to look,
and looks between two of its own operations. An operation may fail with EIO only where a small draft was being saved; the save then has not
happened. Everything else that fails, and every difference, ends the worker with a word about it.
"""
import hashlib
import mmap
import random
import struct

from stm import *  # noqa
import treemodel

MIB = 1 << 20
ROUND, DONE = 0, 4  # of the shared page: the number of the newest kill; per worker: the newest it has looked after, operations, lost saves
DEAD = 0xFFFFFFFF


class Lost(Exception):
    pass


class Worker:
    def __init__(self, number, seed, top, page):
        self.number, self.page = number, page
        self.rng = random.Random(seed * 1000 + number)
        self.top = os.path.join(top, f"{type(self).__name__.lower()}{number}")
        self.ops = self.lost = self.seen = 0

    def run(self):
        os.makedirs(self.top)
        self.begin()
        while True:
            self.step()
            self.ops += 1
            if self.ops == 1:
                self.note(0)
            now = struct.unpack_from("I", self.page, ROUND)[0]
            if now != self.seen:
                if now == DEAD:
                    self.check()
                    self.end()
                    self.note(DEAD - 1)
                    return
                self.check()
                self.seen = now
                self.note(now)

    def note(self, seen):
        struct.pack_into("III", self.page, DONE + 12 * self.number, seen, self.ops, self.lost)

    def begin(self):
        pass

    def end(self):
        pass

    def path(self, name):
        return os.path.join(self.top, name)

    def saved(self, fd, *pieces):
        """Writes and closes. Lost: it was not saved, and close said so."""
        failed = False
        try:
            for p in pieces:
                write_all(fd, p)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            failed = True
        try:
            os.close(fd)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.lost += 1
            raise Lost() from None
        ok(not failed, "a write failed, and close did not say so")


def sha(data):
    return hashlib.sha256(data).hexdigest()[:16]


class Saver(Worker):
    """Saves files in the ways of editors. Each closed save is a version, in order; no other version is there."""
    SIZES = [0, 10, 300, 3000, 40000, 150000]

    def begin(self):
        self.chains, self.touched, self.last = {}, set(), {}

    def step(self):
        rng = self.rng
        name = f"w{rng.randrange(8)}"
        data = rng.randbytes(rng.choice(self.SIZES)) + b"%d" % self.ops
        if self.ops % 25 == 24:
            data = rng.randbytes(MIB) + data * 3
        self.touched.add(name)
        path, chain = self.path(name), self.chains.get(name)
        self.last.setdefault(name, []).append([self.ops, self.seen, "plain", len(data)])
        try:
            if rng.random() < 0.4:
                self.last[name][-1][2] = "rename"
                part = self.path(name + ".part")
                self.saved(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), data)
                os.rename(part, path)
            elif chain and rng.random() < 0.4:
                self.last[name][-1][2] = "append"
                more = data[:2000]
                data = get(path) + more
                self.saved(os.open(path, os.O_WRONLY | os.O_APPEND), more)
            else:
                self.saved(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), data[:len(data) // 2], data[len(data) // 2:])
        except Lost:
            self.last[name][-1].append("lost")
            if chain is None and os.path.exists(path):
                self.chains[name] = [sha(b"")]  # it was made, and not written: an empty version, when it is released
                until(lambda: count(path) == 1, "the empty first version", 20)
            return
        if chain is None:
            self.chains[name] = [sha(data)]
        elif chain[-1] != sha(data):
            chain.append(sha(data))

    def check(self):
        for name in self.touched:
            if name not in self.chains:
                continue
            path, chain = self.path(name), self.chains[name]
            head, rows = sha(get(path)), versions(path)
            if head != chain[-1] or len(rows) != len(chain):
                there = [(r["size"], sha(get(f"{path}@{r['version']}"))) for r in log_rows(path)]
                raise Failed(f"{name}: it reads {head}, and has {len(rows)} versions, the newest {there[-3:]}; "
                             f"expected {len(chain)}, the newest {chain[-3:]}; its last saves {self.last[name][-3:]}")
            for v, h in list(zip(rows, chain))[-6:]:
                eq(sha(get(f"{path}@v{v}")), h, f"{name}: version {v}")
        self.touched = set()

    def end(self):
        for name, chain in self.chains.items():
            eq([sha(get(f"{self.path(name)}@v{v}")) for v in versions(self.path(name))], chain, f"{name}: all versions")


class Tree(Worker):
    """Changes a tree, and a local one in the same way: both must answer the same."""

    def begin(self):
        self.here = os.path.join(WORK, f"local-tree{self.number}-{self.rng.random()}")
        for top in (self.here, self.top):
            os.makedirs(os.path.join(top, "a/c/d"))
            os.makedirs(os.path.join(top, "b/e"))

    def step(self):
        name, fn = treemodel.step(self.rng, self.ops)
        if name == "mkfifo":  # opening one would wait for ever
            return
        got = "EIO"
        while got == "EIO":  # what was not saved is saved again
            got = treemodel.attempt(fn, self.top)
            self.lost += got == "EIO"
            ok(got != "EIO" or name in ("put", "append"), f"{name}: EIO, though it writes no draft")
        eq(got, treemodel.attempt(fn, self.here), f"step {self.ops}: {name}")

    def check(self):
        treemodel.same(self.here, self.top, f"after step {self.ops}")


class Xattrs(Worker):
    """Attributes with XATTR_CREATE and XATTR_REPLACE, which must not run twice."""

    def begin(self):
        self.files = {}
        for i in range(4):
            put(self.path(f"f{i}"), "x")
            self.files[self.path(f"f{i}")] = {}

    def step(self):
        p, have = self.rng.choice(list(self.files.items()))
        name, value = f"user.n{self.rng.randrange(5)}", b"%d" % self.ops
        if name not in have:
            os.setxattr(p, name, value, os.XATTR_CREATE)
            have[name] = value
        elif self.rng.random() < 0.5:
            os.setxattr(p, name, value, os.XATTR_REPLACE)
            have[name] = value
        else:
            os.removexattr(p, name)
            del have[name]
        os.chmod(p, 0o600 + self.ops % 64)

    def check(self):
        for p, have in self.files.items():
            eq({n: os.getxattr(p, n) for n in os.listxattr(p)}, have, "attributes")


class Names(Worker):
    """Makes, links, moves and removes names that must, and must not, be there; O_EXCL and mkdir say so."""

    def step(self):
        a, b, d = self.path("a"), self.path("b"), self.path("d")
        os.close(os.open(a, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        os.link(a, b)
        os.mkdir(d)
        os.rename(b, os.path.join(d, "b"))
        renameat2(a, self.path("c"), RENAME_NOREPLACE)
        os.symlink("c", b)
        renameat2(b, self.path("c"), RENAME_EXCHANGE)
        os.unlink(os.path.join(d, "b"))
        os.rmdir(d)
        eq(os.readlink(self.path("c")), "c")
        eq(os.stat(b).st_nlink, 1)
        os.unlink(self.path("c"))
        os.unlink(b)

    def check(self):
        eq(os.listdir(self.top), [], "names")


class Log(Worker):
    """Records at the end of a large file, through one handle for all the time: never lost, never twice. Its draft lies in a stage file."""

    def begin(self):
        self.want = bytearray(self.rng.randbytes(MIB + 100000))
        put(self.path("log"), self.want)
        self.fd = os.open(self.path("log"), os.O_WRONLY | os.O_APPEND)

    def step(self):
        record = b"record %d of %d\n" % (self.ops, self.number)
        eq(os.write(self.fd, record), len(record))
        self.want += record
        if self.rng.random() < 0.02:
            os.fsync(self.fd)
        time.sleep(0.001)

    def check(self):
        ok(get(self.path("log")) == self.want, f"the log: {len(get(self.path('log')))} bytes instead of {len(self.want)}, or others")

    def end(self):
        os.close(self.fd)
        self.check()


class Journal(Worker):
    """Small records, each fsynced: what was fsynced is there; what was not may be lost, and then the handle says so."""

    def begin(self):
        self.fd, self.synced, self.want = None, b"", b""

    def step(self):
        try:
            if self.fd is None:
                self.fd = os.open(self.path("journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                self.want = self.synced
            record = b"%d " % self.ops
            os.write(self.fd, record)
            self.want += record
            os.fsync(self.fd)
            self.synced = self.want
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.lost += 1
            fails(errno.EIO, os.close, self.fd)
            self.fd = None
        if len(self.synced) > 20000:
            self.want = self.synced = b""
            os.unlink(self.path("journal"))
            os.close(self.fd)
            self.fd = None

    def check(self):
        if self.synced:
            eq(get(self.path("journal")), self.synced, "what was fsynced")


class Large(Worker):
    """Random changes of a large file, through a handle and by path, beside the same of a local one."""

    def begin(self):
        data = self.rng.randbytes(3 * MIB)
        self.here = os.path.join(WORK, f"local-large{self.number}-{self.rng.random()}")
        self.files = [self.here, self.path("large")]
        for p in self.files:
            put(p, data)
        self.fds = [os.open(p, os.O_RDWR) for p in self.files]

    def step(self):
        rng, size = self.rng, os.fstat(self.fds[0]).st_size
        off, data = rng.randrange(size), rng.randbytes(rng.choice([1, 100, 5000, 200000]))
        length, to = rng.randrange(MIB + 200000, 4 * MIB), rng.randrange(size)
        n, low = min(len(data), size - max(off, to)), min(off, to)
        what = rng.choice(["write", "write", "ftruncate", "truncate", "copy", "zero", "sync"])
        for fd, p in zip(self.fds, self.files):
            if what == "write":
                eq(os.pwrite(fd, data, off), len(data))
            elif what == "ftruncate":
                os.ftruncate(fd, length)
            elif what == "truncate":
                os.truncate(p, length)
            elif what == "copy" and low + n <= max(off, to):
                eq(os.copy_file_range(fd, fd, n, off, to), n, f"copied of {n} from {off} to {to} in {[os.stat(f).st_size for f in self.fds]}")
            elif what == "zero":
                fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, off, len(data))
            elif what == "sync" and fd == self.fds[1] and rng.random() < 0.2:
                os.fsync(fd)

    def check(self):
        ok(get(self.files[0]) == get(self.files[1]), "the large file")

    def end(self):
        for fd in self.fds:
            os.close(fd)
        self.check()


class Mapped(Worker):
    """Writes through a mapping; what msync has confirmed is there."""

    def begin(self):
        self.want = bytearray(self.rng.randbytes(65536))
        put(self.path("mapped"), self.want)

    def step(self):
        new, off = bytearray(self.want), self.rng.randrange(65000)
        new[off:off + 500] = self.rng.randbytes(500)
        fd = os.open(self.path("mapped"), os.O_RDWR)
        p = mmap.mmap(fd, 65536)
        p[off:off + 500] = bytes(new[off:off + 500])
        try:
            p.flush()
            self.want = new
        except OSError as e:
            eq(e.errno, errno.EIO, "msync")
            self.lost += 1
        p.close()
        try:
            os.close(fd)
        except OSError as e:
            eq(e.errno, errno.EIO, "close")

    def check(self):
        until(lambda: get(self.path("mapped")) == self.want, "what was mapped and synced", 10)


class Reader(Worker):
    """Reads, lists and looks, past the page cache: no error at all, and nothing but what is there."""

    def begin(self):
        self.words = {f"word{i}": self.rng.randbytes(self.rng.choice([0, 10, 3000, 200000])) for i in range(60)}
        self.words["large"] = self.rng.randbytes(3 * MIB)
        for n, data in self.words.items():
            put(self.path(n), data)
        put(self.path("two"), "first")
        put(self.path("two"), "second")

    def step(self):
        n, data = self.rng.choice(list(self.words.items()))
        with open(self.path(n), "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            ok(f.read() == data, f"{n} reads otherwise")
        if self.ops % 10 == 0:
            eq(set(os.listdir(self.top)), set(self.words) | {"two"}, "a listing")
        eq(text(self.path("two@v1.0.0")), "first")
        eq(text(self.path("two@latest")), "second")
        eq(os.stat(self.path(n)).st_size, len(data))

    def check(self):
        pass
