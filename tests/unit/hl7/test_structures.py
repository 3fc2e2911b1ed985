"""Which segments a message may have."""

from __future__ import annotations

import pytest

from broker.hl7.structures import segments_of


@pytest.mark.parametrize(
    ("message_type", "has", "has_not"),
    [
        ("ADT^A08", {"MSH", "EVN", "PID", "NK1", "PV1", "MRG"}, {"ORC", "OBR", "IPC"}),
        ("ADT^A40", {"MRG"}, {"ORC"}),
        ("ORM^O01", {"PID", "PV1", "ORC", "OBR"}, {"MRG", "IPC"}),
        ("OMI^O23", {"ORC", "OBR", "IPC", "TQ1"}, {"MRG"}),
        ("ORU^R01", {"OBR", "OBX"}, {"MRG", "IPC"}),
    ],
)
def test_of_a_message_type(message_type: str, has: set[str], has_not: set[str]) -> None:
    found = segments_of(message_type)

    assert has <= found
    assert not has_not & found


def test_what_is_no_message_has_none() -> None:
    assert segments_of("C-STORE") == frozenset()
