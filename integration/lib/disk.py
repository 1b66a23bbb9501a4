"""
disk.py: small filesystems of their own for cases about full and failing disks. For root; a case that may not is skipped.
"""
import contextlib
import errno
import os
import random

from stm import MEMORY, WORK, Skip, Store, as_user, eq, need, need_root, put, run, stemma, unmount_lazily, write_all

FULL = r"store_full|store_good|No space left"  # what the log of a mount on such a disk may hold
NOBODY = 65534


@contextlib.contextmanager
def disk(mib, name, *options):
    """A filesystem of so many MiB, mounted on the directory it yields."""
    need_root()
    need("mkfs.ext4")
    if MEMORY:
        raise Skip("a store in memory fills no disk")
    image, top = os.path.join(WORK, name + ".img"), os.path.join(WORK, name)
    with open(image, "wb") as f:
        f.truncate(mib << 20)
    run("mkfs.ext4", "-q", "-F", *options, image)
    os.makedirs(top)
    if run("mount", "-o", "loop", image, top, check=False).returncode != 0:
        raise Skip("no loop devices")
    os.chmod(top, 0o777)
    try:
        yield top
    finally:
        unmount_lazily(top)


class On(Store):
    """A store in a given directory."""

    def __init__(self, path):
        self.path = path
        stemma("init", path)


def fill(path, all_of_it=False):
    """Takes what is left; all_of_it: root's share too."""
    def write():
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        size = 1 << 20
        while size >= 4096:
            try:
                write_all(fd, bytes(size))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
                size //= 4
        os.close(fd)
    if all_of_it:
        write()
    else:
        as_user(NOBODY, write)


def can_save(path):
    try:
        put(path, b"there is room")
    except OSError as e:
        eq(e.errno, errno.ENOSPC, "how saving was refused")
        return False
    return True


def seed():
    value = int(os.environ.get("STEMMA_TEST_SEED") or random.randrange(1 << 32))
    print(f"STEMMA_TEST_SEED={value}")
    return random.Random(value)
