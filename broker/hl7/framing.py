"""MLLP framing of bytes, in any chunking. No sockets, no reading of what stands inside a frame.

A frame is VT, payload, FS CR (HL7 v2.5.1 appendix C, MLLP release 1). The way of h11: `receive_data`, then
`next_event` until it gives None. What peers really send, and what is made of it:

- FS followed by CR ends a frame; so does FS followed by LF (line ends rewritten on the way) and FS followed
  by VT (CR left out, the next frame begins). Any other FS is data.
- FS as the last byte so far waits for its CR. A peer that never sends it would wait for ever: the owner of
  the clock looks at `ends_without_cr` and calls `end_without_cr` after a short silence.
- VT directly followed by `MSH`, `FHS` or `BHS` inside an unfinished frame starts a new frame: the sender gave
  the first one up, and its bytes become `Junk`. Any other VT inside a frame is data.
- White space between frames is passed over. All else between frames is `Junk`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

START = b"\x0b"
END = b"\x1c\x0d"

MAX_FRAME = 64 * 1024 * 1024
"""Largest payload: a base64 PDF of 48 MB fits in an OBX; peers mostly stop far below."""
HEAD = 4 * 1024
"""What is kept of an oversized frame: its MSH, so that it can be refused by name."""
JUNK_CHUNK = 64 * 1024

_MARK = re.compile(rb"\x1c[\r\n\x0b]|\x0b(?:MSH|FHS|BHS)")
_LONGEST_MARK = 4
_BLANKS = re.compile(rb"[ \t\r\n]+")
_FS = 0x1C
_CR_LF = b"\r\n"

JunkReason = Literal["outside-frame", "restarted", "unfinished"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole payload, without its frame bytes. It may be empty."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes that belong to no whole frame. Long runs outside frames come as several events."""

    data: bytes
    reason: JunkReason


@dataclass(frozen=True, slots=True)
class Oversize:
    """A frame above the limit: its true size in bytes and its first bytes. The rest was passed over."""

    size: int
    head: bytes


def frame(payload: bytes) -> bytes:
    return START + payload + END


class FrameDecoder:
    """Bytes in, events out. Memory is bounded by `max_frame`, time is linear in the bytes received."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._scanned = 0
        self._inside = False
        self._head = b""
        self._skipped = 0
        """Bytes of an oversized frame that were dropped already; 0 while no frame is being skipped."""

    def receive_data(self, data: bytes) -> None:
        self._buffer += data

    def next_event(self) -> Frame | Junk | Oversize | None:
        """The next event, or None: more bytes are needed."""
        if not self._inside:
            junk = self._find_start()
            if junk is not None or not self._inside:
                return junk
        return self._find_end()

    @property
    def ends_without_cr(self) -> bool:
        """The unfinished frame stops at FS: its CR is late, or the peer never sends one."""
        return self._inside and self._buffer[-1:] == b"\x1c"

    def end_without_cr(self) -> Frame | Oversize | None:
        """Takes the FS at the end as the end of the frame. Call only when `next_event` gave None."""
        if not self.ends_without_cr:
            return None
        return self._finish(len(self._buffer) - 1, len(self._buffer))

    def close(self) -> Junk | None:
        """What was left when the peer hung up, of an oversized frame its head. Empties the decoder."""
        data = self._head or bytes(self._buffer)
        reason: JunkReason = "unfinished" if self._inside else "outside-frame"
        inside = self._inside
        self._buffer.clear()
        self._reset()
        return Junk(data, reason) if inside or data.strip() else None

    def _find_start(self) -> Junk | None:
        """Moves to just after the next VT. What was before it is junk, but for white space in front."""
        blanks = _BLANKS.match(self._buffer)
        if blanks is not None:
            count = blanks.end()
            del blanks  # it holds the buffer
            self._take(count)
        start = self._buffer.find(START, self._scanned)
        end = start if start >= 0 else len(self._buffer)
        if end > JUNK_CHUNK:
            return Junk(self._take(JUNK_CHUNK), "outside-frame")
        if start < 0:
            self._scanned = end  # more of the same junk may follow: keep it together
            return None
        before = self._take(end)
        del self._buffer[:1]
        self._inside = True
        return Junk(before, "outside-frame") if before else None

    def _find_end(self) -> Frame | Junk | Oversize | None:
        end = self._buffer.find(b"\x1c", self._scanned)
        start = self._buffer.find(START, self._scanned, end if end >= 0 else len(self._buffer))
        first_sign = (
            start if start >= 0 else end
        )  # to look for single bytes is ten times as fast as the pattern
        mark = _MARK.search(self._buffer, first_sign) if first_sign >= 0 else None
        if mark is None:
            self._scanned = max(0, len(self._buffer) - _LONGEST_MARK + 1)
            if self._skipped or self._scanned > self._max_frame:
                self._skip()
            return None
        position, first, last = mark.start(), mark[0][0], mark[0][-1:]
        del mark  # it holds the buffer
        if first == _FS:
            return self._finish(position, position + (2 if last in _CR_LF else 1))
        if self._skipped or position > self._max_frame:
            return self._finish(position, position)
        data = self._take(position)
        del self._buffer[:1]
        return Junk(data, "restarted")

    def _skip(self) -> None:
        """Drops what was scanned of an oversized frame, but for its head and what may begin a mark."""
        if not self._skipped:
            self._head = bytes(self._buffer[: min(HEAD, self._scanned)])
        self._skipped += self._scanned
        self._take(self._scanned)

    def _finish(self, position: int, after: int) -> Frame | Oversize:
        size = self._skipped + position
        if size <= self._max_frame:
            payload = bytes(memoryview(self._buffer)[:position])
            event: Frame | Oversize = Frame(payload)
        else:
            event = Oversize(size, self._head or bytes(self._buffer[: min(HEAD, position)]))
        del self._buffer[:after]
        self._reset()
        return event

    def _take(self, count: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        self._scanned = 0
        return data

    def _reset(self) -> None:
        self._scanned, self._inside, self._head, self._skipped = 0, False, b"", 0
