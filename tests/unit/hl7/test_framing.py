"""Every case whole, byte by byte, in any chunks and with trailing bytes: segments may make no difference."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.hl7.framing import END, HEAD, JUNK_CHUNK, START, Frame, FrameDecoder, Junk, Oversize, frame

Event = Frame | Junk | Oversize


def decode(
    data: bytes, cuts: list[int] | None = None, max_frame: int = 1000
) -> tuple[list[Event], Junk | None]:
    decoder = FrameDecoder(max_frame)
    events: list[Event] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or ()), len(data)]
    for start, end in pairwise(edges):
        decoder.receive_data(data[start:end])
        while (event := decoder.next_event()) is not None:
            events.append(event)
    return events, decoder.close()


CASES: dict[str, tuple[bytes, list[Event]]] = {
    "one": (frame(b"MSH|a"), [Frame(b"MSH|a")]),
    "empty": (frame(b""), [Frame(b"")]),
    "pipelined": (frame(b"MSH|a") + frame(b"MSH|b"), [Frame(b"MSH|a"), Frame(b"MSH|b")]),
    "line ends between": (
        b"\r\n" + frame(b"a") + b"\n \r\n" + frame(b"b") + b"\n",
        [Frame(b"a"), Frame(b"b")],
    ),
    "junk before": (b"hello" + frame(b"a"), [Junk(b"hello", "outside-frame"), Frame(b"a")]),
    "junk with line ends": (
        frame(b"a") + b"\r\nhello\r\n" + frame(b"b"),
        [Frame(b"a"), Junk(b"hello\r\n", "outside-frame"), Frame(b"b")],
    ),
    "end twice": (frame(b"a") + END + frame(b"b"), [Frame(b"a"), Junk(END, "outside-frame"), Frame(b"b")]),
    "FS LF ends": (b"\x0ba\x1c\n" + frame(b"b"), [Frame(b"a"), Frame(b"b")]),
    "FS VT ends": (b"\x0ba\x1c" + frame(b"b"), [Frame(b"a"), Frame(b"b")]),
    "lone FS is data": (frame(b"a\x1cb"), [Frame(b"a\x1cb")]),
    "FS FS CR": (b"\x0ba\x1c\x1c\r", [Frame(b"a\x1c")]),
    "VT in a frame is data": (frame(b"a\x0bb"), [Frame(b"a\x0bb")]),
    "VT VT": (b"\x0b" + frame(b"MSH|a"), [Junk(b"", "restarted"), Frame(b"MSH|a")]),
    "restarted": (b"\x0bMSH|a\r" + frame(b"MSH|b"), [Junk(b"MSH|a\r", "restarted"), Frame(b"MSH|b")]),
    "restarted by a batch": (b"\x0bMSH|a" + frame(b"FHS|b"), [Junk(b"MSH|a", "restarted"), Frame(b"FHS|b")]),
    "oversize": (frame(b"x" * 1001) + frame(b"b"), [Oversize(1001, b"x" * 1001), Frame(b"b")]),
    "not oversize": (frame(b"x" * 1000) + frame(b"b"), [Frame(b"x" * 1000), Frame(b"b")]),
    "oversize restarted": (
        b"\x0b" + b"x" * 5000 + frame(b"MSH|b"),
        [Oversize(5000, b"x" * HEAD), Frame(b"MSH|b")],
    ),
    "oversize with marks in it": (
        frame(b"x" * 3000 + b"\x1c\x0bx"),
        [Oversize(3000, b"x" * 3000), Frame(b"x")],
    ),
}


def merged(events: list[Event]) -> list[Event]:
    """Of an oversized frame the length of the head alone depends on the chunks."""
    return [Oversize(e.size, e.head[:1000]) if isinstance(e, Oversize) else e for e in events]


@pytest.mark.parametrize("name", CASES)
def test_cases_whole_and_byte_by_byte(name: str) -> None:
    data, expected = CASES[name]

    assert merged(decode(data)[0]) == merged(expected)
    assert merged(decode(data, list(range(len(data))))[0]) == merged(expected)
    assert decode(data)[1] is None


@pytest.mark.parametrize("name", CASES)
def test_trailing_bytes_are_given_back_when_the_peer_hangs_up(name: str) -> None:
    data, expected = CASES[name]

    events, rest = decode(data + b"\x0bMSH|unfinished")

    assert merged(events) == merged(expected)
    assert rest == Junk(b"MSH|unfinished", "unfinished")


payloads = st.binary(max_size=60).filter(
    lambda data: not any(mark in b"\x0b" + data + b"\x1c" for mark in (b"\x1c\r", b"\x1c\n", b"\x1c\x0b"))
)
noise = st.sampled_from([b"", b"\r\n", b"noise", b"\x1c\r", b"MSH|^~\\&"])


@given(st.lists(st.tuples(noise, payloads), max_size=6), st.lists(st.integers(0, 10_000), max_size=20))
@example([(b"", b"\x0b")], [1])
def test_any_chunking_gives_the_same_events(parts: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(before + frame(payload) for before, payload in parts)

    events, rest = decode(data, cuts)

    assert events == decode(data)[0]
    assert [e.payload for e in events if isinstance(e, Frame)] == [payload for _, payload in parts]
    junk = [before.lstrip() for before, _ in parts if before.strip()]
    assert [e.data for e in events if isinstance(e, Junk)] == junk
    assert rest is None


signs = st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|", b"data", b" "])).map(b"".join)


@given(signs | st.binary(), st.lists(st.integers(0, 10_000), max_size=20), st.integers(1, 50))
def test_no_byte_disappears_and_nothing_fails(data: bytes, cuts: list[int], max_frame: int) -> None:
    events, rest = decode(data, cuts, max_frame)

    sizes = [
        event.size
        if isinstance(event, Oversize)
        else len(event.payload if isinstance(event, Frame) else event.data)
        for event in (*events, *([rest] if rest else []))
    ]
    assert sum(sizes) <= len(data)
    assert all(len(event.payload) <= max_frame for event in events if isinstance(event, Frame))


def test_long_junk_comes_in_bounded_pieces() -> None:
    events, rest = decode(b"j" * (2 * JUNK_CHUNK + 7) + frame(b"a"))

    assert [len(event.data) for event in events if isinstance(event, Junk)] == [JUNK_CHUNK, JUNK_CHUNK, 7]
    assert events[-1] == Frame(b"a")
    assert rest is None


def test_an_oversized_frame_does_not_grow_memory() -> None:
    decoder = FrameDecoder(max_frame=10_000)
    decoder.receive_data(START + b"MSH|head")
    for _ in range(1000):
        decoder.receive_data(b"x" * 1000)
        assert decoder.next_event() is None
        assert len(decoder._buffer) < 12_000
    decoder.receive_data(END)

    event = decoder.next_event()

    assert isinstance(event, Oversize)
    assert event.size == 8 + 1_000_000
    assert len(event.head) == HEAD
    assert event.head.startswith(b"MSH|head")


def test_an_end_without_cr_can_be_accepted_by_the_owner_of_the_clock() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(b"\x0bMSH|a\x1c")
    assert decoder.next_event() is None
    assert decoder.ends_without_cr

    assert decoder.end_without_cr() == Frame(b"MSH|a")

    decoder.receive_data(b"\r" + frame(b"MSH|b"))
    assert not decoder.ends_without_cr
    assert decoder.next_event() == Frame(b"MSH|b")


def test_end_without_cr_is_nothing_elsewhere() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(b"\x0bMSH|a")

    assert decoder.next_event() is None
    assert decoder.end_without_cr() is None
