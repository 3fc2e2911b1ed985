"""What is left of messages, events and JSON without their values."""

from __future__ import annotations

import pytest

from broker.routing.expression import Scope, compile_condition
from broker.tap import mask
from tests.support import events
from tests.support.messages import Person, orm

SOMEONE = Person(number="700123", national="30908299902", family="Sørby", given="Áile")


def shown(raw: bytes) -> list[str]:
    message = mask.read(raw)
    assert message is not None
    return mask.segments(message, phi=False)


def test_structure_lengths_and_hl7s_own_codes_are_left() -> None:
    header, pid, pv1, orc, *_ = shown(orm("C1", SOMEONE, "77"))

    assert header == "MSH|^~\\&|•3|•3|•6|•3|•14||ORM^O01^ORM_O01|•2|T|2.5.1||||||UNICODE UTF-8"
    assert pid == "PID|1||•11^^^•5&•21&•3^•5~•6^^^•3&•10&•3^PI||•5^•4||•8|•1"
    assert pv1 == "PV1|1|O"
    assert orc == "ORC|NW|•3^•3|•3^•3||SC||^^^•14^^•1"


def test_a_senders_own_separators_become_the_usual_ones() -> None:
    assert shown(b"MSH#*+%!#A##B####ADT*A08#C1\rPID#1##1234*x!y+5#\r") == [
        "MSH|^~\\&|•1||•1||||ADT^A08|•2",
        "PID|1||•4^•1&•1~•1|",
    ]


def test_null_says_that_something_is_removed_and_stays() -> None:
    assert shown(b'MSH|^~\\&|A\rPID|1||""|x^""')[1] == 'PID|1||""|•1^""'


@pytest.mark.parametrize("line", ["KARI NORDMANN", "KAR|NORDMANN", "BER|x", "pid|1"])
def test_a_line_that_is_no_segment_shows_not_even_its_beginning(line: str) -> None:
    assert shown(f"MSH|^~\\&|A\r{line}\r".encode())[1] == f"??? •{len(line)}"


def test_bytes_without_a_header_are_no_message() -> None:
    assert mask.read(b"Kari Nordmann") is None


def test_a_batch_and_an_unknown_character_set_are_read_all_the_same() -> None:
    assert shown(b"BHS|^~\\&|A||||||Kari\rMSH|^~\\&|B\rBTS|1\r")[0] == "BHS|^~\\&|•1||||||•4"
    assert mask.read("MSH|^~\\&|Å\r".encode("latin-1"), "utf-8") is not None
    assert mask.read(b"MSH|^~\\&|A\r", "no such codec") is not None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("PID-3", "•11^^^•5&•21&•3^•5~•6^^^•3&•10&•3^PI"),
        ("PID-3(2).5", "PI"),
        ("PID-3(2).4.2", "•10"),
        ("PID-5.1", "•5"),
        ("PID-99", ""),
        ("ORC-1", "NW"),
        ("MSH-9.2", "O01"),
        ("MSH-2", "•4"),
    ],
)
def test_a_field_is_masked_as_it_is_in_the_message(path: str, expected: str) -> None:
    message = mask.read(orm("C1", SOMEONE, "77"))
    assert message is not None

    assert mask.field(message, path, phi=False) == expected


@pytest.mark.parametrize("text", ["ADT^A08", "ACK", "C-STORE", "ORU^R01", "BATCH"])
def test_types_are_told(text: str) -> None:
    assert mask.message_type(text) == text


@pytest.mark.parametrize("text", ["BERG^KARI", "ADT^30908299902", "adt^a08", "KARI"])
def test_what_is_no_type_is_not(text: str) -> None:
    assert mask.message_type(text) == f"•{len(text)}"


def test_a_control_id_is_told_unless_it_is_a_persons_number_or_text() -> None:
    assert [
        mask.control_id(text) for text in ("P000101", "20260309080000-1", "30908299902", "Kari Berg")
    ] == [*("P000101", "20260309080000-1", "•11", "•9")]


def test_an_events_facts() -> None:
    told = events.event(
        "step.scheduled",
        patient=events.patient(events.local("700123")),
        order=events.order(control="NW", status="KARI"),
        step=events.step(modality="KARI"),
    )
    found = mask.facts(told, phi=False)

    assert (found["order.control"], found["order.status"], found["step.modality"]) == ("NW", "•4", "•4")
    assert (found["patient.id"], found["patient.sex"], found["step.status"]) == ("•6", "•1", "SCHEDULED")
    assert found["step.station_aets"] == ["•7"]
    assert "patient.verified" not in found
    assert mask.facts(told, phi=True)["patient.name.family"] == "Sørby"


def test_json_keeps_its_shape() -> None:
    value = {"PatientName": "Sørby", "n": 7, "none": None, "yes": True, "list": [{"a": ""}, "x"]}

    masked = {"PatientName": "•5", "n": "•1", "none": None, "yes": True, "list": [{"a": ""}, "•1"]}
    assert mask.tree(value, phi=False) == masked
    assert mask.tree(value, phi=True) == value


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("step.modality == 'CT' && site == 'STO'", "step.modality == 'CT' && site == 'STO'"),
        ("patient.id == '700123' && site == 'STO'", "patient.id == '•' && site == '•'"),
        ('msg("PID-3") == "700123"', "msg('•') == '•'"),
    ],
)
def test_an_expression_is_kept_without_what_it_says_of_a_person(source: str, kept: str) -> None:
    compiled = compile_condition(source, Scope())

    assert mask.expression(compiled.source, compiled.names, compiled.paths) == kept
