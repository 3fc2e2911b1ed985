"""Every HL7 file of the shared data is read, or refused cleanly. The files stay where they are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from broker.errors import Refused, Unreadable
from broker.hl7.ack import answers, build_ack, read_ack
from broker.hl7.batch import Batch
from broker.hl7.edit import blank, edit, recode
from broker.hl7.er7 import Header, Message, Segment, is_batch
from broker.hl7.framing import Frame, FrameDecoder
from broker.hl7.validate import validate

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "hl7"
FILES = sorted(path for path in DATA.rglob("*") if path.suffix in (".hl7", ".mllp"))

if not FILES and os.environ.get("CI"):
    pytest.fail(f"{DATA} holds no HL7 files", pytrace=False)
pytestmark = pytest.mark.skipif(not FILES, reason="the shared data are not on this machine")


def load(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix == ".mllp":
        decoder = FrameDecoder()
        decoder.receive_data(raw)
        event = decoder.next_event()
        assert isinstance(event, Frame)
        assert decoder.close() is None
        return event.payload
    return raw


def parse(raw: bytes) -> Message | None:
    try:
        return Message.parse(raw)
    except (Unreadable, Refused):
        return None


def identity(path: Path) -> str:
    return path.relative_to(DATA).as_posix()


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_a_file_is_read_whole_or_refused(path: Path) -> None:
    raw = load(path)
    lines = [line for line in re.split(rb"[\r\n]+", raw) if line.strip()]

    message = parse(raw)

    if message is None:
        assert path.parent.name in ("bad", "batch") or b"|x~y|" in raw
        return
    assert len(message.segments) == len(lines)
    for segment in message:
        for number in range(1, len(segment.fields)):
            for repetition in segment.repetitions(number):
                assert repetition.get() is not None
    assert is_batch(raw) == (path.parent.name == "batch")


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_every_file_can_be_answered(path: Path) -> None:
    raw = load(path)
    try:
        header: Header | None = Header.read(raw)
    except Unreadable:
        header = None

    for code in ("AA", *answers(header, "AR")):
        ack = read_ack(build_ack(header, code=code, control_id="1", timestamp="20260101"))

        assert ack.code == code
        assert ack.control_id == (header.control_id if header else "")


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_editing_changes_nothing_else(path: Path) -> None:
    message = parse(load(path))
    if message is None:
        return

    assert edit(message, {}) == message.raw
    assert blank(message, ["NK1-2", "PID-11", "PID-13.1"], ["GT1"]).count(b"\r") <= message.raw.count(b"\r")
    changed = edit(message, {"MSH-5": "ELSEWHERE"})
    before, after = (re.split(rb"[\r\n]+", raw.lstrip(), maxsplit=1)[1:] for raw in (message.raw, changed))
    assert before == after
    assert Message.parse(changed)["MSH-5"] == "ELSEWHERE"
    utf8 = Message.parse(recode(message, "UNICODE UTF-8"))
    assert [read(s) for s in utf8 if s.name != "MSH"] == [read(s) for s in message if s.name != "MSH"]


def read(segment: Segment) -> list[str]:
    """Every value as whoever reads it sees it: `\\X..\\` octets may have become the letters that they are."""
    return [
        part.get(component)
        for field in range(1, len(segment.fields))
        for part in segment.repetitions(field)
        for component in range(1, 30)
    ]


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_validation_never_fails_and_never_shows_a_value(path: Path) -> None:
    message = parse(load(path))
    if message is None:
        return

    for finding in validate(message):
        assert finding.text.startswith(str(finding.location))
        assert re.fullmatch(r"[A-Za-z0-9? ,\[\]().-]+", finding.text)


def test_batches_are_taken_apart_or_refused_for_their_count() -> None:
    counts: dict[str, int | str] = {}
    for path in FILES:
        if path.parent.name == "batch":
            try:
                counts[path.name] = len(Batch.read(load(path)).members)
            except Refused as exc:
                counts[path.name] = str(exc.location)

    assert counts == {
        "Innovar-Healthcare_test-hl7-batch-input_ORM_O01.hl7": 1,
        "cosyte_count-mismatch_ADT_A01.hl7": "BTS-1",
        "cosyte_large-batch.ndhl7_ADT_A01.hl7": 12,
        "cosyte_malformed-mid-batch_ADT_A01.hl7": 3,
        "cosyte_multi-batch-file_ADT_A01.hl7": 3,
        "cosyte_single-batch_ADT_A01.hl7": 2,
        "microsoft_BundleToHl7v2_ORU_R01.hl7": "BTS-1",
    }
