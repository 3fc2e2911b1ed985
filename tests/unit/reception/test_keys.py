"""What a reception can be found by."""

from __future__ import annotations

import pytest

from broker.adapter import Verdict
from broker.event import EventData, Identifier, Instance, Order, Patient, Result, Step
from broker.reception import search_keys
from tests.support.receiving import adt, judge


@pytest.mark.parametrize("trigger", ["A08", "A11", "A99"])
def test_what_made_no_events_is_found_by_the_numbers_that_it_names(trigger: str) -> None:
    orders = 'ORC|SC|P1^EPJ|F1^RIS\nOBR|1|P1^EPJ|F1^RIS|||||||||||||||A1\nIPC|A1||""'
    found = judge(f"{adt(f'ADT^{trigger}')}{orders}\n".replace("700123", "700123^^^STO~30908299902^^^NNNOR"))

    assert found.verdict in (Verdict.FILTERED, Verdict.REJECTED)
    assert found.keys == (
        *(("patient", "700123"), ("patient", "30908299902"), ("accession", "A1")),
        *(("order", "P1"), ("order", "F1")),
    )


def test_numbers_that_a_store_cannot_hold_are_no_search_keys() -> None:
    assert judge(adt("ADT^A11").replace("700123", "70\x000123")).keys == ()


def test_search_keys_name_each_value_once() -> None:
    patient = Patient(identifiers=(Identifier(value="7"), Identifier(value="7", oid="1.2")))
    order = Order(placer_number=Identifier(value="P1"), filler_number=Identifier(value="F1"))
    step = Step(key="k", step_id="S1", accession_number="A1", study_uid="2.25.1")
    instance = Instance(
        sop_class_uid="1.2",
        sop_instance_uid="2.25.2",
        study_uid="2.25.1",
        series_uid="2.25.3",
        transfer_syntax_uid="1.2",
        path="x",
        size=1,
        sha256="0",
        calling_aet="CT1",
    )
    data = EventData(
        patient=patient,
        prior=(Identifier(value="6"),),
        order=order,
        step=step,
        instance=instance,
        result=Result(filler_number=Identifier(value="F2")),
    )
    (event,) = judge(adt()).events

    assert search_keys([event.model_copy(update={"data": data})] * 2) == (
        ("patient", "7"),
        ("patient", "6"),
        ("order", "P1"),
        ("order", "F1"),
        ("order", "F2"),
        ("accession", "A1"),
        ("study", "2.25.1"),
        ("instance", "2.25.2"),
    )
