from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.event import Identifier
from broker.identity import EMERGENCY, FLAGS, REFUSED, Class, Environment, Rules, class_of, flags, objection
from broker.nationalid import KINDS, Kind
from tests.support.numbers import duf, valid

STO = "2.999.7001"
OID: dict[Kind, str] = {kind: oid for oid, kind in KINDS.items()}
RULES = Rules(h_issuers=frozenset({STO}), temporary_issuers=frozenset({"TRAUMA"}), temporary_ids=("TR-*",))
H_NUMBER = valid("305082")
REAL, TENOR, DOLLY = valid("301082"), valid("309082"), valid("305082")
FH_NUMBER = valid("812345")


def under(issuer: str, value: str) -> Identifier:
    return Identifier(value=value, oid=issuer if "." in issuer else "", namespace=issuer)


@pytest.mark.parametrize(
    ("issuer", "value", "expected"),
    [
        (OID["fnr"], REAL, {"real-looking-number"}),
        (OID["fnr"], TENOR, {"synthetic-number"}),
        (OID["fnr"], valid("307582"), {"synthetic-number"}),
        (OID["fnr"], DOLLY, {"synthetic-number"}),
        (OID["fnr"], "20036914712", {"check-digit"}),
        (OID["fnr"], "29020105729", {"check-digit"}),
        (OID["fnr"], valid("701082"), {"id-kind-differs", "real-looking-number"}),
        (OID["fnr"], FH_NUMBER, {"id-kind-differs"}),
        (OID["fnr"], "700123", {"id-kind-differs"}),
        (OID["d-number"], valid("701082"), {"real-looking-number"}),
        (OID["d-number"], valid("709082"), {"synthetic-number"}),
        (OID["d-number"], FH_NUMBER, {"id-kind-differs"}),
        (OID["fh-number"], FH_NUMBER, set()),
        (OID["fh-number"], "81234567890", {"check-digit"}),
        (OID["fh-number"], REAL, {"id-kind-differs", "real-looking-number"}),
        (OID["duf"], duf(2019, "123456"), set()),
        (OID["duf"], "201912345699", {"duf-check-digit"}),
        (OID["duf"], REAL, {"id-kind-differs", "real-looking-number"}),
        (STO, H_NUMBER, set()),
        (STO, "30508299999", {"check-digit"}),
        (STO, "700123", set()),
        (STO, "81234567890", set()),
        (STO, REAL, {"bare-national-number", "real-looking-number"}),
        ("OTHER", H_NUMBER, {"h-number-issuer"}),
        ("OTHER", "30508299999", set()),
        ("OTHER", TENOR, {"bare-national-number", "synthetic-number"}),
        ("OTHER", "30108299999", set()),
        ("2.16.578.1.12.4.1.4.4", FH_NUMBER, set()),
    ],
)
def test_the_issuer_comes_first_and_the_shape_second(issuer: str, value: str, expected: set[str]) -> None:
    assert set(flags(under(issuer, value), RULES)) == expected
    assert expected <= FLAGS.keys()


def test_what_an_environment_expects_is_not_remarked() -> None:
    real, tenor = under(OID["fnr"], REAL), under(OID["fnr"], TENOR)
    prod, test = replace(RULES, environment="prod"), replace(RULES, environment="test")

    assert (flags(real, prod), flags(tenor, prod)) == ((), ("synthetic-number",))
    assert (flags(real, test), flags(tenor, test)) == (("real-looking-number",), ())


def test_a_national_number_without_its_issuer_is_judged_by_the_environment_too() -> None:
    real, tenor = under(STO, REAL), under(STO, TENOR)
    prod, test = replace(RULES, environment="prod"), replace(RULES, environment="test")

    assert objection(flags(tenor, prod), prod, emergency=True)
    assert objection(flags(real, test), test, emergency=True)
    assert not objection(flags(real, prod), prod, emergency=False)
    assert not objection(flags(tenor, test), test, emergency=False)


