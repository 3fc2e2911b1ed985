"""A new file made of pieces of an old one and of new bytes, read as a stream: it is written nowhere.

Knows nothing of what the pieces mean (`broker.dicom.coerce` plans them), and opens no file. PS3.5 A.5 for the
deflated transfer syntax, whose data set is the one thing held in memory (`elements.INFLATED_LIMIT`).
"""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

from broker.dicom import elements
from broker.errors import RemoteProtocolError


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes `[start, end)` of the source: of the file, or of the inflated data set of a deflated one."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


Piece = bytes | Range

_CHUNK = 1 << 20
"""Bytes that are deflated at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """What to write, and what it changes."""

    pieces: tuple[Piece, ...]
    changed: tuple[str, ...] = ()
    """Keywords of the attributes that get another value, for operators."""
    removed: tuple[str, ...] = ()
    """Keywords of the attributes that are taken out."""
    character_set: str = ""
    """The defined term that (0008,0005) is changed to; empty when it stays."""
    lossy: bool = False
    """A value was transliterated or cut, because the instance and its receiver have no set that shows it."""
    deflated_from: int | None = None
    """Where the data set starts in a deflated file; the pieces are then of the inflated data set."""


def length(pieces: Iterable[Piece]) -> int:
    """Bytes that the pieces make."""
    return sum(len(piece) for piece in pieces)


def opened(source: BinaryIO, splice: Splice) -> BinaryIO:
    """The spliced file; good for as long as `source` is open and nobody else moves in it.

    Reading raises `RemoteProtocolError` where the source is no longer the file that was planned on.
    """
    if splice.deflated_from is None:
        return io.BufferedReader(_Spliced(source, _joined(splice.pieces)))
    dataset = io.BufferedReader(
        _Spliced(io.BytesIO(elements.inflate(source, splice.deflated_from)), splice.pieces)
    )
    source.seek(0)
    made = io.BytesIO(source.read(splice.deflated_from))
    made.seek(0, io.SEEK_END)
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    while chunk := dataset.read(_CHUNK):
        made.write(stream.compress(chunk))
    made.write(stream.flush())
    made.write(b"\0" * ((made.tell() - splice.deflated_from) % 2))
    made.seek(0)
    return made


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same bytes in fewer pieces: a changed element is several, and each would take its turn in each reading."""
    found: list[Piece] = []
    for piece in filter(len, pieces):
        last = found[-1] if found else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            found[-1] = last + piece
        elif isinstance(piece, Range) and isinstance(last, Range) and last.end == piece.start:
            found[-1] = Range(last.start, piece.end)
        else:
            found.append(piece)
    return found


class _Spliced(io.RawIOBase):
    """Pieces one after the other."""

    def __init__(self, source: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._source = source
        self._pieces = pieces
        self._ends = list(accumulate(len(piece) for piece in pieces))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: (self._ends or [0])[-1]}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        space, filled = memoryview(buffer), 0
        for index in range(bisect_right(self._ends, self._position), len(self._pieces)):
            piece, left = self._pieces[index], self._ends[index] - self._position
            part = space[filled : filled + left]
            if isinstance(piece, bytes):
                start = len(piece) - left
                part[:] = piece[start : start + len(part)]
                count = len(part)
            else:
                self._source.seek(piece.end - left)
                count = self._source.readinto(part)  # type: ignore[attr-defined]
                if part and not count and not filled:
                    raise RemoteProtocolError(
                        f"the file ends at offset {piece.end - left}, before it did when read"
                    )
            filled += count
            self._position += count
            if count < left:  # there is no more space, or the source gave less
                break
        return filled
