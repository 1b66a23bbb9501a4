"""
twice.py: for cases that say what POSIX and Linux promise. Each test runs twice: on a mount, and on a directory of the machine's own filesystem,
where it must pass as well. So what is expected is what a common filesystem does, not what this one happens to do.

    from twice import *

    def test_a_name_is_free_after_unlink(d):
        put(d / "f", "x")
        os.unlink(d / "f")
        eq(os.listdir(d.path), [])

    both()

A test that the reference cannot pass says why: @mount_only("the reason"). Not for what is peculiar to versions: see the other families.
"""
import fcntl
import mmap
import socket
import struct

from stm import *  # noqa

REFERENCES = ("ext4", "xfs", "btrfs")
USER, OTHER, GROUP = 12345, 23456, 34567  # two users and a group that nobody has a name for


class Local:
    """A directory of its own on the machine's own filesystem."""
    mount = None

    def __init__(self, name):
        self.path = os.path.join(WORK, "reference", name)
        os.makedirs(self.path)

    def __truediv__(self, rel):
        return os.path.join(self.path, rel)


def mount_only(why):
    """The test is not run on the reference."""
    def mark(fn):
        fn.mount_only = why
        return fn
    return mark


def filesystem_of(path):
    best = ("", "")
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, right = line.rstrip("\n").split(" - ")
            point = left.split(" ")[4].encode().decode("unicode_escape")
            if (os.path.realpath(path) + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, right.split(" ")[0])
    return best[1]


def both(options=()):
    """Runs the test_* functions of the calling file on the reference and on a mount with these options; checks the store afterwards."""
    tests = tests_of(sys.modules["__main__"])
    kind = filesystem_of(WORK)
    results = []
    if kind in REFERENCES:
        results += [outcome(f"{n} on {kind}, the reference", f, Local(n)) for n, f in tests if not hasattr(f, "mount_only")]
    else:
        print(f"no reference: {kind} is not one of {', '.join(REFERENCES)}")

    def on_a_mount():
        store = Store()
        with store.mount(*options) as m:
            results.extend(outcome(n, f, Dir(m, n)) for n, f in tests)
        sound(store)
    results.append(outcome("mount", on_a_mount))
    leave(results)


def open_to_all(d):
    """Everybody may do anything in the test's directory."""
    os.chmod(d.path, 0o777)


def mode_of(path):
    return os.lstat(path).st_mode & 0o7777


def make(path, mode, uid=0, gid=0, data="abc"):
    """A file with exactly this mode and owner."""
    put(path, data)
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return path


@contextlib.contextmanager
def opened(path, flags, mode=0o644, **kw):
    fd = os.open(path, flags, mode, **kw)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def umask(mask):
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = 0x1000, 0x400


def linkat(source, path, flags=AT_SYMLINK_FOLLOW):
    """source: a path, or a descriptor (with AT_EMPTY_PATH)."""
    at, name = (source, b"") if isinstance(source, int) else (AT_FDCWD, os.fsencode(source))
    return checked(libc.linkat(at, name, AT_FDCWD, os.fsencode(path), flags))


def child(fn, *args):
    """Calls fn in another process of the same user; returns its result, or raises its OSError here."""
    return as_user(os.geteuid(), fn, *args, gid=os.getegid(), groups=os.getgroups()) if os.geteuid() == 0 else as_child(fn, *args)


def as_child(fn, *args):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            out = {"value": fn(*args)}
        except OSError as e:
            out = {"errno": e.errno}
        os.write(w, json.dumps(out).encode())
        os._exit(0)
    os.close(w)
    with open(r) as f:
        answer = json.loads(f.read())
    os.waitpid(pid, 0)
    if "errno" in answer:
        raise OSError(answer["errno"], "in a child")
    return answer["value"]
