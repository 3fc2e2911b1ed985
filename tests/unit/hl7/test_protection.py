"""The detector of protected addresses: sites say it in different places, and what is not understood is protected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.hl7.er7 import Message
from broker.hl7.protection import Rule, detect

RULES = (
    Rule.of("PD1-12", protected=["Y", "6", "7"], open=["N", "0"]),
    Rule.of("PV1-16", protected=["K6"], open=["VIP"]),
    Rule.of("ARV-3", protected=["LOC"], open=["NO"]),
    Rule.of("ZPI-4.2", protected=["strengt fortrolig"], open=["UGRADERT"]),
    Rule.of("PID-11.1", protected=["*SPERRET ADRESSE*"], otherwise="silent"),
    Rule.of("PID-11.7", protected=["SPERRET"], otherwise="silent"),
)


def said(*lines: str) -> bool | None:
    raw = "\r".join(["MSH|^~\\&|PAS||||||ADT^A08|1|P|2.6||||||UNICODE UTF-8", *lines, ""]).encode()
    return detect(Message.parse(raw).segments, RULES)


def pd1(value: str) -> str:
    return "PD1" + "|" * 12 + value


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["PD1|||4711^Lege"], None),
        ([pd1("Y")], True),
        ([pd1(" y ")], True),
        ([pd1("7")], True),
        ([pd1("N")], False),
        ([pd1("0")], False),
        ([pd1("X")], True),
        ([pd1('""')], True),
        (["PV1|1|I" + "|" * 14 + "K6"], True),
        (["PV1|1|I" + "|" * 14 + "VIP"], False),
        (["ARV|1|A|LOC"], True),
        (["ARV|1|A|PSY"], True),
        (["ARV|1|A|NO"], False),
        (["ARV|1|D|LOC"], False),
        (["ARV|1|D|DEM", "ARV|2|A|LOC"], True),
        (["ARV|1|A|NO~LOC"], True),
        (["ZPI||||x^Strengt  Fortrolig"], True),
        (["ZPI||||x^ugradert"], False),
        (["ZPI||||x"], None),
        (["PID|||1||||||||Prøvegata 1^^Trondheim"], None),
        (["PID|||1||||||||Hytta~c/o sperret adresse^^Oslo"], True),
        (["PID|||1||||||||Gata 1^^^^^^H~x^^^^^^Sperret"], True),
        ([pd1("N"), "PID|||1||||||||SPERRET ADRESSE"], True),
        (["PID|||1||||||||Gata 1", pd1("N")], False),
        (["PID|||1||||||||Gata 1", pd1("")], None),
    ],
)
def test_what_is_said(lines: list[str], expected: bool | None) -> None:
    assert said(*lines) is expected


@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="|^~\\&"), min_size=1
    )
)
def test_no_value_but_those_listed_as_open_opens(value: str) -> None:
    known = " ".join(value.casefold().split())

    assert said(pd1(value)) is (None if not known else known not in ("n", "0"))


def test_without_rules_nothing_is_said() -> None:
    raw = ("MSH|^~\\&|PAS||||||ADT^A08|1|P|2.6\r" + pd1("Y")).encode()

    assert detect(Message.parse(raw).segments, ()) is None


def test_a_path_may_name_one_segment_or_repetition() -> None:
    raw = b"MSH|^~\\&|PAS||||||ADT^A08|1|P|2.6\rZPI|Y~N\rZPI|N~Y\r"
    segments = Message.parse(raw).segments

    assert detect(segments, [Rule.of("ZPI[2]-1(1)", ["Y"], ["N"])]) is False
    assert detect(segments, [Rule.of("ZPI[2]-1", ["Y"], ["N"])]) is True
    assert detect(segments, [Rule.of("ZPI-1(2)", ["Y"], ["N"])]) is True


def test_a_rule_needs_a_path() -> None:
    with pytest.raises(ValueError, match="not an HL7 path"):
        Rule.of("PD1")
