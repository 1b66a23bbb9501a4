"""
powercut.py: what a disk may hold after the power failed: reads the record that tools/recorder.c wrote and builds the directory as it may be
after any of its first K operations. Standard library only.

The model, which is what a journalling filesystem promises (ext4 with data=ordered) or less:

- Names (create, mkdir, rename, link, unlink, ...) and truncations reach the disk in their order. A cut keeps a prefix of them: at least up to the
  last sync of a directory, the making of each file that was synced since, and what a sync of the file itself covers; at most all.
- The data of a file that were written before its last fsync or fdatasync are there. Of later ones a cut keeps, by file: nothing; all; a prefix that
  may end within a sector; or (what overwrites older data) any pages of 4,096 or sectors of 512 bytes. The size is that of what was kept, or the
  newest one with zeros where data are missing at the end.
- A sync that failed has thrown away what was waiting, as Linux does: those data never reach the disk, whatever later syncs say.
- `reorder`: what is appended may also miss pages in its middle (zeros). Where a log is read until its first damage, this is the worst that can come.

`ignore_syncs` is the control: as if no sync had ever been asked for.
"""
import os
import struct

HEAD = struct.Struct("<BBHHQQQ")
NAMES = b"CDNYUXRL"


class Op:
    __slots__ = ("kind", "flags", "path", "path2", "ino", "offset", "length", "data")

    def __init__(self, kind, flags, path, path2, ino, offset, length, data):
        self.kind, self.flags, self.path, self.path2 = kind, flags, path, path2
        self.ino, self.offset, self.length, self.data = ino, offset, length, data


def read_record(path):
    """All operations; the inode numbers are replaced by numbers of ours that are never used again."""
    ops, current, fresh = [], {}, 0
    with open(path, "rb") as f:
        raw = f.read()
    at = 0
    while at + HEAD.size <= len(raw):
        kind, flags, n, n2, ino, offset, length = HEAD.unpack_from(raw, at)
        at += HEAD.size
        name, name2 = raw[at:at + n], raw[at + n:at + n + n2]
        at += n + n2
        kind = chr(kind)
        data = b""
        if kind in "WM":
            data = raw[at:at + length]
            at += length
        if kind in "CDNY":
            fresh += 1
            current[ino] = fresh
        ops.append(Op(kind, flags, os.fsdecode(name), os.fsdecode(name2), current.get(ino, 0), offset, length, data))
    return ops


