"""
statemachine.py: one operation after the other, done on a directory of a mount and on a local directory alike, and everything that a
program can see of the two compared: results, errno, attributes, contents, listings, xattrs. The local directory is the model.
stategen.py makes the operations; a sequence of them is plain data (JSON lines), so that it can be replayed and shortened.

Left out of the comparison, each with its reason:
  inode and device numbers   differ by nature; which names are one file is compared instead
  st_blocks, st_blksize      what is compressed and stored once has no blocks; ext4 gives blocks away late
  size of a directory        ext4's own format
  order of a listing         unspecified; its set, and what seeking back to a cookie gives, are compared
  times that are "now"       two clocks; which of the three times an operation moves, that ctime only grows, and all times that were
                             set explicitly are compared
  atime by reading           times of reading are not kept; the local directory is mounted noatime, which is the same rule
  ctime after setxattr       ext4 leaves it when the value was there before: it may move
  times after fallocate      ext4 moves them when it reserves or frees nothing, too: set right after
  times after writing a fifo the kernel's pipes do not tell the filesystem: not saved to; set right after
  chown(-1, -1) by a user    FUSE cannot tell it from what a write asks for; of a set-id file of somebody else it does nothing
  fifos born as junk         *.swp and the like leave nothing behind when unlinked; FUSE is not told who has a fifo open (fstat: ESTALE)
  O_PATH handles of files    FUSE is not told of them, so they do not keep an unlinked file's last bytes
  opening a device           mount flags decide (nodev), not the filesystem
  fallocate by collapsing and inserting, RENAME_WHITEOUT: not offered (docs/POSIX.md)
  where holes are            ext4 rounds to blocks; that SEEK_HOLE and SEEK_DATA agree with the bytes is checked on each side
"""
import collections
import mmap
import random

from stm import *  # noqa

SLOTS = 8
# Who asks: (uid, gid, supplementary groups). 1001 and 1002 share 2001; 1003 shares nothing.
USERS = {0: (0, 0, []), 1: (1001, 1001, [2001]), 2: (1002, 1002, [2001, 1001]), 3: (1003, 1003, [])}
EXPLICIT = 1_500_000_000 * 10**9  # times before this were set by somebody
SEEK_DATA, SEEK_HOLE = 3, 4
SEEK = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
         stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
current_user = 0


def become(user):
    """The file access identity of this process. Groups need root, so by way of it."""
    global current_user
    if user == current_user:
        return
    uid, gid, groups = USERS[user]
    os.seteuid(0)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    current_user = user


def bytes_of(seed, n):
    return random.Random(seed).randbytes(n)


def kind_of(st):
    return KINDS.get(stat.S_IFMT(st.st_mode), "?")


def seen(st):
    """What of a stat is compared."""
    kind = kind_of(st)
    size = st.st_size if kind in ("file", "symlink") else 0
    times = tuple(t if t < EXPLICIT else "now" for t in (st.st_atime_ns, st.st_mtime_ns))
    return [kind, oct(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, size, st.st_rdev if kind == "device" else 0, times]


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("cookie", ctypes.c_int64), ("reclen", ctypes.c_uint16), ("type", ctypes.c_uint8)]


def dirents(fd, size=2048):
    """One getdents64: (name, type, cookie) each."""
    area = ctypes.create_string_buffer(size)
    n = checked(libc.syscall(217 if os.uname().machine == "x86_64" else 61, fd, area, size))
    out, at = [], 0
    while at < n:
        d = Dirent.from_buffer(area, at)
        out.append((ctypes.string_at(ctypes.addressof(area) + at + 19).decode(errors="surrogateescape"), d.type, d.cookie))
        at += d.reclen
    return out


def all_dirents(fd, size=2048):
    out = []
    while True:
        piece = dirents(fd, size)
        if not piece:
            return out
        out += piece


def mappable(fd):
    """How many bytes to map: all of a file; of anything else, which cannot be mapped, a page."""
    st = os.fstat(fd)
    return st.st_size if kind_of(st) == "file" else 4096


