"""Every function of the expression language: the example that the documentation shows, and where it fails."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.event import Event, EventData, Identifier, Patient, PersonName, Step
from broker.hl7.edit import Verbatim
from broker.hl7.er7 import Message
from broker.routing.expression import Scope, compile_expression
from broker.routing.forms import FailedError
from broker.routing.functions import FORMATS, FUNCTIONS, METHODS, Function, cx, date, mask, uid
from broker.view import View
from tests.unit.routing.conftest import TABLES

NNNOR = "2.16.578.1.12.4.1.4.1"


@pytest.fixture
def event() -> View:
    """What the examples are about."""
    patient = Patient(
        identifiers=(Identifier(value="30908299902", oid=NNNOR, oid_type="ISO"),),
        name=PersonName(family="Sørby", given="Áile"),
    )
    step = Step(
        key="k",
        step_id="S1",
        study_uid="2.25.1",
        accession_number="A2026000201",
        modality="CT",
        station_codes=("X", "R1"),
        start_date="20260309",
        start_time="093000",
    )
    return View(
        event=Event(
            id="e",
            type="step.scheduled",
            source="orders",
            site="STO",
            time=datetime(2026, 3, 9, 8, tzinfo=UTC),
            message_id="m",
            data=EventData(patient=patient, step=step),
        ),
        message=Message.parse(b"MSH|^~\\&|RIS|STO|||20260309||ORM^O01|1|T|2.5.1\rPV1|1|O|W3^101\r"),
        patient=patient,
        step=step,
    )


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *METHODS.values()], ids=lambda f: f.signature)
def test_the_example_holds(function: Function, event: View) -> None:
    source, value = function.example
    compiled = compile_expression(source, Scope(tables=TABLES))

    assert function.signature.partition("(")[0].rpartition(".")[2] in source
    assert compiled.run(event.facts(), event.message) == value


@pytest.mark.parametrize(
    ("text", "form", "written"),
    [
        ("", "DA", ""),
        ("20260309", "DA", "20260309"),
        ("20260309093015.25+0100", "DA", "20260309"),
        ("202603090930", "TM", "0930"),
        ("20260309093015.25", "TM", "093015.25"),
        ("2026", "DT", "2026"),
        ("20260309093015.2500+0100", "DT", "20260309093015.2500+0100"),
        ("20260309", "yyyy-mm-dd", "2026-03-09"),
        ("202603090930", "hh:mm", "09:30"),
    ],
)
def test_a_time_of_hl7_in_another_form(text: str, form: str, written: str) -> None:
    assert date(text, form) == written


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026", "DA"),
        ("20260309", "hh:mm"),
        ("20260230", "DA"),
        ("20260309240000", "TM"),
        ("093000", "TM"),
        ("2026-03-09", "DA"),
        ("20260309 ", "DA"),
        ("٢٠٢٦٠٣٠٩", "DA"),
        ("00000101", "DA"),
        ("20260309093015+9900", "DT"),
    ],
)
def test_what_is_no_time_fails_and_is_not_told(text: str, form: str) -> None:
    with pytest.raises(FailedError) as caught:
        date(text, form)
    assert text.strip() not in str(caught.value)


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{4,14}(\.[0-9]{1,4})?([+-][0-9]{4})?", fullmatch=True))
def test_any_text_is_a_time_or_fails(text: str) -> None:
    for form in FORMATS:
        try:
            written = date(text, form)
        except FailedError:
            continue
        assert written or not text


def test_a_uid_is_the_same_for_the_same_texts_only() -> None:
    assert uid("a", "b") == uid("a", "b")
    assert len({uid("ab"), uid("a", "b"), uid("b", "a"), uid('a", "b')}) == 4
    with pytest.raises(FailedError, match="empty"):
        uid("STO", "")


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (("", NNNOR), ""),
        (("700123", "STO"), "700123^^^STO"),
        (("7^1", "S&T", "PI"), "7\\S\\1^^^S\\T\\T^PI"),
        (("1", NNNOR, "NNNOR"), f"1^^^&{NNNOR}&ISO^NNNOR"),
        (("1", ""), "1"),
    ],
)
def test_an_identifier_is_written_as_hl7_does(arguments: Any, written: str) -> None:
    assert cx(*arguments) == written
    assert isinstance(cx(*arguments), Verbatim), "it goes into a whole field as it stands"


@pytest.mark.parametrize(
    ("text", "kept", "shown"),
    [
        ("12345", 2, "***45"),
        ("12", 2, "**"),
        ("1", 2, "*"),
        ("", 2, ""),
        ("123", 0, "***"),
        ("123", -1, "***"),
    ],
)
def test_a_mask_never_shows_all(text: str, kept: int, shown: str) -> None:
    assert mask(text, kept) == shown
