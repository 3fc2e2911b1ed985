"""What becomes of a message whose PID-3 or MRG-1 holds a number that is not as its issuer makes them."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.pas.inbound import INBOUND as PAS
from adapters.ris.inbound import INBOUND as RIS
from broker.adapter import InboundSpec, ListenerPlace, Reception, Verdict
from broker.hl7.er7 import Message
from broker.identity import Environment
from tests.support import golden
from tests.support.numbers import valid
from tests.support.shared import REPOSITORY

FNR = "NNNOR&2.16.578.1.12.4.1.4.1&ISO"
STO = "STO&2.999.7001&ISO"
REAL, TENOR, WRONG = valid("301082"), valid("309082"), "20036914712"
H_NUMBER = valid("305082")


def adt(
    *identifiers: tuple[str, str], trigger: str = "A04", more: str = "", pv1: str = "O", unknown: str = ""
) -> str:
    ids = "~".join(f"{value}^^^{issuer}" for value, issuer in identifiers)
    return (
        rf"MSH|^~\&|PAS|STO|BROKER|HMN|20260309080000||ADT^{trigger}|C1|P|2.5" + "\n"
        "EVN||20260309080000\n"
        f"PID|1||{ids}||Sørby^Áile||19821030|F{'|' * 23}{unknown}\n{more}\nPV1|1|{pv1}|OYE"
    )


def receive(
    text: str,
    environment: Environment = "mixed",
    spec: InboundSpec[Any] = PAS,
    **options: Any,
) -> Reception:
    assert spec.reader is not None
    place = ListenerPlace(
        name=spec.name, site="STO", config_folder=REPOSITORY / "config", environment=environment
    )
    options = {**golden.OPTIONS, "h_issuers": (STO,), **options}
    reader = spec.reader(spec.config(**options), place)
    return reader.receive(golden.er7(text), message_id=golden.MESSAGE_ID, now=golden.NOW)


@pytest.mark.parametrize(
    "number", [REAL, TENOR, WRONG, "29020105729", valid("812345"), "12345", valid("701082")]
)
def test_the_shipped_environment_takes_all_and_flags(number: str) -> None:
    found = receive(adt((number, FNR)))

    assert (found.verdict, found.answer_code) == (Verdict.ACCEPTED, "AA")
    assert found.flags


@pytest.mark.parametrize(
    ("environment", "number", "flag"),
    [
        ("prod", TENOR, "synthetic-number"),
        ("prod", valid("307582"), "synthetic-number"),
        ("prod", H_NUMBER, "synthetic-number"),
        ("prod", WRONG, "check-digit"),
        ("prod", valid("812345"), "id-kind-differs"),
        ("test", REAL, "real-looking-number"),
        ("test", WRONG, "check-digit"),
    ],
)
def test_a_refusal_says_where_and_why_and_keeps_the_message(
    environment: Environment, number: str, flag: str
) -> None:
    found = receive(adt((number, FNR), ("700123", STO)), environment)

    assert (found.verdict, found.answer_code, found.events) == (Verdict.REJECTED, "AE", ())
    assert flag in found.flags
    assert found.reason.startswith("PID-3: PID-3 holds ")
    assert found.raw
    answer = Message.parse(found.answers[0])
    assert (answer["ERR-2.1"], answer["ERR-2.3"], answer["ERR-3.1"]) == ("PID", "3", "204")
    assert number.encode() not in found.answers[0]


@pytest.mark.parametrize(("environment", "number"), [("prod", REAL), ("test", TENOR), ("test", H_NUMBER)])
def test_each_environment_takes_its_own(environment: Environment, number: str) -> None:
    assert receive(adt((number, FNR)), environment).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("emergency", [{"pv1": "E"}, {"unknown": "Y"}])
def test_an_emergency_is_taken_with_wrong_check_digits(emergency: dict[str, str]) -> None:
    found = receive(adt((WRONG, FNR), **emergency), "prod")

    assert found.verdict is Verdict.ACCEPTED
    assert "check-digit" in found.flags


def test_an_emergency_is_no_excuse_for_a_synthetic_number() -> None:
    assert receive(adt((TENOR, FNR), pv1="E"), "prod").verdict is Verdict.REJECTED


def test_a_listener_may_refuse_wrong_check_digits_alone() -> None:
    assert receive(adt((WRONG, FNR)), bad_check_digit="refuse").verdict is Verdict.REJECTED
    assert receive(adt((TENOR, FNR)), bad_check_digit="refuse").verdict is Verdict.ACCEPTED
    assert receive(adt((WRONG, FNR)), "prod", bad_check_digit="flag").verdict is Verdict.ACCEPTED


def test_an_h_number_needs_an_issuer_that_gives_them() -> None:
    taken = receive(adt((H_NUMBER, STO)), "prod")
    other = receive(adt((H_NUMBER, "SO2&2.999.7002&ISO")), "prod")
    flagged = receive(adt((H_NUMBER, "SO2&2.999.7002&ISO")))

    assert (taken.verdict, taken.flags) == (Verdict.ACCEPTED, ())
    assert (other.verdict, other.flags) == (Verdict.REJECTED, ("h-number-issuer",))
    assert (flagged.verdict, flagged.flags) == (Verdict.ACCEPTED, ("h-number-issuer",))


def test_the_event_says_which_identifiers_are_temporary() -> None:
    said = receive(adt((H_NUMBER, STO), ("TR-17", STO), ("700123", STO)), temporary_ids=("TR-*",))

    patient = said.events[0].data.patient
    assert patient is not None
    assert [i.temporary for i in patient.identifiers] == [True, True, False]


@pytest.mark.parametrize("trigger", ["A40", "A47"])
@pytest.mark.parametrize("number", [WRONG, TENOR, valid("812345")])
def test_a_wrong_number_may_end(trigger: str, number: str) -> None:
    message = adt((REAL, FNR), trigger=trigger, more=f"MRG|{number}^^^{FNR}").rpartition("\n")[0]
    found = receive(message, "prod")

    assert found.verdict is Verdict.ACCEPTED
    assert found.flags


def test_a_merge_to_a_wrong_number_is_refused() -> None:
    message = adt((WRONG, FNR), trigger="A40", more=f"MRG|{REAL}^^^{FNR}").rpartition("\n")[0]

    assert receive(message, "prod").verdict is Verdict.REJECTED


def test_orders_are_judged_alike() -> None:
    order = "\n".join(
        [
            r"MSH|^~\&|RIS|STO|BROKER|HMN|20260309080000||ORM^O01|C2|P|2.5",
            f"PID|1||{TENOR}^^^{FNR}||Sørby^Áile||19821030|F",
            "ORC|NW|P1|F1||SC",
            "OBR|1|P1|F1|CT^CT lunger|||||||||||||A1|R1|S1|||||CT",
        ]
    )
    taken, refused = receive(order, spec=RIS), receive(order, "prod", spec=RIS)

    assert (taken.verdict, taken.flags) == (Verdict.ACCEPTED, ("synthetic-number",))
    assert (refused.verdict, refused.answer_code) == (Verdict.REJECTED, "AE")


def test_a_flag_stands_once_however_often_it_is_deserved() -> None:
    found = receive(
        adt((TENOR, FNR), (valid("019082"), FNR), (valid("709082"), "DNNOR&2.16.578.1.12.4.1.4.2&ISO"))
    )

    assert found.flags == ("synthetic-number", "birth-date-differs")
