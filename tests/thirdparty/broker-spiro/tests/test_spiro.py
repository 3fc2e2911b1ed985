"""The adapter keeps what every adapter promises, and turns a session into measurements."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from broker.adapter import ListenerPlace, Reception
from broker.errors import UnmappableError
from broker.hl7.er7 import Message
from broker.testing import conformance
from broker.testing.conformance import Check
from hypothesis import given
from hypothesis import strategies as st

from broker_spiro import INBOUND
from broker_spiro.table import unfold

HERE = Path(__file__).parent
SESSION = (HERE / "samples" / "session.csv").read_bytes()
OPTIONS: dict[str, Any] = {
    "folder": str(HERE / "samples"),
    "pattern": "*.none",
    "done": str(HERE / "samples"),
    "issuer": "SITE&2.999.1&ISO",
}
CHECKS = list(conformance.inbound(INBOUND, OPTIONS, folder=HERE, samples=unfold(SESSION)))


def received(raw: bytes) -> Reception:
    assert INBOUND.reader is not None
    place = ListenerPlace(name="spiro", site="SITE", config_folder=HERE)
    read = INBOUND.reader(INBOUND.config.model_validate(OPTIONS), place)
    return read.receive(raw, message_id="0" * 26, now=datetime(2026, 3, 10, 9, 0, tzinfo=UTC))


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


def test_a_session_becomes_a_message_a_measurement() -> None:
    first, second = map(Message.parse, unfold(SESSION))

    assert (first["OBR-3"], first["OBX-3.2"], first["OBX-5"], first["OBX-6.1"]) == (
        "S881",
        "FEV1",
        "3.41",
        "L",
    )
    assert second["OBX-3.2"] == "FVC"
    assert first["MSH-10"] != second["MSH-10"]


def test_the_same_line_is_the_same_message() -> None:
    once, again = unfold(SESSION), unfold(SESSION + b"S882;700124;20260310101500;20150-9;2.2;L\n")

    assert list(again)[:2] == list(once)


def test_a_measurement_becomes_an_event() -> None:
    reception = received(unfold(SESSION)[0])

    assert reception.answer_code == "AA"
    (event,) = reception.events
    assert event.type == "result.available"
    assert event.data.patient is not None
    assert event.data.patient.identifiers[0].key == ("2.999.1", "700123")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"S881;700123;20260310094500;20150-9;3.41", "line 2 has 5 cells, not 6"),
        (b"S881;;20260310094500;20150-9;3.41;L", "line 2, patient is empty"),
        (b"S881;700123;10.03.2026;20150-9;3.41;L", "line 2, taken is none that is known"),
        (b"S881;700123;20260310094500;1-1;3.41;L", "line 2, code is none that is known"),
        (b"S881;700123;20260310094500;20150-9;high;L", "line 2, value is none that is known"),
    ],
)
def test_a_bad_line_is_named_by_its_place(line: bytes, said: str) -> None:
    with pytest.raises(UnmappableError) as error:
        unfold(SESSION.split(b"\n")[0] + b"\n" + line)

    assert str(error.value) == said


@given(st.binary() | st.text().map(lambda text: SESSION + text.encode("utf-8", "replace")))
def test_any_bytes_are_messages_or_refused(raw: bytes) -> None:
    try:
        messages = unfold(raw)
    except UnmappableError:
        return
    assert all(received(message).answer_code == "AA" for message in messages)