class Disk:
    """
    The state after a prefix of the operations, moved forward by advance(). For each file: the bytes that are safe, and what was done since.
    """

    def __init__(self, ops, ignore_syncs=False):
        self.ops, self.ignore = ops, ignore_syncs
        self.at = 0
        self.safe = {}      # ino -> bytearray: all that the last sync covered
        self.since = {}     # ino -> [index of an operation on its data]
        self.born = {}      # ino -> index of its creation
        self.floor = 0      # names up to here are on the disk
        self.names = []     # indices of operations on names
        self.cut_size = {}  # ino -> index of the newest truncation that is safe

    def advance(self, upto):
        for i in range(self.at, upto):
            op = self.ops[i]
            if op.kind in "CDNY":
                self.born[op.ino] = i
                if op.kind == "C":
                    self.safe[op.ino] = bytearray()
                    self.since[op.ino] = []
            if op.kind in "CDNYUXRL":
                self.names.append(i)
            elif op.kind in "WTA" and op.ino in self.since:
                self.since[op.ino].append(i)
            elif op.kind in "fF" and not self.ignore and op.ino in self.since:
                for j in self.since[op.ino]:
                    apply_data(self.safe[op.ino], self.ops[j])
                self.since[op.ino] = []
                self.floor = max(self.floor, self.born[op.ino] + 1)
            elif op.kind == "e" and op.ino in self.since:
                self.since[op.ino] = [j for j in self.since[op.ino] if self.ops[j].kind != "W"]
            elif op.kind == "S" and not self.ignore:
                self.floor = i
        self.at = upto

    def build(self, top, rng, reorder=False):
        """Writes one of the possible states into the directory top (which must be empty). Returns how many bytes were lost."""
        how = rng.choice(["none", "all", "mixed", "mixed"])
        upto = rng.choice([self.floor, self.at, rng.randint(self.floor, self.at)])
        tree = self.tree(upto)
        lost, written = 0, {}
        for path in sorted(tree):
            kind, ino, extra = tree[path]
            full = top + path
            if kind == "D":
                os.mkdir(full, 0o700)
            elif kind == "Y":
                os.symlink(extra, full)
            elif ino in written:
                os.link(written[ino], full)
            elif kind == "C":
                data, missing = self.content(ino, upto, how, rng, reorder)
                lost += missing
                with open(full, "wb") as f:
                    f.write(data)
                written[ino] = full
        return lost

    def tree(self, upto):
        """path -> (kind, ino, target) after the operations on names before upto."""
        tree = {}
        for i in self.names:
            if i >= upto:
                break
            op = self.ops[i]
            if op.kind in "CDNY":
                tree[op.path] = (op.kind, op.ino, op.path2)
            elif op.kind in "UX":
                tree.pop(op.path, None)
            elif op.kind == "L":
                tree[op.path2] = tree[op.path]
            else:
                below = op.path + "/"
                for path in [p for p in tree if p.startswith(below)]:
                    tree[op.path2 + path[len(op.path):]] = tree.pop(path)
                tree[op.path2] = tree.pop(op.path)
        return tree

    def content(self, ino, upto, how, rng, reorder):
        """The bytes of one file, and how many of its newest ones are not among them."""
        data = bytearray(self.safe[ino])
        newest = len(data)
        if how == "mixed":
            how = rng.choice(["none", "all", "some", "some"])
        kept, stopped = how != "none", False
        last = rng.randrange(len(self.since[ino])) if self.since[ino] else 0
        lost = 0
        for n, i in enumerate(self.since[ino]):
            op = self.ops[i]
            if op.kind == "T":
                newest = op.offset
                if i < upto and not stopped:
                    apply_data(data, op)
                continue
            if op.kind == "A":
                if kept and not stopped:
                    apply_data(data, op)
                continue
            newest = max(newest, op.offset + len(op.data))
            before = len(data)
            if how == "all":
                apply_data(data, op)
            elif kept and not stopped:
                stopped = self.some(data, op, n, last, rng, reorder)
            if how != "all":
                lost += max(0, op.offset + len(op.data) - max(before, len(data)))
        if how == "some" and len(data) < newest and rng.random() < 0.5:
            data.extend(bytes(newest - len(data)))
        return data, lost

    @staticmethod
    def some(data, op, n, last, rng, reorder):
        """Applies a part of a write. True: nothing after it is kept."""
        if op.offset >= len(data) and not reorder:  # appended: a prefix
            if n < last:
                apply_data(data, op)
                return False
            put(data, op.offset, op.data[:rng.randint(0, len(op.data))])
            return True
        size = 4096 if op.offset >= len(data) else rng.choice([512, 4096])
        for at in range(0, len(op.data), size):
            if rng.random() < 0.7:
                put(data, op.offset + at, op.data[at:at + size])
        return False


def put(data, offset, piece):
    if not piece:
        return
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset:offset + len(piece)] = piece


def apply_data(data, op):
    if op.kind == "W":
        put(data, op.offset, op.data)
    elif op.kind == "T":
        if op.offset < len(data):
            del data[op.offset:]
        else:
            data.extend(bytes(op.offset - len(data)))
    elif op.kind == "A":
        if op.flags & 2 and op.offset < len(data):  # a hole
            n = min(op.length, len(data) - op.offset)
            data[op.offset:op.offset + n] = bytes(n)
        elif not op.flags & 1 and op.offset + op.length > len(data):
            data.extend(bytes(op.offset + op.length - len(data)))
