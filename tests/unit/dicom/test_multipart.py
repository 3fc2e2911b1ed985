"""multipart/related: whatever stands in the parts comes back, however it is cut on the way."""

from __future__ import annotations

import io
from collections.abc import Callable
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import multipart
from broker.errors import RemoteProtocolError

BOUNDARY = "b0und-ary"
DELIMITER = b"\r\n--b0und-ary"

CONTENTS = st.lists(
    st.lists(
        st.sampled_from([b"\r", b"\n", b"-", b"\r\n--b0und", b"--b0und-ary", b"\0", b"DICM", b"\r\n"]),
        max_size=12,
    )
    .map(b"".join)
    .filter(lambda content: DELIMITER not in b"\r\n" + content + b"\r\n"),
    max_size=4,
)
"""Almost a boundary, again and again; none is one (RFC 2046 5.1.1)."""


def reader(body: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """Gives the body in pieces of these sizes, then what is left in bytes."""
    file, left = io.BytesIO(body), list(sizes)
    return lambda size: file.read(min(size, left.pop(0) if left else 1))


def written(contents: list[bytes], head: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    parts = b"".join(b"--b0und-ary\r\n" + head + b"\r\n" + content + b"\r\n" for content in contents)
    return parts + b"--b0und-ary--\r\n"


def read(body: bytes, sizes: list[int] | None = None) -> list[tuple[dict[str, str], bytes]]:
    found = multipart.parts(reader(body, sizes or []), BOUNDARY.encode())
    return [(dict(part.headers), b"".join(part.content)) for part in found]


@given(
    contents=CONTENTS,
    sizes=st.lists(st.integers(1, 60), max_size=40),
    preamble=st.sampled_from([b"", b"\r\n", b"none of it\r\n"]),
    epilogue=st.sampled_from([b"", b"nor of this\r\n--b0und-ary\r\n"]),
)
def test_every_part_comes_back(
    contents: list[bytes], sizes: list[int], preamble: bytes, epilogue: bytes
) -> None:
    found = read(preamble + written(contents) + epilogue, sizes)

    assert found == [({"content-type": "application/dicom"}, content) for content in contents]


@given(contents=CONTENTS.filter(bool), sizes=st.lists(st.integers(1, 60), max_size=40))
def test_what_is_not_read_of_a_part_is_passed_over(contents: list[bytes], sizes: list[int]) -> None:
    found = multipart.parts(reader(written(contents), sizes), BOUNDARY.encode())

    assert [next(part.content, b"") != b"" for part in found] == [content != b"" for content in contents]


@given(contents=CONTENTS, cut=st.integers(1, 400), sizes=st.lists(st.integers(1, 60), max_size=40))
def test_a_body_that_ends_early_is_never_taken_for_whole(
    contents: list[bytes], cut: int, sizes: list[int]
) -> None:
    body = written(contents).removesuffix(b"--\r\n")

    with pytest.raises(RemoteProtocolError, match="ends before"):
        read(body[: max(0, len(body) + 1 - cut)], sizes)


@given(st.binary(max_size=300), st.lists(st.integers(1, 60), max_size=40))
def test_any_bytes_are_parts_or_an_error(body: bytes, sizes: list[int]) -> None:
    try:
        found = read(body, sizes)
    except RemoteProtocolError:
        return
    assert found == []


@given(st.binary(max_size=300).filter(lambda content: DELIMITER not in b"\r\n" + content + b"\r\n"))
def test_what_is_written_is_what_others_read(content: bytes) -> None:
    body = multipart.before(BOUNDARY) + content + multipart.after(BOUNDARY)
    (part,) = read(body)
    head = f"Content-Type: {multipart.content_type(BOUNDARY)}\r\n\r\n".encode()

    assert part == ({"content-type": "application/dicom"}, content)
    assert [one.get_content_type() for one in message_from_bytes(head + body).get_payload()] == [
        "application/dicom"
    ]
    assert multipart.boundary_of(multipart.content_type(BOUNDARY)) == BOUNDARY.encode()


def test_headers_are_names_in_small_letters_and_folded_lines_are_joined() -> None:
    head = b"CONTENT-TYPE : application/dicom;\r\n transfer-syntax=1.2\r\nContent-Length:3\r\n"
    ((headers, content),) = read(written([b"abc"], head))

    assert headers == {"content-type": "application/dicom; transfer-syntax=1.2", "content-length": "3"}
    assert content == b"abc"


def test_a_part_may_have_no_header() -> None:
    assert read(written([b"abc"], b"")) == [({}, b"abc")]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"--b0und-aryX\r\n\r\nabc\r\n--b0und-ary--", "more than its line"),
        (b"--b0und-ary\r\nno header\r\n\r\nabc\r\n--b0und-ary--", "no header"),
        (b"--b0und-ary\r\n" + b"x" * 70_000, "no end"),
    ],
)
def test_a_malformed_head_is_told(body: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        list(multipart.parts(io.BytesIO(body).read, BOUNDARY.encode()))


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('Multipart/Related;boundary="a b:c";type="application/dicom"', b"a b:c"),
    ],
)
def test_the_boundary_is_found(header: str, boundary: bytes) -> None:
    assert multipart.boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header", ["", "application/dicom+json", "multipart/related", f"multipart/related; boundary={'x' * 71}"]
)
def test_an_answer_without_a_boundary_is_told(header: str) -> None:
    with pytest.raises(RemoteProtocolError, match="the answer"):
        multipart.boundary_of(header)


def test_memory_does_not_grow_with_a_part() -> None:
    """A part is handed out while it comes: never more of it at once than was asked for, and what may be a boundary."""
    body = io.BytesIO(written([bytes(1 << 21)]))
    (part,) = ((max(map(len, part.content))) for part in multipart.parts(body.read, BOUNDARY.encode()))

    assert part <= multipart.CHUNK + len(DELIMITER)
