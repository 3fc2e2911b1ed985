"""Batches are cut where the standard says and nowhere else, no byte is lost, and answers mirror what came."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Refused, RemoteProtocolError
from broker.hl7.ack import read_acks
from broker.hl7.batch import Batch
from broker.hl7.header import Header, is_batch

FHS = "FHS|^~\\&|PAS|STO|BROKER|RHF|20260309||||F1"
BHS = "BHS|^~\\&|PAS|STO|BROKER|RHF|20260309||||B1"
A, B = "MSH|^~\\&|A", "MSH|^~\\&|B"


def raw(*lines: str, end: str = "\r") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


def groups(*lines: str) -> list[list[bytes]]:
    return [[member.strip() for member in group.members] for group in Batch.read(raw(*lines)).groups]


# --- taking apart ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_members_come_out_as_they_stood(end: str) -> None:
    batch = Batch.read(raw(FHS, BHS, A, "PID|1", B, "PID|2", "BTS|2|ok", "FTS|1", end=end))

    assert batch.members == (raw(A, "PID|1", end=end), raw(B, "PID|2", end=end))
    assert batch.envelope == raw(FHS, BHS, "BTS|2|ok", "FTS|1", end=end)
    assert batch.file is not None
    assert [group.header.control_id for group in batch.groups if group.header] == ["B1"]


STRUCTURES: dict[str, tuple[tuple[str, ...], list[int]]] = {
    "a batch": ((BHS, A, B, "BTS|2"), [2]),
    "without trailer": ((BHS, A, B), [2]),
    "a file without trailers": ((FHS, BHS, A, B), [2]),
    "a file of batches": ((FHS, BHS, A, B, "BTS|2", BHS, A, "BTS|1", "FTS|2"), [2, 1]),
    "batches without a file": ((BHS, A, "BTS|1", BHS, B, "BTS|1"), [1, 1]),
    "trailers left out between": ((FHS, BHS, A, BHS, B, "FTS|2"), [1, 1]),
    "a file without BHS": ((FHS, A, B, "FTS|1"), [2]),
    "a file without BHS that counts its messages": ((FHS, A, B, "FTS|2"), [2]),
    "BTS without BHS": ((FHS, A, B, "BTS|2", "FTS|1"), [2]),
    "a message behind BTS": ((BHS, A, "BTS|1", B), [1, 1]),
    "an empty batch": ((BHS, "BTS|0"), [0]),
    "an empty file": ((FHS, "FTS|0"), []),
    "nothing but a header": ((FHS,), []),
    "counts left out": ((FHS, BHS, A, "BTS", "FTS|"), [1]),
    "a count with noughts": ((BHS, A, "BTS|0001"), [1]),
    "a count with a comment": ((BHS, A, "BTS|1|all|1~2"), [1]),
    "trailers with signs of their own": (("BHS#*~\\&", A, "BTS#1"), [1]),
    "a header of version 2.7": ((BHS, "SFT|vendor", "UAC|KERB", A, "BTS|1"), [1]),
    "blanks before the names": (("  " + BHS, " " + A, "\tBTS|1"), [1]),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_each_structure_that_senders_write_is_read(name: str) -> None:
    lines, sizes = STRUCTURES[name]

    assert [len(members) for members in groups(*lines)] == sizes


def test_a_byte_order_mark_before_the_batch_or_a_message_is_passed_over() -> None:
    batch = Batch.read(b"\xef\xbb\xbf" + raw(BHS, "\ufeff" + A, "BTS|1"))

    assert batch.members == (b"\xef\xbb\xbf" + raw(A),)


@pytest.mark.parametrize(
    "text", ["OBX|1|TX|||see MSH|^~\\&|B", "MSHA", "BTS er i orden", "FTSx", "NTE|1||BHS|^~\\&", "XMSH|1"]
)
def test_only_a_segment_id_at_the_start_of_a_segment_divides(text: str) -> None:
    assert groups(BHS, A, text, B, "BTS|2") == [[raw(A, text).strip(), B.encode()]]


@pytest.mark.parametrize(
    "lines",
    [
        (BHS, "PID|1", A, "BTS|2"),
        (BHS, A, "BTS|1", "PID|1"),
        (BHS, "SFT|vendor", "PID|1", A),
        (FHS, "PID|1", BHS, A),
    ],
)
def test_what_lost_its_msh_is_a_member_that_nobody_can_read(lines: tuple[str, ...]) -> None:
    members = [member for group in groups(*lines) for member in group]

    assert sorted(members) == [A.encode(), b"PID|1"]


REFUSED: dict[str, tuple[tuple[str, ...], str, str]] = {
    "fewer than counted": ((BHS, A, B, "BTS|3"), "100", "BTS-1"),
    "more than counted": ((BHS, A, B, "BTS|1"), "100", "BTS-1"),
    "none of those counted": ((BHS, "BTS|1"), "100", "BTS-1"),
    "in the second batch": ((BHS, A, "BTS|1", BHS, B, "BTS|2"), "100", "BTS[2]-1"),
    "a batch is missing": ((FHS, BHS, A, "BTS|1", "FTS|2"), "100", "FTS-1"),
    "neither batches nor messages": ((FHS, A, B, "FTS|3"), "100", "FTS-1"),
    "a second trailer": ((BHS, A, "BTS|1", "BTS|1"), "100", "BTS[2]-1"),
    "no number": ((BHS, A, "BTS|one"), "102", "BTS-1"),
    "a negative number": ((BHS, A, "BTS|-1"), "102", "BTS-1"),
    "longer than a number can be": ((BHS, A, "BTS|" + "9" * 5000), "100", "BTS-1"),
    "two files": ((FHS, BHS, A, "BTS|1", "FTS|1", FHS, BHS, A), "100", "FHS[2]"),
    "FHS in the midst": ((BHS, A, FHS, B), "100", "FHS"),
    "a message behind FTS": ((FHS, BHS, A, "FTS|1", B), "100", "MSH[2]"),
    "more behind FTS": ((FHS, BHS, A, "FTS|1", "PID|1"), "100", "FTS"),
    "BHS without separators": ((FHS, "BHS|aaaa", A), "100", "BHS-1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_of_which_something_was_lost_is_refused_whole(name: str) -> None:
    lines, code, place = REFUSED[name]

    with pytest.raises(Refused) as refused:
        Batch.read(raw(*lines))

    assert (refused.value.ack_code, refused.value.error_code) == ("AE", code)
    assert str(refused.value.location) == place


@pytest.mark.parametrize("lines", [(BHS, A, B, A), (BHS, BHS, BHS), (FHS, BHS, "BTS", "BTS", "BTS")])
def test_more_than_is_taken_is_refused(lines: tuple[str, ...]) -> None:
    assert Batch.read(raw(*lines), most=3)
    with pytest.raises(Refused, match="more than 2"):
        Batch.read(raw(*lines), most=2)


def test_what_is_no_batch_is_unreadable() -> None:
    with pytest.raises(RemoteProtocolError):
        Batch.read(raw(A))


# --- any input ------------------------------------------------------------------------------------

TEXT = st.text(alphabet="MSHBTF|^~\\& \u00f80\n", max_size=20).map(lambda text: f"OBX|{text}".encode())
MEMBERS = st.lists(
    st.tuples(st.lists(st.tuples(TEXT, st.sampled_from([b"\r", b"\n", b"\r\n"])), max_size=3)).map(
        lambda segments: b"MSH|^~\\&|A\r" + b"".join(text + end for text, end in segments[0])
    ),
    max_size=8,
).filter(lambda members: all(_whole(member) for member in members))


def _whole(member: bytes) -> bool:
    """A line feed in a text ends the segment: what follows must not look like a segment of a batch."""
    lines = member.replace(b"\n", b"\r").split(b"\r")[1:]
    return not any(line.lstrip()[:3] in (b"MSH", b"FHS", b"BHS", b"BTS", b"FTS") for line in lines)


@given(MEMBERS, st.booleans(), st.booleans(), st.booleans())
def test_members_joined_into_a_batch_come_out_again(
    members: list[bytes], file: bool, header: bool, counted: bool
) -> None:
    opening = raw(*[FHS] * file, *[BHS] * (header or not file))
    closing = raw(*[f"BTS|{len(members)}"] * counted, *["FTS|1"] * (file and counted))

    batch = Batch.read(opening + b"".join(members) + closing)

    assert list(batch.members) == members
    assert batch.envelope == opening + closing


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            *(f"{name}|".encode() for name in ("MSH", "FHS", "BHS", "BTS", "FTS", "SFT")),
            b"BTS|1\r",
            b"FTS|1\r",
        ]
    ),
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"^~\\&|", b" ", b"\xef\xbb\xbf", b"FHS|^~\\&\r", b"BHS|^~\\&\r"]
    ),
)


@given(st.sampled_from([b"", b"FHS|^~\\&\r", b"BHS|^~\\&|\r"]), st.lists(PIECES, max_size=30).map(b"".join))
def test_no_input_raises_anything_else_and_no_byte_is_lost(start: bytes, rest: bytes) -> None:
    content = start + rest
    try:
        batch = Batch.read(content)
    except RemoteProtocolError:
        return
    kept = batch.envelope + b"".join(batch.members)
    assert sorted(kept) == sorted(content)
    at = 0
    for member in batch.members:  # in order, and none stands in another
        at = content.index(member, at) + len(member)
    answered = batch.answer([[] for _ in batch.members], control_id="1", timestamp="2026")
    assert answered == b"" or is_batch(answered)


# --- answering ------------------------------------------------------------------------------------


def ack(number: int) -> bytes:
    return f"MSH|^~\\&|||||||ACK|{number}|P|2.5\rMSA|AA|{number}\r".encode()


def answer(*lines: str, due: list[list[bytes]]) -> list[str]:
    written = Batch.read(raw(*lines)).answer(due, control_id="01K", timestamp="20260310")
    return [line for line in written.decode().split("\r") if not line.startswith(("MSH", "MSA"))][:-1]


def test_the_answer_mirrors_the_file_with_its_batches() -> None:
    due = [[ack(1)], [ack(2), ack(3)], []]
    lines = (FHS, BHS, A, B, "BTS|2", BHS.replace("B1", "B2"), A, "BTS|1", "FTS|2")

    assert answer(*lines, due=due) == [
        "FHS|^~\\&|BROKER|RHF|PAS|STO|20260310||||01KF|F1",
        "BHS|^~\\&|BROKER|RHF|PAS|STO|20260310||||01K0|B1",
        "BTS|3",
        "BHS|^~\\&|BROKER|RHF|PAS|STO|20260310||||01K1|B2",
        "BTS|0",
        "FTS|2",
    ]
    written = Batch.read(raw(*lines)).answer(due, control_id="01K", timestamp="20260310")
    assert [found.control_id for found in read_acks(written)] == ["1", "2", "3"]
    assert Batch.read(written).is_answer
    assert not Batch.read(raw(*lines)).is_answer


def test_headers_stand_only_where_the_sender_wrote_them() -> None:
    assert [line[:3] for line in answer(FHS, A, "FTS|1", due=[[ack(1)]])] == ["FHS", "FTS"]
    assert [line[:3] for line in answer(BHS, A, due=[[ack(1)]])] == ["BHS", "BTS"]


def test_the_senders_separators_and_bytes_rule() -> None:
    header = "BHS#*~\\&#PÅS#STO#BROKER#RHF#20260309#####B#1".encode("latin-1")

    written = Batch.read(header + b"\r" + raw(A)).answer([[ack(1)]], control_id="01K", timestamp="2026")

    opening = "BHS#*~\\&#BROKER#RHF#PÅS#STO#2026####01K0#".encode("latin-1").rstrip(b"#")
    assert written.startswith(opening)
    assert written.endswith(b"\rBTS#1\r")


def test_an_answer_can_be_read_as_a_batch() -> None:
    for sizes in itertools.product((0, 1, 2), repeat=2):
        members = [*([A] * sizes[0]), BHS, *([B] * sizes[1])]
        written = Batch.read(raw(FHS, BHS, *members)).answer(
            [[ack(n)] for n in range(sum(sizes))], control_id="1", timestamp="2026"
        )
        assert [len(group.members) for group in Batch.read(written).groups] == list(sizes)
        assert Header.read(written).reference == "F1"