def test_a_birth_date_is_held_against_the_number_and_nothing_is_made_of_it() -> None:
    number = under(OID["fnr"], TENOR)

    assert "birth-date-differs" not in flags(number, RULES, birth_date="19821030")
    assert "birth-date-differs" in flags(number, RULES, birth_date="19821031")
    assert "birth-date-differs" not in flags(number, RULES, birth_date="1982")


@pytest.mark.parametrize(
    ("environment", "flag", "refused", "in_an_emergency"),
    [
        ("prod", "synthetic-number", True, True),
        ("prod", "real-looking-number", False, False),
        ("prod", "check-digit", True, False),
        ("prod", "id-kind-differs", True, False),
        ("prod", "h-number-issuer", True, False),
        ("test", "synthetic-number", False, False),
        ("test", "real-looking-number", True, True),
        ("test", "check-digit", True, False),
        ("test", "id-kind-differs", True, False),
        ("test", "h-number-issuer", False, False),
        *(
            (environment, flag, False, False)
            for environment in REFUSED
            for flag in ("duf-check-digit", "bare-national-number", "birth-date-differs")
        ),
    ],
)
def test_the_environment_decides_what_is_refused(
    environment: Environment, flag: str, refused: bool, in_an_emergency: bool
) -> None:
    rules = replace(RULES, environment=environment)

    assert bool(objection([flag], rules, emergency=False)) is refused
    assert bool(objection([flag], rules, emergency=True)) is in_an_emergency


def test_only_known_flags_refuse_or_are_forgiven() -> None:
    assert set().union(EMERGENCY, *REFUSED.values()) <= FLAGS.keys()


def test_the_shipped_environment_refuses_nothing() -> None:
    assert objection(FLAGS, Rules(), emergency=False) == ""


@pytest.mark.parametrize("environment", sorted(REFUSED))
def test_a_listener_may_say_what_becomes_of_check_digits(environment: Environment) -> None:
    rules = replace(RULES, environment=environment)

    assert objection(["check-digit"], replace(rules, bad_check_digit="refuse"), emergency=False)
    assert not objection(["check-digit"], replace(rules, bad_check_digit="refuse"), emergency=True)
    assert not objection(["check-digit"], replace(rules, bad_check_digit="flag"), emergency=False)


def test_the_sender_is_told_what_and_why() -> None:
    assert objection(["synthetic-number"], replace(RULES, environment="prod"), emergency=False) == (
        "holds a number of a test series, and this broker's environment is prod"
    )


@pytest.mark.parametrize(
    ("issuer", "value", "expected"),
    [
        (OID["fnr"], REAL, "national"),
        (OID["fnr"], DOLLY, "national"),
        (OID["fnr"], "TR-17", "national"),
        (OID["d-number"], valid("701082"), "national"),
        (OID["duf"], duf(2019, "123456"), "national"),
        (OID["fh-number"], FH_NUMBER, "temporary"),
        (STO, H_NUMBER, "temporary"),
        (STO, valid("812345"), "temporary"),
        (STO, "700123", "local"),
        (STO, "30508299999", "local"),
        (STO, "TR-17", "temporary"),
        ("OTHER", H_NUMBER, "local"),
        ("TRAUMA", "17", "temporary"),
    ],
)
def test_an_identifier_has_a_class(issuer: str, value: str, expected: Class) -> None:
    identifier = under(issuer, value)
    temporary = RULES.is_temporary(value, identifier.issuer)

    assert class_of(identifier.model_copy(update={"temporary": temporary})) == expected


@given(
    value=st.text(alphabet="0123456789", min_size=9, max_size=13) | st.text(max_size=12),
    issuer=st.sampled_from([*KINDS, STO, "OTHER", ""]),
    birth_date=st.sampled_from(["", "19821030", "1982"]),
)
def test_whatever_is_written_is_judged_and_never_repeated(value: str, issuer: str, birth_date: str) -> None:
    found = flags(under(issuer, value), RULES, birth_date=birth_date)

    assert set(found) <= FLAGS.keys()
    for environment in REFUSED:
        rules: Any = replace(RULES, environment=environment)
        said = objection(found, rules, emergency=False)
        assert len(value) < 6 or value not in said
