"""ADT and SIU as PAS sends them, trigger by trigger: the events and the answer stand in tests/golden/pas."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.pas import INBOUND
from adapters.pas.mapping import MAKES, mappers
from adapters.pas.triggers import APPOINTMENTS, NOTHING, REFUSED, rows
from broker.adapter import Verdict
from tests.support.golden import cases, check_reception, load, receive
from tests.support.shared import REPOSITORY

CASES = cases("pas")
TRIGGERS = [trigger for trigger, _, _ in rows()]
TAKEN = [trigger for trigger in TRIGGERS if trigger not in {**NOTHING, **REFUSED}]


def named(trigger: str) -> str:
    return f"{'SIU' if trigger in APPOINTMENTS else 'ADT'}^{trigger}"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_golden(case: Path) -> None:
    check_reception(case, receive(INBOUND, load(case), clinics="clinics.csv"))


def test_every_trigger_of_pam_has_its_meaning_or_its_refusal() -> None:
    """A19 is a query; A56, A57, A58 and A59 were never triggers of ADT."""
    assert {f"A{number:02}" for number in range(1, 56)} - {"A19"} <= set(TRIGGERS)
    assert sorted(mappers()) == sorted(map(named, TRIGGERS))
    assert sorted(MAKES) == sorted(map(named, TAKEN))


def test_the_page_lists_every_trigger() -> None:
    page = (REPOSITORY / "docs" / "pas.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([A-Z]\d\d) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)

    assert [(t, events.replace("`", ""), means) for t, events, means in listed] == rows()


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_trigger_has_a_golden_case_with_its_verdict(trigger: str) -> None:
    wanted = (
        Verdict.REJECTED
        if trigger in REFUSED
        else Verdict.FILTERED
        if trigger in NOTHING
        else Verdict.ACCEPTED
    )
    verdicts = [
        receive(INBOUND, load(case)).verdict for case in CASES if named(trigger) in case.read_text("utf-8")
    ]

    assert wanted in verdicts


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_patient_is_spoken_of_once_and_before_the_visit(case: Path) -> None:
    events = receive(INBOUND, load(case)).events
    patients = [event for event in events if event.type.startswith("patient.")]

    assert events[: len(patients)] == tuple(patients)
    identities = [event.data.patient.identifiers for event in patients if event.data.patient]
    assert len(set(identities)) == len(identities) == len(patients)


@pytest.mark.parametrize("trigger", sorted(REFUSED))
def test_a_refusal_says_what_to_do_instead(trigger: str) -> None:
    reception = receive(INBOUND, f"MSH|^~\\&|PAS||||2026||ADT^{trigger}|1|P|2.5\nPID|1||700123\n")

    assert reception.answer_code == "AE"
    assert REFUSED[trigger] in reception.reason
    assert b"ERR||MSH^1^9^1^2|201^" in reception.answers[0]


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
