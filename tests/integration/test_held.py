"""A step that lacks what a modality must have is acknowledged, held and shown; one that cannot be held is refused."""

from __future__ import annotations

import pytest

from tests.support.broker import Broker
from tests.support.flows import (
    accepted,
    exceptions,
    rows_of,
    step_of,
    wait_for_row,
    wait_for_rows,
    wait_until_routed,
)
from tests.support.messages import Person, omi, orm
from tests.support.mllp import field

pytestmark = pytest.mark.integration

SOMEONE = Person(number="720001", family="Venter", given="Åse")

LACKING: dict[str, tuple[bytes, bytes, str]] = {
    "time": (
        orm("H1", SOMEONE, "921", start=""),
        orm("H2", SOMEONE, "921", control="XO", status=""),
        "TQ1-7",
    ),
    "station": (
        omi("H3", SOMEONE, "922", aet=""),
        omi("H4", SOMEONE, "922", aet="MR1_STO", control="XO", status=""),
        "IPC-9",
    ),
    "known room": (
        omi("H5", SOMEONE, "923", aet="", room="MR-LAB99"),
        omi("H6", SOMEONE, "923", aet="", room="MR-LAB1", control="XO", status=""),
        "a code that a table knows",
    ),
    "modality": (
        omi("H7", SOMEONE, "924", modality=""),
        omi("H8", SOMEONE, "924", modality="MR", control="XO", status=""),
        "IPC-5",
    ),
}
"""What is missing: the order without it, the order that completes it, and where `broker status` sends a person."""


def test_incomplete_steps_are_held_until_an_order_completes_them(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, *(order for order, _, _ in LACKING.values()))
        wait_until_routed(broker)

        assert rows_of(broker) == []
        assert sorted(exceptions(broker).values()) == ["step-held"] * len(LACKING)
        said = broker.command("status").stdout
        for lacking, (_, _, place) in LACKING.items():
            assert place in said, lacking
        assert said.count("step-held") == len(LACKING)

        accepted(orders, *(order for _, order, _ in LACKING.values()))

    rows = wait_for_rows(broker, lambda rows: len(rows) == len(LACKING), "every row is visible")
    assert {row.AccessionNumber for row in rows} == {"A921", "A922", "A923", "A924"}
    assert all(step_of(row).ScheduledProcedureStepStartTime and step_of(row).Modality for row in rows)
    assert exceptions(broker) == {}
    assert "step-held" not in broker.command("status").stdout


def test_a_step_that_loses_nothing_keeps_its_row(broker: Broker) -> None:
    """Empty in a change keeps what was said before: it is not held again."""
    with broker.orders() as orders:
        accepted(orders, orm("H20", SOMEONE, "925"))
        wait_for_row(broker, AccessionNumber="A925")
        accepted(orders, orm("H21", SOMEONE, "925", control="XO", status="", start=""))
    wait_until_routed(broker)

    row = wait_for_row(broker, AccessionNumber="A925")

    assert step_of(row).ScheduledProcedureStepStartTime == "093000"
    assert exceptions(broker) == {}


def test_a_cancelled_step_is_no_longer_held(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("H30", SOMEONE, "926", start=""))
        wait_until_routed(broker)
        assert list(exceptions(broker).values()) == ["step-held"]

        accepted(orders, orm("H31", SOMEONE, "926", start="", control="CA", status="CA"))
        wait_until_routed(broker)

    assert exceptions(broker) == {}
    assert rows_of(broker) == []


def test_what_dicom_cannot_hold_is_refused_never_cut(broker: Broker) -> None:
    sixteen, seventeen = "A" * 16, "A" * 17
    refused = {
        "ORM accession number": (orm("H40", SOMEONE, "927", accession=seventeen), b"OBR^1^18"),
        "OMI accession number": (
            omi("H41", SOMEONE, "928").replace(b"IPC|A928|", f"IPC|{seventeen}|".encode()),
            b"IPC^1^1",
        ),
        "AE title": (omi("H42", SOMEONE, "929", aet="M" * 17), b"IPC^1^9"),
        "Study Instance UID": (
            omi("H43", SOMEONE, "930").replace(b"|2.25.88", b"|2.25.0088"),
            b"IPC^1^3",
        ),
    }
    with broker.orders() as orders:
        for case, (message, place) in refused.items():
            answer = orders.ask(message)
            assert field(answer, b"MSA", 1) == b"AE", case
            assert field(answer, b"ERR", 2).startswith(place), (case, answer)
            assert b"A" * 17 not in answer, "the place, never the value"
        accepted(orders, orm("H44", SOMEONE, "931", accession=sixteen))

    rows = wait_for_rows(broker, lambda rows: bool(rows), "the row is visible")

    assert [row.AccessionNumber for row in rows] == [sixteen]
    assert exceptions(broker) == {}
