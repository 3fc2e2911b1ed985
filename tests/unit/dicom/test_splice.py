"""`broker.dicom.splice`: a file that is never written reads as if it had been."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom.splice import Piece, Range, Splice, length, opened
from broker.errors import RemoteProtocolError

SOURCE = bytes(range(256)) * 4

RANGES = st.tuples(st.integers(0, len(SOURCE)), st.integers(0, 300)).map(
    lambda pair: Range(pair[0], min(len(SOURCE), sum(pair)))
)
PIECES = st.lists(st.binary(max_size=40) | RANGES, max_size=6)


def written(pieces: list[Piece]) -> bytes:
    return b"".join(
        piece if isinstance(piece, bytes) else SOURCE[piece.start : piece.end] for piece in pieces
    )


@given(PIECES, st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 300)), max_size=6))
def test_it_reads_as_if_it_had_been_written(pieces: list[Piece], looks: list[tuple[int, int]]) -> None:
    file = opened(io.BytesIO(SOURCE), Splice(pieces=tuple(pieces)))
    whole = io.BytesIO(written(pieces))

    assert file.seek(0, io.SEEK_END) == length(pieces) == whole.seek(0, io.SEEK_END)
    for offset, count in looks:
        assert (file.seek(offset), file.read(count)) == (whole.seek(offset), whole.read(count))
        space, expected = bytearray(count), bytearray(count)
        assert file.readinto(space) == whole.readinto(expected)  # type: ignore[attr-defined]
        assert space == expected


def test_a_source_that_became_shorter_is_noticed() -> None:
    file = opened(io.BytesIO(SOURCE[:100]), Splice(pieces=(b"head", Range(50, 150))))
    assert file.read(54) == b"head" + SOURCE[50:100]
    with pytest.raises(RemoteProtocolError, match="ends at offset 100"):
        file.read(1)


def test_no_more_is_read_of_the_source_than_is_asked_for() -> None:
    class Counting(io.BytesIO):
        count = 0

        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
            found = super().readinto(buffer)
            self.count += found
            return found

    source = Counting(bytes(5_000_000))
    file = opened(source, Splice(pieces=(Range(0, 5_000_000), b"end")))
    file.read(100_000)
    assert source.count < 200_000