class Side:
    """One of the two trees: its top, and the descriptors that are open in it."""

    def __init__(self, top):
        self.top = top
        self.slots = {}
        os.mkdir(top)
        os.chmod(top, 0o777)

    def p(self, rel):
        return os.path.join(self.top, rel)

    def fd(self, slot):
        if slot not in self.slots:
            raise OSError(errno.EBADF, "no such slot")
        return self.slots[slot]

    def keep(self, slot, fd):
        old = self.slots.pop(slot, None)
        self.slots[slot] = fd
        if old is not None:
            os.close(old)
        return "open"

    def close_all(self):
        for slot in list(self.slots):
            os.close(self.slots.pop(slot))

    def do(self, op):
        name, user, args = op[0], op[1], op[2:]
        become(user)
        try:
            return getattr(self, "op_" + name)(*args)
        except OSError as e:
            return "E:" + errno.errorcode.get(e.errno, str(e.errno))
        finally:
            become(0)

    # ---- names ----

    def op_open(self, slot, rel, flags, mode):
        return self.keep(slot, os.open(self.p(rel), flags | os.O_NONBLOCK, mode))

    def op_openat(self, slot, at, rel, flags, mode):
        return self.keep(slot, os.open(rel, flags | os.O_NONBLOCK, mode, dir_fd=self.fd(at)))

    def op_tmpfile(self, slot, rel, flags, mode):
        return self.keep(slot, os.open(self.p(rel), flags | os.O_TMPFILE, mode))

    def op_linkfd(self, slot, rel):
        checked(libc.linkat(self.fd(slot), b"", AT_FDCWD, os.fsencode(self.p(rel)), 0x1000))

    def op_mkdirat(self, at, rel, mode):
        os.mkdir(rel, mode, dir_fd=self.fd(at))

    def op_mkdir(self, rel, mode):
        os.mkdir(self.p(rel), mode)

    def op_mknod(self, rel, mode, device):
        os.mknod(self.p(rel), mode, device)

    def op_symlink(self, rel, target):
        os.symlink(target, self.p(rel))

    def op_link(self, old, new, follow):
        os.link(self.p(old), self.p(new), follow_symlinks=follow)

    def op_unlink(self, rel):
        os.unlink(self.p(rel))

    def op_rmdir(self, rel):
        os.rmdir(self.p(rel))

    def op_rename(self, old, new, flags):
        renameat2(self.p(old), self.p(new), flags)

    def op_readlink(self, rel):
        return os.readlink(self.p(rel))

    def op_umask(self, mask):
        os.umask(mask)

    # ---- attributes ----

    def op_stat(self, rel, follow):
        return seen(os.stat(self.p(rel), follow_symlinks=follow))

    def op_access(self, rel, mode):
        return os.access(self.p(rel), mode, effective_ids=True)

    def op_chmod(self, rel, mode):
        os.chmod(self.p(rel), mode)

    def op_chown(self, rel, uid, gid, follow):
        os.chown(self.p(rel), uid, gid, follow_symlinks=follow)

    def op_utimens(self, rel, at, mt, follow):
        utimensat(AT_FDCWD, self.p(rel), at, mt, 0 if follow else 0x100)

    def op_futimens(self, slot, at, mt):
        utimensat(self.fd(slot), None, at, mt, 0)

    def op_fstat(self, slot):
        return seen(os.fstat(self.fd(slot)))

    def op_fchmod(self, slot, mode):
        os.fchmod(self.fd(slot), mode)

    def op_fchown(self, slot, uid, gid):
        os.fchown(self.fd(slot), uid, gid)

    def op_statfs(self, rel):
        s = os.statvfs(self.p(rel))
        return [s.f_namemax, s.f_bsize > 0, s.f_frsize > 0, s.f_bavail <= s.f_bfree <= s.f_blocks, s.f_ffree <= s.f_files]

    def op_setxattr(self, rel, name, value, flags, follow):
        os.setxattr(self.p(rel), name, value.encode(), flags, follow_symlinks=follow)

    def op_getxattr(self, rel, name, follow):
        return os.getxattr(self.p(rel), name, follow_symlinks=follow).decode()

    def op_listxattr(self, rel, follow):
        return sorted(os.listxattr(self.p(rel), follow_symlinks=follow))

    def op_removexattr(self, rel, name, follow):
        os.removexattr(self.p(rel), name, follow_symlinks=follow)

    def op_fsetxattr(self, slot, name, value, flags):
        os.setxattr(self.fd(slot), name, value.encode(), flags)

    def op_flistxattr(self, slot):
        return sorted(os.listxattr(self.fd(slot)))

    # ---- contents ----

    def op_save(self, rel, flags, mode, seed, n):
        """What most programs do: open, write, close."""
        fd = os.open(self.p(rel), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | flags, mode)
        try:
            return os.write(fd, bytes_of(seed, n))
        finally:
            os.close(fd)

    def op_truncate(self, rel, size):
        os.truncate(self.p(rel), size)

    def op_close(self, slot):
        fd = self.fd(slot)
        del self.slots[slot]
        os.close(fd)

    def op_dup(self, slot, new):
        return self.keep(new, os.dup(self.fd(slot)))

    def op_pread(self, slot, n, at):
        return os.pread(self.fd(slot), n, at)

    def op_pwrite(self, slot, seed, n, at):
        return os.pwrite(self.fd(slot), bytes_of(seed, n), at)

    def op_read(self, slot, n):
        fd = self.fd(slot)  # a directory's position may be too far for the kernel to say EISDIR
        return "dir" if kind_of(os.fstat(fd)) == "dir" else os.read(fd, n)

    def op_write(self, slot, seed, n):
        fd = self.fd(slot)
        done = os.write(fd, bytes_of(seed, n))
        if kind_of(os.fstat(fd)) == "fifo":
            become(0)
            os.utime(fd, ns=(10**18, 10**18))
        return done

    def op_lseek(self, slot, at, whence):
        fd = self.fd(slot)
        return "dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else os.lseek(fd, at, SEEK[whence])

    def op_ftruncate(self, slot, size):
        os.ftruncate(self.fd(slot), size)

    def op_fallocate(self, slot, mode, at, n):
        fallocate(self.fd(slot), mode, at, n)
        become(0)
        os.utime(self.fd(slot), ns=(10**18, 10**18))  # of one mind again, whatever was moved

    def op_fsync(self, slot, data_only):
        (os.fdatasync if data_only else os.fsync)(self.fd(slot))

    def op_copyrange(self, src, dst, n, at, to):
        source, target, done = self.fd(src), self.fd(dst), 0
        while done < n:
            got = os.copy_file_range(source, target, n - done, at + done, to + done)
            if got == 0:
                break
            done += got
        return done

    def op_mmapread(self, slot, n, at):
        fd = self.fd(slot)
        size = mappable(fd)
        if size == 0:
            return "empty"
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as area:
            return area[at:at + n]

    def op_mmapwrite(self, slot, seed, n, at):
        fd = self.fd(slot)
        size = mappable(fd)
        if size == 0:
            return "empty"
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as area:
            at %= size
            n = min(n, size - at)
            area[at:at + n] = bytes_of(seed, n)
            return n

    def op_holes(self, slot, at):
        """Data and holes: each side is judged by its own bytes; the errors are compared."""
        fd = self.fd(slot)
        here = os.lseek(fd, 0, os.SEEK_CUR)
        size = os.fstat(fd).st_size
        if kind_of(os.fstat(fd)) != "file":
            return "no file"
        try:
            hole = os.lseek(fd, at, SEEK_HOLE)
            ok(at <= hole <= size, f"SEEK_HOLE from {at} gives {hole} of {size}")
            try:
                data = os.lseek(fd, at, SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                data = size
            ok(at <= data <= size, f"SEEK_DATA from {at} gives {data} of {size}")
            ok(at == data or at == hole or at >= size, f"offset {at} is neither data nor hole: {data}, {hole}")
            if data > at:
                try:
                    ok(not os.pread(fd, min(data - at, 1 << 20), at).strip(b"\0"), f"SEEK_DATA from {at} leaps over bytes")
                except OSError as e:
                    if e.errno != errno.EBADF:  # not open for reading
                        raise
            return "consistent"
        finally:
            os.lseek(fd, here, os.SEEK_SET)

    # ---- directories ----

    def op_list(self, rel):
        return sorted(os.listdir(self.p(rel)))

    def op_listfd(self, slot):
        """By descriptor (a removed directory too), from the start."""
        fd = self.fd(slot)
        if kind_of(os.fstat(fd)) == "dir":
            os.lseek(fd, 0, os.SEEK_SET)
        return sorted((n, t) for n, t, _ in all_dirents(fd))

    def op_seekdir(self, rel, pick):
        """Back to a cookie in the middle: the rest must be what came after it."""
        fd = os.open(self.p(rel), os.O_RDONLY | os.O_DIRECTORY)
        try:
            entries = all_dirents(fd, 512)
            i = pick % len(entries)
            os.lseek(fd, entries[i][2], os.SEEK_SET)
            rest = all_dirents(fd, 512)
            eq([e[0] for e in rest], [e[0] for e in entries[i + 1:]], f"listing {rel} from cookie {i} of {len(entries)}")
            return sorted((n, t) for n, t, _ in entries)
        finally:
            os.close(fd)


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def utimensat(fd, path, at, mt, flags):
    """at, mt: nanoseconds, or "now" or "omit"."""
    special = {"now": (1 << 30) - 1, "omit": (1 << 30) - 2}
    times = (Timespec * 2)(*[Timespec(0, special[t]) if t in special else Timespec(*divmod(t, 10**9)) for t in (at, mt)])
    checked(libc.futimens(fd, times) if path is None else libc.utimensat(fd, os.fsencode(path), times, flags))


PATHS = {"open": [1], "tmpfile": [1], "mkdir": [0], "mknod": [0], "symlink": [0], "link": [0, 1], "unlink": [0], "rmdir": [0], "rename": [0, 1],
         "readlink": [0], "stat": [0], "access": [0], "chmod": [0], "chown": [0], "utimens": [0], "statfs": [0], "setxattr": [0],
         "getxattr": [0], "listxattr": [0], "removexattr": [0], "save": [0], "truncate": [0], "list": [0], "seekdir": [0]}
OPENS = ("open", "save", "truncate")
ON_SLOTS = {"openat": [1], "mkdirat": [0], "copyrange": [0, 1], "dup": [0]}
NO_TARGET = ("umask",)
MAY_MOVE_MORE = ("setxattr", "fsetxattr")


def targets(op):
    """(paths with their parents, slots) that an operation concerns."""
    name, args = op[0], op[2:]
    if name in PATHS:
        paths = [args[i] for i in PATHS[name]]
        return list(dict.fromkeys(paths + [os.path.dirname(p.rstrip("/")) for p in paths])), []
    if name in NO_TARGET:
        return [], []
    return [], [args[i] for i in ON_SLOTS.get(name, [0])]


def lstat_or_none(path):
    try:
        return os.lstat(path)
    except OSError:
        return None


def stats(side, paths, slots):
    out = {("path", p): lstat_or_none(side.p(p)) for p in paths}
    for s in [s for s in slots if s in side.slots]:
        try:
            out["slot", s] = os.fstat(side.slots[s])
        except OSError as e:
            raise Failed(f"fstat of slot {s} in {side.top}: {e}") from None
    return out


def moved(before, after):
    """Which times of which objects an operation has moved; ctime must never go back."""
    out = {}
    for key, a in before.items():
        b = after.get(key)
        if a is None or b is None or a.st_ino != b.st_ino:
            continue
        ok(b.st_ctime_ns >= a.st_ctime_ns, f"ctime of {key} went back")
        out[key] = [a.st_atime_ns != b.st_atime_ns, a.st_mtime_ns != b.st_mtime_ns, a.st_ctime_ns != b.st_ctime_ns]
    return out


class Machine:
    """
    fine_times: the local directory's clock tells each change from the one before (else it may miss some).
    lie: (kind, step) makes the mount's answer of that kind a wrong one: the control.
    """

    def __init__(self, here, there, fine_times=True, lie=None):
        self.here, self.there = Side(here), Side(there)
        self.fine_times, self.lie = fine_times, lie
        self.coverage = collections.defaultdict(lambda: [0, 0])
        self.steps = 0

    def close(self):
        become(0)
        os.umask(0o022)
        self.here.close_all()
        self.there.close_all()

    def kind(self, op):
        paths, slots = targets(op)
        if slots:
            if slots[0] not in self.here.slots:
                return "no handle"
            st = os.fstat(self.here.slots[slots[0]])
            return kind_of(st) + (" handle" if st.st_nlink else " handle, unlinked")
        if not paths:
            return "-"
        st = lstat_or_none(self.here.p(paths[0]))
        return kind_of(st) if st else "nothing"

    def left_out(self, op):
        if op[0] in ("chown", "fchown"):
            return op[1] != 0 and op[3] == op[4] == -1
        if op[0] == "mknod":
            return not stat.S_ISREG(op[3]) and op[3] >> 12 != 0 and re.search(r"\.swp$|(^|/)\.#[^/]*$", op[2])
        if op[0] not in OPENS + ("openat",):
            return False
        try:
            if op[0] == "openat":
                return kind_of(os.stat(op[4], dir_fd=self.here.slots[op[3]])) == "device"
            kind = kind_of(os.stat(self.here.p(op[2 + PATHS[op[0]][0]])))
            return kind == "device" or (kind == "fifo" and op[0] == "save") or (kind != "dir" and op[0] == "open" and op[4] & os.O_PATH)
        except (OSError, KeyError):
            return False

    def lied(self, kind, value, wrong):
        if self.lie and self.lie[0] == kind and self.steps >= self.lie[1] and value is not None:
            return wrong(value)
        return value

    def step(self, op):
        if self.left_out(op):
            return
        self.steps += 1
        covered = self.coverage[op[0], self.kind(op)]
        paths, slots = targets(op)
        before = [stats(s, paths, slots) for s in (self.here, self.there)]
        want, got = self.here.do(op), self.there.do(op)
        if isinstance(got, str) and got.startswith("E:"):
            got = self.lied("errno", got, lambda v: "E:EPROTO")
        elif isinstance(got, bytes) and got:
            got = self.lied("content", got, lambda v: bytes([v[0] ^ 1]) + v[1:])
        eq(got, want, "result")
        covered[0] += 1
        covered[1] += not (isinstance(want, str) and want.startswith("E:"))
        after = [stats(s, paths, slots) for s in (self.here, self.there)]
        self.compare_stats(after[0], after[1])
        self.compare_times(op[0], moved(before[0], after[0]), moved(before[1], after[1]))

    def compare_stats(self, want, got):
        eq(sorted(got), sorted(want), "slots")
        for key in want:
            w, g = want[key] and seen(want[key]), got[key] and seen(got[key])
            g = self.lied("attributes", g, lambda v: v[:1] + [oct(int(v[1], 8) ^ 0o1)] + v[2:])
            eq(g, w, f"attributes of {key}")

    def compare_times(self, name, want, got):
        eq(sorted(got), sorted(want), "objects that stayed")
        for key, w in want.items():
            g = self.lied("times", got[key], lambda v: [v[0], v[1], not v[2]])
            more = all(a >= b for a, b in zip(g, w)) and (name in MAY_MOVE_MORE or not self.fine_times)
            if not more:
                eq(g, w, f"moved [atime, mtime, ctime] of {key}")

    def compare_trees(self):
        """Everything, as root."""
        want, got = told(self.here.top), told(self.there.top)
        eq(sorted(got), sorted(want), "names")
        for p in want:
            g = self.lied("tree", got[p], lambda v: v[:1] + (b"wrong",) + v[2:])
            eq(g, want[p], f"{p} in the comparison of the trees")
        eq(hard_links(self.there.top), hard_links(self.here.top), "hard links")
        slots = sorted(self.here.slots)
        eq(sorted(self.there.slots), slots, "slots")
        want, got = stats(self.here, [], slots), stats(self.there, [], slots)
        for key in want:
            eq(seen(got[key]), seen(want[key]), f"attributes of {key}")


def told(top):
    out = {}
    for base, dirs, files in os.walk(top):
        for n in ["."] * (base == top) + dirs + files:
            p = os.path.join(base, n)
            st = os.lstat(p)
            body = os.readlink(p) if stat.S_ISLNK(st.st_mode) else get(p) if stat.S_ISREG(st.st_mode) else None
            x = sorted((a, os.getxattr(p, a, follow_symlinks=False)) for a in os.listxattr(p, follow_symlinks=False))
            out[os.path.relpath(p, top)] = (seen(st), body, x)
    return out


def hard_links(top):
    groups = collections.defaultdict(list)
    for base, _, files in os.walk(top):
        for n in files:
            groups[os.lstat(os.path.join(base, n)).st_ino].append(os.path.relpath(os.path.join(base, n), top))
    return sorted(sorted(g) for g in groups.values())


def ticks_finely(directory):
    """Whether each change of a file that was looked at in between gets a ctime of its own (kernel 6.13 and later)."""
    p = os.path.join(directory, "ticks")
    put(p, "")
    times = set()
    for i in range(20):
        os.chmod(p, 0o600 + i % 2)
        times.add(os.stat(p).st_ctime_ns)
    os.unlink(p)
    return len(times) == 20
