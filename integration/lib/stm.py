"""
stm.py: what the cases share: stores, mounts, checks. Standard library only.

A case is an executable file that exits 0 (passed), 77 (skipped) or anything else (failed). Most cases are Python and end in `main()`:

    from stm import *

    def test_a_write_is_a_version(m):
        put(m / "word", "a")
        eq(versions(m / "word"), ["1.0.0"])

    main()

main() makes one store, mounts it, calls every function test_* with a directory of its own on that mount, unmounts, and checks that the
daemon left with 0, that its log holds nothing suspicious, and that fsck finds nothing. A case that needs something else uses Store and Mount itself.
"""
import contextlib
import ctypes
import errno
import faulthandler
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback

STEMMA = os.environ.get("STEMMA") or shutil.which("stemma") or "stemma"
SLOW = os.environ.get("STM_SLOW") == "1"  # a sanitizer's build: limits on time and memory are not checked
SCALE = 5 if SLOW else 1
MEMORY = os.environ.get("STM_MEMORY") == "1"  # stores in the daemon's memory, for builds that cannot judge the real engine
WORK = os.environ.get("STM_WORK") or tempfile.mkdtemp(prefix="stemma-case-")
SUSPICIOUS = re.compile(r"assert|abort|panic|corrupt|damaged|sanitizer|runtime error|leak|data race|segfault|out of memory|stack smashing",
                        re.IGNORECASE)


faulthandler.register(signal.SIGUSR1)  # run sends it to a case that does not end


class Failed(AssertionError):
    pass


class Skip(Exception):
    pass


# ---- checks ---------------------------------------------------------------------------------------------------------


def short(value):
    text = repr(value)
    return text if len(text) < 600 else text[:400] + " … " + text[-150:]


def ok(condition, what):
    if not condition:
        raise Failed(what)


def eq(got, want, what=""):
    if got != want:
        raise Failed(f"{what + ': ' if what else ''}got {short(got)}, expected {short(want)}")


def contains(text, part, what=""):
    if part not in text:
        raise Failed(f"{what + ': ' if what else ''}{short(part)} is not in {short(text)}")


def fails(numbers, fn, *args, **kw):
    """fn must fail with one of the errno values (one number or a tuple)."""
    numbers = numbers if isinstance(numbers, tuple) else (numbers,)
    names = "/".join(errno.errorcode[n] for n in numbers)
    try:
        fn(*args, **kw)
    except OSError as e:
        if e.errno in numbers:
            return
        raise Failed(f"{getattr(fn, '__name__', fn)}{short(args)}: got {errno.errorcode.get(e.errno, e)}, expected {names}") from None
    raise Failed(f"{getattr(fn, '__name__', fn)}{short(args)} succeeded, expected {names}")


def until(condition, what, seconds=5):
    """Waits for condition() to hold: for what is asynchronous by nature, such as RELEASE after munmap."""
    end = time.monotonic() + seconds * SCALE
    while True:
        if condition():
            return
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            raise Skip(f"{p} is not installed")


def need_root():
    if os.geteuid() != 0:
        raise Skip("not root")


# ---- files ----------------------------------------------------------------------------------------------------------


def as_bytes(data):
    return data.encode() if isinstance(data, str) else data


def put(path, data, flags=os.O_CREAT | os.O_TRUNC, mode=0o644):
    """One plain save: open, write, close."""
    fd = os.open(path, os.O_WRONLY | flags, mode)
    try:
        write_all(fd, as_bytes(data))
    finally:
        os.close(fd)


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def get(path):
    with open(path, "rb") as f:
        return f.read()


def text(path):
    return get(path).decode()


