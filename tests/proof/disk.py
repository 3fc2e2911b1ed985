"""What of a folder a power cut would leave, from the record that disk.c makes of a program's calls.

The rules are POSIX's, read strictly. Bytes are safe once their file was synced, names once their folder was. Of the
rest a disk may have written any part: each 4 KiB block stands as it was after some number of its writes, a torn one
so by sectors of 512 bytes; a name is there or not, a renamed file under one of both. What a failed sync should have
written is lost, unless it is written again. Not here: what programs do with what they find.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

from tests.support.needs import needs

BLOCK: Final = 4096
SECTOR: Final = 512
LYING: Final = {"DISK_LIES": "1"}
"""In a program's environment: every sync says that it went well and does nothing, as cheap disks have done."""

_MAPPED: Final = "-shm"
"""SQLite's shared memory: written through a mapping, which leaves no record, and made anew at each start."""

_SOURCE: Final = Path(__file__).with_name("disk.c")
_RECORD: Final = struct.Struct("<ciqII")

Write = tuple[int, bytes]
Change = Write | int
"""Bytes at an offset, or a new size."""


@dataclass(eq=False)
class Node:
    """A file or a folder, whatever its names. `safe` is what was synced, `pending` what was done since, in order."""

    folder: bool = False
    safe: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    failed: bool = False
    """A sync failed: programs still see what it should have written, and no later sync writes it."""

    def seen(self) -> bytes:
        """The content as programs see it."""
        content = bytearray(self.safe)
        _apply(content, self.pending)
        return bytes(content)

    def sync(self) -> None:
        _apply(self.safe, self.pending)
        self.pending.clear()

    def after_cut(self, dice: random.Random, chance: float) -> bytes:
        """A content that a power cut may leave; each block gets a part of what was not synced with this chance."""
        if not self.pending or not chance:
            return bytes(self.safe)
        sizes = list(_sizes(len(self.safe), self.pending))
        content = bytearray(max(sizes))
        content[: len(self.safe)] = self.safe
        touched: dict[int, list[Write]] = {}
        for offset, data in _writes(sizes[0], self.pending):
            for block in range(offset // BLOCK, -(-(offset + len(data)) // BLOCK)):
                touched.setdefault(block, []).append((offset, data))
        for block, writes in sorted(touched.items()):
            start = block * BLOCK
            if dice.random() >= chance:
                continue
            torn = dice.random() < 0.3
            count = dice.randint(1, len(writes))
            for sector in range(start, start + BLOCK, SECTOR):
                for offset, data in writes[: dice.randint(0, len(writes)) if torn else count]:
                    begin, end = max(offset, sector), min(offset + len(data), sector + SECTOR)
                    if begin < end:
                        content[begin:end] = data[begin - offset : end - offset]
        del content[dice.choice(sizes) :]
        return bytes(content)


class Disk:
    """The files below `root`, which programs change only under disk.c. `absorb` when none of them runs."""

    def __init__(self, root: Path, work: Path) -> None:
        """`root` is there and empty. `work`: a folder for the log and the control file."""
        self.root = root.resolve()
        self._log = work / "disk.log"
        self._control = work / "disk.control"
        self._safe: dict[str, Node] = {"": Node(folder=True)}
        self._seen = dict(self._safe)
        self.heal()

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to run on this disk."""
        return {
            "LD_PRELOAD": str(_library()),
            "DISK_ROOT": str(self.root),
            "DISK_LOG": str(self._log),
            "DISK_CONTROL": str(self._control),
        }

    def fail(
        self,
        *,
        write: tuple[int, int] = (0, 0),
        sync: tuple[int, int] = (0, 0),
        sync_milliseconds: int = 0,
    ) -> None:
        """From now on so many percent of the writes and syncs fail, as (errno, percent); a sync takes up to so long."""
        content = bytes([*write, *sync, sync_milliseconds])
        if self._control.exists():
            with self._control.open("r+b") as file:  # the same file: it is mapped into the program
                file.write(content)
        else:
            self._control.write_bytes(content)

    def heal(self) -> None:
        """Everything succeeds again."""
        self.fail()

    def absorb(self) -> list[str]:
        """Takes in what was done since. Returns which files are not as the record says, and believes the folder.

        After a kill these may be the one call that was not written down; after a clean stop there must be none.
        """
        with contextlib.suppress(FileNotFoundError), self._log.open("rb") as log:
            self._replay(log)
        self._log.unlink(missing_ok=True)
        return self._believe()

    def cut_power(self, dice: random.Random, chance: float | None = None) -> None:
        """Leaves in the folder what was synced, and of the rest each part with this chance; drawn when not given."""
        self.absorb()
        chance = dice.choice([0.0, 0.5, 1.0]) if chance is None else chance
        names = self._names_after_cut(dice, chance)
        for entry in list(self.root.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for path, node in sorted(names.items()):
            if node.folder:
                (self.root / path).mkdir(exist_ok=True)
                continue
            node.safe = bytearray(node.after_cut(dice, chance))
            node.pending.clear()
            (self.root / path).write_bytes(node.safe)
        self._safe, self._seen = names, dict(names)

    def _replay(self, log: BinaryIO) -> None:
        handles: dict[int, tuple[str, Node]] = {}
        for kind, fd, number, first, second in _records(log):
            path, target = self._relative(first, kind), self._relative(second, kind)
            if kind == b"O":
                node = self._seen.setdefault(path, Node(folder=(self.root / path).is_dir()))
                handles[fd] = path, node
                if number:
                    node.pending.append(0)
            elif kind == b"W":
                handles[fd][1].pending.append((number, first))
            elif kind == b"T":
                handles[fd][1].pending.append(number)
            elif kind == b"S":
                self._sync(*handles[fd])
            elif kind == b"L":
                handles[fd][1].pending.clear()
                handles[fd][1].failed = True
            elif kind == b"R":
                self._seen[target] = self._seen.pop(path)
            elif kind == b"H":
                self._seen[target] = self._seen[path]
            elif kind == b"U":
                self._seen.pop(path, None)
            elif kind == b"M":
                self._seen[path] = Node(folder=True)

    def _relative(self, path: bytes, kind: bytes) -> str:
        if kind == b"W" or not path:
            return ""
        relative = os.path.relpath(os.fsdecode(path), self.root)
        return "" if relative == "." else relative

    def _sync(self, path: str, node: Node) -> None:
        if not node.folder:
            node.sync()
            return
        for name in {n for n in (*self._seen, *self._safe) if n and _parent(n) == path}:
            found = self._seen.get(name)
            if found is None:
                self._safe.pop(name, None)
                continue
            self._safe[name] = found
            # A rename is one step: the old name goes when the new one is safe.
            for other in [
                n for n, at in self._safe.items() if at is found and self._seen.get(n) is not found
            ]:
                del self._safe[other]

    def _believe(self) -> list[str]:
        """Makes what is seen what stands in the folder; the difference was not synced."""
        differing = []
        found = {p.relative_to(self.root).as_posix(): p for p in self.root.rglob("*")}
        for path in sorted({*found, *self._seen} - {""}):
            here, node = found.get(path), self._seen.get(path)
            if path.endswith(_MAPPED) or (here is not None and here.is_dir() and node is not None):
                continue
            if here is None:
                del self._seen[path]
            elif here.is_dir():
                self._seen[path] = Node(folder=True)
            elif node is None or node.seen() != here.read_bytes():
                content = here.read_bytes()
                self._seen.setdefault(path, Node()).pending += [len(content), (0, content)]
                if node is not None and node.failed:
                    node.failed = False
                    continue
            else:
                continue
            differing.append(path)
        return differing

    def _names_after_cut(self, dice: random.Random, chance: float) -> dict[str, Node]:
        """One step of the file system per file: all its new names, or all its old ones."""
        paths = sorted({*self._safe, *self._seen})
        written: dict[Node, bool] = {}
        for path in paths:
            for node in (self._safe.get(path), self._seen.get(path)):
                if node is not None and node not in written:
                    written[node] = dice.random() < chance
        held = set(self._seen.values())
        names: dict[str, Node] = {}
        for path in paths:
            old, new = self._safe.get(path), self._seen.get(path)
            if new is not None and (new is old or written[new]):
                chosen: Node | None = new
            elif old is not None and not (written[old] and (new is None or old in held)):
                chosen = old
            else:
                chosen = None
            parent = names.get(_parent(path)) if path else None
            if chosen is not None and not path.endswith(_MAPPED) and (not path or parent is not None):
                names[path] = chosen
        return names


@cache
def _library() -> Path:
    """disk.c as a library, built once; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    atexit.register(shutil.rmtree, folder)
    built = folder / "disk.so"
    subprocess.run([needs("cc"), "-shared", "-fPIC", "-O2", "-o", built, _SOURCE], check=True)
    return built


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _records(log: BinaryIO) -> Iterator[tuple[bytes, int, int, bytes, bytes]]:
    """The whole records; a kill may have torn the last one."""
    while len(head := log.read(_RECORD.size)) == _RECORD.size:
        kind, fd, number, first, second = _RECORD.unpack(head)
        rest = log.read(first + second)
        if len(rest) == first + second:
            yield kind, fd, number, rest[:first], rest[first:]


def _apply(content: bytearray, changes: Iterable[Change]) -> None:
    for change in changes:
        size, data = (change, b"") if isinstance(change, int) else (change[0], change[1])
        if len(content) < size:
            content.extend(bytes(size - len(content)))
        if isinstance(change, int):
            del content[size:]
        else:
            content[size : size + len(data)] = data


def _sizes(size: int, changes: Iterable[Change]) -> Iterator[int]:
    """Every size that the file has had since it was synced."""
    yield size
    for change in changes:
        size = change if isinstance(change, int) else max(size, change[0] + len(change[1]))
        yield size


def _writes(size: int, changes: Iterable[Change]) -> Iterator[Write]:
    """The changes as writes: what was cut off and what a new size brings are zeros."""
    for change in changes:
        if isinstance(change, int):
            if change != size:
                yield min(change, size), bytes(abs(change - size))
            size = change
        else:
            yield change
            size = max(size, change[0] + len(change[1]))
