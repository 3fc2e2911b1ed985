"""multipart/related with a DICOM file in each part: what stands around the files, and an answer read as a stream.

Memory does not grow with the parts. Nothing is opened here: bytes come from a function that reads.
RFC 2046 5.1.1, RFC 2387; PS3.18 8.6.1.2 (multipart payload).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Final

from broker.errors import RemoteProtocolError

DICOM: Final = "application/dicom"

CHUNK: Final = 1 << 16
"""Bytes that are asked for at a time."""

_LONGEST_HEADERS: Final = 1 << 14
_LONGEST_BOUNDARY: Final = 70  # RFC 2046 5.1.1


def content_type(boundary: str) -> str:
    """Of a body whose parts are DICOM files."""
    return f'multipart/related; type="{DICOM}"; boundary={boundary}'


def before(boundary: str) -> bytes:
    """What stands before the one part of a body."""
    return f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode("ascii")


def after(boundary: str) -> bytes:
    """What stands after the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def media_type(header: str) -> str:
    """The type of a Content-Type header, in small letters, without its parameters."""
    return header.partition(";")[0].strip().lower()


def boundary_of(header: str) -> bytes:
    """The boundary that a Content-Type header names. Raises `RemoteProtocolError`."""
    if media_type(header) != "multipart/related":
        raise RemoteProtocolError("the answer is not multipart/related")
    parsed = Message()
    parsed["Content-Type"] = header
    found = parsed.get_boundary("")
    if not found or len(found) > _LONGEST_BOUNDARY or not found.isascii():
        raise RemoteProtocolError("the answer's Content-Type has no boundary")
    return found.encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: its headers by name in small letters, and its bytes, to be read before the next part is asked for."""

    headers: Mapping[str, str]
    content: Iterator[bytes] = field(repr=False)


def parts(read: Callable[[int], bytes], boundary: bytes) -> Iterator[Part]:
    """The parts of a body, as they come; what is not read of one is passed over.

    `read` gives at most so many bytes, none at the end. Raises `RemoteProtocolError` where the body ends before its
    closing boundary, or a part's head is malformed.
    """
    stream = _Stream(read)
    delimiter = b"\r\n--" + boundary
    _skip(stream.until(delimiter))  # the preamble, which means nothing
    while not stream.closes():
        headers = _headers(stream.head())
        content = stream.until(delimiter)
        yield Part(headers=headers, content=content)
        _skip(content)


class _Stream:
    """What has been read and not given out."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = bytearray(b"\r\n")  # so that a boundary in the first line is one like all others

    def until(self, mark: bytes) -> Iterator[bytes]:
        """Everything before the mark, which is taken too."""
        kept = len(mark) - 1  # may be the mark's beginning
        while (place := self._buffer.find(mark)) < 0:
            if len(self._buffer) > kept:
                out = bytes(self._buffer[:-kept])
                del self._buffer[:-kept]
                yield out
            self._fill()
        out = bytes(self._buffer[:place])
        del self._buffer[: place + len(mark)]
        if out:
            yield out

    def closes(self) -> bool:
        """Whether the boundary that was just taken is the last."""
        while len(self._buffer) < 2:
            self._fill()
        return self._buffer.startswith(b"--")

    def head(self) -> bytes:
        """The rest of a boundary's line, and the headers: up to the empty line."""
        while (place := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _LONGEST_HEADERS:
                raise RemoteProtocolError("the head of a part has no end")
            self._fill()
        out = bytes(self._buffer[:place])
        del self._buffer[: place + 4]
        return out

    def _fill(self) -> None:
        chunk = self._read(CHUNK)
        if not chunk:
            raise RemoteProtocolError("the answer ends before its last part")
        self._buffer += chunk


def _headers(head: bytes) -> Mapping[str, str]:
    padding, *lines = head.decode("latin-1").split("\r\n")
    if padding.strip(" \t"):
        raise RemoteProtocolError("a boundary is followed by more than its line")
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:
            found[name] += line  # folded (RFC 5322 2.2.3)
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not (colon and name):
            raise RemoteProtocolError("the head of a part has a line that is no header")
        found[name] = value.strip()
    return found


def _skip(content: Iterator[bytes]) -> None:
    for _ in content:
        pass