def run(*argv, check=True, cwd=None, input=None, env=None, timeout=120):
    """Runs a program; returns its CompletedProcess with text output. check: it must exit 0."""
    p = subprocess.run([str(a) for a in argv], cwd=cwd, input=input, env=env, timeout=timeout * SCALE,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    if check and p.returncode != 0:
        raise Failed(f"{' '.join(str(a) for a in argv)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p


def sh(command, cwd=None, check=True, shell="bash", env=None):
    return run(shell, "-c", command, cwd=cwd, check=check, env=env)


def stemma(*argv, check=True, cwd=None, timeout=120):
    return run(STEMMA, *argv, check=check, cwd=cwd, timeout=timeout)


def refused(code, *argv, words=(), cwd=None):
    """stemma ARGV must exit with code (or one of them) and say one sentence on stderr that names each of the words."""
    p = stemma(*argv, check=False, cwd=cwd)
    codes = code if isinstance(code, tuple) else (code,)
    shown = "stemma " + " ".join(str(a) for a in argv)
    if p.returncode not in codes:
        raise Failed(f"{shown}: exit {p.returncode}, expected {code}\n{p.stdout}{p.stderr}")
    lines = [line for line in p.stderr.splitlines() if line.strip()]
    ok(lines, f"{shown}: nothing on stderr")
    ok(p.stdout == "", f"{shown}: an error must leave stdout empty, got {short(p.stdout)}")
    ok(len(lines[0].split()) >= 4, f"{shown}: not a sentence: {short(p.stderr)}")
    for w in words:
        ok(str(w).lower() in p.stderr.lower(), f"{shown}: the message does not name {short(w)}: {short(p.stderr)}")
    return p.stderr


def as_user(uid, fn, *args, gid=None, groups=()):
    """Calls fn in a child process that has become uid (of group gid: uid's number unless told); returns its result (JSON-able), or raises its OSError here."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            os.setgroups(groups)
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            try:
                out = {"value": fn(*args)}
            except OSError as e:
                out = {"errno": e.errno}
            write_all(w, json.dumps(out).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(w)
    with open(r) as f:
        answer = f.read()
    os.waitpid(pid, 0)
    answer = json.loads(answer)
    if "errno" in answer:
        raise OSError(answer["errno"], "as user %d" % uid)
    return answer["value"]


# ---- versions -------------------------------------------------------------------------------------------------------


def log_rows(path):
    """The versions of path, oldest first, as word@/log.jsonl tells them."""
    return [json.loads(line) for line in text(path + "@/log.jsonl").splitlines()]


def versions(path):
    return [row["version"].removeprefix("v") for row in log_rows(path)]


def contents(path):
    """What each version of path reads, oldest first."""
    return [text(f"{path}@v{v}") for v in versions(path)]


def count(path):
    return len(versions(path))


@contextlib.contextmanager
def adds(path, n, what=""):
    """What happens inside must add exactly n versions to path (which may not exist before)."""
    def now():
        try:
            return count(path)
        except FileNotFoundError:
            return 0
    before = now()
    yield
    eq(now() - before, n, f"versions added to {os.path.basename(path)}{' by ' + what if what else ''}")


def xattr(path, name, follow=True):
    return os.getxattr(path, name, follow_symlinks=follow).decode()


# ---- system calls that Python does not have ---------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
AT_FDCWD = -100


def checked(result):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return result


def renameat2(old, new, flags):
    return checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags)))


def fallocate(fd, mode, offset, length):
    return checked(libc.fallocate(fd, ctypes.c_int(mode), ctypes.c_long(offset), ctypes.c_long(length)))


class FileHandle(ctypes.Structure):
    _fields_ = [("handle_bytes", ctypes.c_uint), ("handle_type", ctypes.c_int), ("f_handle", ctypes.c_ubyte * 128)]


def name_to_handle(path):
    h = FileHandle(handle_bytes=128)
    mount_id = ctypes.c_int()
    checked(libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(h), ctypes.byref(mount_id), 0))
    return h.handle_type, bytes(h.f_handle[:h.handle_bytes])


def open_by_handle(mount_path, handle, flags=os.O_RDONLY):
    kind, data = handle
    h = FileHandle(handle_bytes=len(data), handle_type=kind)
    h.f_handle[:len(data)] = data
    d = os.open(mount_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return checked(libc.open_by_handle_at(d, ctypes.byref(h), flags))
    finally:
        os.close(d)


# ---- stores and mounts ------------------------------------------------------------------------------------------------


def mounted(path):
    """The (type, source) of what is mounted at path, or None."""
    found = None
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, right = line.rstrip("\n").split(" - ")
            point = left.split(" ")[4].encode().decode("unicode_escape")
            if point == path:
                found = tuple(right.split(" ")[:2])
    return found


def pid_of(store):
    """The pid that the store's lock file holds; waits for one that is just being written."""
    found = []

    def read():
        with open(os.path.join(store, "lock")) as f:
            found[:] = re.findall(r"\d+", f.read())
        return found
    until(read, "a pid in the lock file")
    return int(found[0])


def processes_of(store, roles=("supervise", "serve")):
    """The pids of a mounted store's supervisor and daemon, by their command lines: {role: [pid, ...]}."""
    found = {role: [] for role in roles}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = os.fsdecode(f.read()).split("\0")
        except OSError:
            continue
        if len(argv) > 2 and argv[1] in roles and argv[2] == store:
            found[argv[1]].append(int(pid))
    return found


def kill_all_of(store):
    """kill -9 of everything that serves a store. Stopped first: a daemon would start another supervisor, and that another daemon."""
    while True:
        pids = sum(processes_of(store).values(), [])
        if not pids:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(0.001)


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) / 1024


class Store:
    def __init__(self, name="store"):
        if MEMORY:
            self.path = "mem:"
            return
        self.path = os.path.join(WORK, name)
        stemma("init", self.path)

    def mount(self, *options, name="mnt", allow=None):
        return Mount(self, options, name, allow)


def sound(store):
    """What the tests left must be in order: fsck finds nothing."""
    if not MEMORY:
        stemma("fsck", store.path, timeout=600)


class Mount:
    """
    A store mounted in the foreground, its log in a file. `m / "word"` is a path on it. As a context it unmounts at the end and then checks
    the exit code and the log; allow: a pattern of log lines that are expected. m.daemon is the process that was started: the
    supervisor, or the daemon itself with nosupervise or a store in memory; m.pid is the daemon's.
    """

    def __init__(self, store, options=(), name="mnt", allow=None):
        self.store, self.options, self.name, self.allow = store, options, name, allow
        self.path = os.path.join(WORK, name)
        self.log = os.path.join(WORK, name + ".log")
        self.daemon = None
        self.mount()

    def __truediv__(self, rel):
        return os.path.join(self.path, rel)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind is None:
            self.umount()
        else:
            self.discard()

    def mount(self):
        os.makedirs(self.path, exist_ok=True)
        argv = [STEMMA, "mount", self.store.path, self.path, "-f"]
        if self.options:
            argv += ["-o", ",".join(self.options)]
        with open(self.log, "ab") as log:
            begin = log.tell()
            self.daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20 * SCALE
        while not (mounted(self.path) and b"mounted store=" in get(self.log)[begin:]):
            if self.daemon.poll() is not None:
                raise Failed(f"the daemon left with {self.daemon.returncode} instead of mounting\n{self.log_text()}")
            if time.monotonic() > end:
                raise Failed(f"not mounted in time\n{self.log_text()}")
            time.sleep(0.005)
        os.stat(self.path)

    @property
    def pid(self):
        return self.daemon.pid if self.store.path == "mem:" else pid_of(self.store.path)

    def kill_daemon(self, number=signal.SIGKILL):
        """The daemon dies, the supervisor lives."""
        pid = self.pid
        os.kill(pid, number)
        return pid

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return "".join(line for line in f if not re.match(r"stemma: (un)?mounted ", line))

    def check_log(self):
        for line in self.log_text().splitlines():
            if SUSPICIOUS.search(line) and not (self.allow and re.search(self.allow, line)):
                raise Failed(f"suspicious in the daemon's log: {line}\n{self.log_text()}")

    def left(self, code=0):
        """The daemon must leave by itself, with code."""
        try:
            got = self.daemon.wait(20 * SCALE)
        except subprocess.TimeoutExpired:
            raise Failed(f"the daemon did not leave\n{self.log_text()}") from None
        self.daemon = None
        if got != code:
            raise Failed(f"the daemon left with {got}, expected {code}\n{self.log_text()}")

    def umount(self):
        if self.daemon is None:
            return
        p = stemma("umount", self.path, check=False)
        ok(p.returncode == 0, f"umount: exit {p.returncode}: {p.stderr}the daemon's log:\n{self.log_text()}")
        ok(not mounted(self.path), "stemma umount returned while still mounted")
        self.left()
        self.check_log()

    def remount(self):
        if MEMORY:
            raise Skip("a store in memory ends with its daemon")
        self.umount()
        self.mount()

    def crash(self, children=()):
        """
        kill -9 of the supervisor and the daemon, and the dead mount point taken away. Handles that are open answer ENOTCONN. children (of
        ours, at work there) end too.
        """
        self.kill()
        for c in children:  # before the unmount, lest they go on in the directory below
            c.kill()
            c.wait()
        unmount_lazily(self.path)

    def kill(self):
        """kill -9 of everything that serves it; the mount point is dead."""
        kill_all_of(self.store.path)
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = None

    def discard(self):
        """After a failure: away with it, whatever state it is in."""
        if self.daemon is not None:
            sys.stderr.write(self.log_text()[-4000:])
            self.kill()
        unmount_lazily(self.path)


def unmount_lazily(path):
    while mounted(path):
        argv = ["umount", "-l", path] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", path]
        subprocess.run(argv, check=True)


# ---- main -------------------------------------------------------------------------------------------------------------


class Dir:
    """A directory of its own on the mount for one test function; .mount is the mount, .root a path from the mount's root."""

    def __init__(self, mount, name):
        self.mount = mount
        self.path = mount / name
        os.mkdir(self.path)

    def __truediv__(self, rel):
        return os.path.join(self.path, rel)


def outcome(name, fn, *args):
    """Runs fn; prints what went wrong, if anything; returns 'ok', 'skip' or 'FAIL'."""
    try:
        fn(*args)
    except Skip as e:
        print(f"skip {name}: {e}")
        return "skip"
    except Failed as e:
        print(f"FAIL {name}: {e}")
        frames = [f for f in traceback.extract_tb(e.__traceback__) if f.filename != __file__]
        if frames:
            print(f"     at line {frames[-1].lineno}: {frames[-1].line}")
        return "FAIL"
    except Exception as e:
        print(f"FAIL {name}: {type(e).__name__}: {e}")
        for f in traceback.extract_tb(e.__traceback__)[1:]:
            print(f"     {os.path.basename(f.filename)}:{f.lineno}: {f.line}")
        return "FAIL"
    return "ok"


def tests_of(module):
    only = sys.argv[1:]
    return [(n.removeprefix("test_"), f) for n, f in vars(module).items()
            if n.startswith("test_") and callable(f) and (not only or any(o in n for o in only))]


def leave(results):
    sys.stdout.flush()
    if "FAIL" in results:
        sys.exit(1)
    sys.exit(0 if "ok" in results else 77)


def main(options=(), own_mount=False):
    """
    Runs the test_* functions of the calling file (or those whose name contains an argument). own_mount: they are called without
    arguments and make their own stores.
    """
    tests = tests_of(sys.modules["__main__"])
    if own_mount:
        leave([outcome(n, f) for n, f in tests])
    results = []

    def all_of_them():
        store = Store()
        with store.mount(*options) as m:
            results.extend(outcome(n, f, Dir(m, n)) for n, f in tests)
        sound(store)
    results.append(outcome("mount", all_of_them))
    if results[-1] == "ok" and "ok" not in results[:-1]:
        results.pop()
    leave(results)
