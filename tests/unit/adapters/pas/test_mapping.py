"""ADT as PAS sends it, trigger by trigger: the events and the answer stand in tests/golden/pas."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.pas import INBOUND
from adapters.pas.mapping import ENCOUNTERS, MAPPERS, MERGES, PERSONS
from broker.adapter import Verdict
from tests.support.golden import cases, check_reception, load, receive

CASES = cases("pas")
LISTED = [
    "A01",
    "A02",
    "A03",
    "A04",
    "A05",
    "A06",
    "A07",
    "A08",
    "A11",
    "A12",
    "A13",
    "A28",
    "A31",
    "A40",
    "A47",
]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_golden(case: Path) -> None:
    check_reception(case, receive(INBOUND, load(case)))


def test_the_triggers_are_those_of_the_interface() -> None:
    assert sorted(MAPPERS) == [f"ADT^{trigger}" for trigger in LISTED]
    assert len(ENCOUNTERS) + len(PERSONS) + len(MERGES) == len(LISTED)


@pytest.mark.parametrize("trigger", LISTED)
def test_every_trigger_has_a_golden_case_that_is_taken(trigger: str) -> None:
    verdicts = [
        receive(INBOUND, load(case)).verdict for case in CASES if f"ADT^{trigger}" in case.read_text("utf-8")
    ]

    assert Verdict.ACCEPTED in verdicts


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_patient_is_spoken_of_once_and_before_the_visit(case: Path) -> None:
    events = receive(INBOUND, load(case)).events
    patients = [event for event in events if event.type.startswith("patient.")]

    assert events[: len(patients)] == tuple(patients)
    identities = [event.data.patient.identifiers for event in patients if event.data.patient]
    assert len(set(identities)) == len(identities) == len(patients)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_no_contact_data_is_read(case: Path) -> None:
    """Address, telephone and next of kin have no field in an event (invariant 11)."""
    told = "".join(event.model_dump_json() for event in receive(INBOUND, load(case)).events)

    for token in ("Prøvegata", "7030", "73000001", "73000002", "Nils"):
        assert token not in told


@pytest.mark.parametrize("trigger", ["a08", "A08"])
def test_a_trigger_in_small_letters_is_the_same(trigger: str) -> None:
    reception = receive(INBOUND, f"MSH|^~\\&|PAS||||2026||ADT^{trigger}|1|P|2.5\nPID|1||700123\n")

    assert [event.type for event in reception.events] == ["patient.updated"]


def test_other_separators_make_no_difference() -> None:
    reception = receive(
        INBOUND, "MSH#!@%*#PAS######ADT!A08#1#P#2.5\nPID#1##700123!!!STO*2.999.7001*ISO@9!!!X##Ås!Siv\n"
    )

    (event,) = reception.events
    assert event.data.patient is not None
    assert [i.key for i in event.data.patient.identifiers] == [("2.999.7001", "700123"), ("X", "9")]
