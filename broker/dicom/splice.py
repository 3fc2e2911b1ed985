"""A new file made of pieces of an old one and of new bytes, written as a stream.

Knows nothing of what the pieces mean (`broker.dicom.coerce` plans them), and opens no file. PS3.5 A.5 for the
deflated transfer syntax, whose data set is the one thing held in memory (`elements.INFLATED_LIMIT`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from broker.dicom import elements
from broker.errors import RemoteProtocolError

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes `[start, end)` of the source: of the file, or of the inflated data set of a deflated one."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


Piece = bytes | Range


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


def apply(source: BinaryIO, target: BinaryIO, splice: Splice) -> None:
    """Writes the spliced file to `target` from its position on; reads the source in chunks of `CHUNK` bytes.

    Raises `RemoteProtocolError` when the source is no longer the file that was planned on. The caller syncs.
    """
    if splice.deflated_from is None:
        for chunk in _chunks(source, splice.pieces):
            target.write(chunk)
        return
    dataset = io.BytesIO(elements.inflate(source, splice.deflated_from))
    for chunk in _chunks(source, (Range(0, splice.deflated_from),)):
        target.write(chunk)
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    written = 0
    for chunk in _chunks(dataset, splice.pieces):
        written += target.write(stream.compress(chunk))
    written += target.write(stream.flush())
    target.write(b"\0" * (written % 2))


def _chunks(source: BinaryIO, pieces: Iterable[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        source.seek(piece.start)
        left = len(piece)
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                raise RemoteProtocolError(
                    f"the file ends at offset {piece.end - left}, before it did when read"
                )
            left -= len(chunk)
            yield chunk
