"""What a patient query asks, and every way in which it cannot be answered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.pdq.query import Query, Rules, Unanswerable, read_pdq, read_pix
from broker.adapter import NamePart, PatientWanted
from broker.event import Identifier
from broker.hl7.ack import AckError
from broker.hl7.demographics import read_issuer
from broker.hl7.er7 import Message

STO, NNNOR = read_issuer("STO&2.999.7001&ISO"), read_issuer("NNNOR&2.16.578.1.12.4.1.4.1&ISO")
RULES = Rules(known=(STO, NNNOR), min_letters=3)
SECRET = "Hemmelig"


def message(parameters: str, rest: str = "", *more: str, trigger: str = "Q22") -> Message:
    lines = [
        f"MSH|^~\\&|EPJ|STO|BROKER|STO|20260310||QBP^{trigger}^QBP_Q21|1|P|2.5||||||UNICODE UTF-8",
        f"QPD|IHE PDQ Query|T1|{parameters}{rest}",
        *more,
    ]
    return Message.parse("".join(f"{line}\r" for line in lines).encode())


def asked(parameters: str, rest: str = "", *more: str) -> Query:
    return read_pdq(message(parameters, rest, *more), RULES)


def faults(parameters: str, rest: str = "", *more: str) -> list[tuple[str, str]]:
    with pytest.raises(Unanswerable) as failure:
        asked(parameters, rest, *more)
    return [(str(error.location), error.code) for error in failure.value.errors]


def of(issuer: Identifier, value: str) -> Identifier:
    return issuer.model_copy(update={"value": value})


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ("@PID.5.1^HANSEN", PatientWanted(family=NamePart(text="HANSEN"))),
        ("@PID.5^HANSEN", PatientWanted(family=NamePart(text="HANSEN"))),
        (
            "@PID.5.1.1^Han*~@PID.5.2^K*",
            PatientWanted(family=NamePart(text="Han", prefix=True), given=None),
        ),
        (
            "@PID.5.1^Å\\T\\B~@PID.5.2^Kari Anne",
            PatientWanted(family=NamePart(text="Å&B"), given=NamePart(text="Kari Anne")),
        ),
        ("@PID.3.1^7", PatientWanted(identifiers=(Identifier(value="7"),))),
        ("@PID.3^7~@PID.3.4^STO&2.999.7001&ISO", PatientWanted(identifiers=(of(STO, "7"),))),
        ("@PID.3.1^7~@PID.3.4^STO", PatientWanted(identifiers=(of(STO, "7"),))),
        ("@PID.3.4.2^2.999.7001~@PID.3.4.3^ISO~@PID.5.1^X", None),
        (
            "@PID.3.1^7~@PID.3.4.1^STO~@PID.3.1^8~@PID.3.4.2^2.16.578.1.12.4.1.4.1",
            PatientWanted(identifiers=(of(STO, "7"), of(NNNOR, "8"))),
        ),
        ("@PID.7^19800131", PatientWanted(birth_date=("19800131", "19800131"))),
        ("@PID.7.1^198001311530+0100", PatientWanted(birth_date=("19800131", "19800131"))),
        (
            "@PID.5.1^X~@PID.7^1980~@PID.8^f",
            PatientWanted(
                family=NamePart(text="X"), birth_date=("1980", "1980\U0010ffff"), sex="F"
            ),
        ),
        ("PID.5.1^X~~@PID.8^", PatientWanted(family=NamePart(text="X"))),
    ],
)  # fmt: skip
def test_what_a_query_wants(parameters: str, wanted: PatientWanted | None) -> None:
    if wanted is None:
        assert faults(parameters) == [("QPD-3.1", "101")]
    elif wanted.family == NamePart(text="Han", prefix=True):
        assert faults(parameters) == [("QPD-3(2).2", "102")], "K* has too few letters"
    else:
        assert asked(parameters).wanted == wanted


def test_domains_quantity_and_pointer() -> None:
    query = asked("@PID.5.1^X", "|||||^^^STO~^^^&2.16.578.1.12.4.1.4.1&ISO~^^^STO", "RCP|I|20^RD", "DSC|P7|I")

    assert (query.tag, query.domains, query.quantity, query.pointer) == ("T1", (STO, NNNOR), 20, "P7")
    assert query.wanted.issuers == ("2.999.7001", "2.16.578.1.12.4.1.4.1")


@pytest.mark.parametrize(
    ("parameters", "rest", "place", "code"),
    [
        ("@PID.11.3^Trondheim~@PID.5.1^X", "", "QPD-3.1", "103"),
        ("@PID.5.1^X~@PID.13^99999999", "", "QPD-3(2).1", "103"),
        ("@PID.5.1^X~@PID.14.1^9", "", "QPD-3(2).1", "103"),
        ("@PID.5.1^X~@PID.18.1^9", "", "QPD-3(2).1", "103"),
        ("@PV1.3^OYE~@PID.5.1^X", "", "QPD-3.1", "103"),
        ("@PID.5.3^X~@PID.5.1^X", "", "QPD-3.1", "103"),
        ("@PID.3.5^PI~@PID.3.1^X", "", "QPD-3.1", "103"),
        ("@PID^X~@PID.5.1^X", "", "QPD-3.1", "103"),
        ("Hansen~@PID.5.1^X", "", "QPD-3.1", "103"),
        ('@PID.5.1^""~@PID.3.1^X', "", "QPD-3.2", "102"),
        ("@PID.5.1^X~@PID.5.1.1^Y", "", "QPD-3(2).1", "102"),
        ("@PID.7^19800101~@PID.7^19800101", "", "QPD-3(2).1", "102"),
        ("@PID.5.1^*", "", "QPD-3.2", "102"),
        ("@PID.5.1^Ha*", "", "QPD-3.2", "102"),
        ("@PID.5.1^*sen", "", "QPD-3.2", "102"),
        ("@PID.5.1^Han*sen", "", "QPD-3.2", "102"),
        ("@PID.3.1^7*", "", "QPD-3.2", "102"),
        ("@PID.7^31.01.1980", "", "QPD-3.2", "102"),
        ("@PID.7^198", "", "QPD-3.2", "102"),
        ("@PID.8^X~@PID.5.1^X", "", "QPD-3.2", "103"),
        ("@PID.3.1^7~@PID.3.4.1^NOWHERE", "", "QPD-3.2", "204"),
        ("@PID.7^1980", "", "QPD-3", "101"),
        ("@PID.5.2^Kari~@PID.8^F", "", "QPD-3", "101"),
        ("", "", "QPD-3", "101"),
        ("@PID.5.1^X", "|||||^^^NOWHERE", "QPD-8", "204"),
    ],
)
def test_what_cannot_be_asked_is_said_with_its_place(
    parameters: str, rest: str, place: str, code: str
) -> None:
    assert (place, code) in faults(parameters, rest)


@pytest.mark.parametrize(
    ("rcp", "place", "code"),
    [
        ("RCP|D|20^RD", "RCP-1", "103"),
        ("RCP|I|20^LI", "RCP-2.2", "103"),
        ("RCP|I|0^RD", "RCP-2.1", "102"),
        ("RCP|I|-1", "RCP-2.1", "102"),
        ("RCP|I|²", "RCP-2.1", "102"),
        ("RCP|I|many^RD", "RCP-2.1", "102"),
    ],
)
def test_a_limit_that_makes_no_sense(rcp: str, place: str, code: str) -> None:
    assert faults("@PID.5.1^X", "", rcp) == [(place, code)]


def test_every_fault_is_told_at_once() -> None:
    found = faults("@PID.5.1^Ha*~@PID.11^X~@PID.8^Q", "|||||^^^A~^^^STO~^^^B", "RCP|D")

    assert [place for place, _ in found] == [
        "QPD-3.2", "QPD-3(2).1", "QPD-3(3).2", "QPD-8", "QPD-8(3)", "RCP-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("qpd", "place"),
    [
        ("|^^^STO", "QPD-3.1"),
        ("7", "QPD-3.4"),
        ("7^^^NOWHERE", "QPD-3.4"),
        ("7^^^STO~8^^^STO", "QPD-3(2).1"),
        ("7^^^STO|^^^NOWHERE", "QPD-4"),
    ],
)
def test_a_pix_query_that_cannot_be_answered(qpd: str, place: str) -> None:
    with pytest.raises(Unanswerable) as failure:
        read_pix(message(qpd.removeprefix("|"), trigger="Q23"), RULES)

    assert str(failure.value.errors[0].location) == place


def test_a_pix_query() -> None:
    query = read_pix(message("7^^^&2.999.7001&ISO|^^^NNNOR", trigger="Q23"), RULES)

    assert (query.wanted.identifiers, query.domains) == ((of(STO, "7"),), (NNNOR,))


@pytest.mark.parametrize("read", [read_pdq, read_pix])
def test_without_qpd_or_its_tag_there_is_no_query(read: object) -> None:
    for line, place in (("PID|1", "QPD"), ("QPD|IHE PDQ Query||@PID.5.1^X", "QPD-2")):
        raw = f"MSH|^~\\&|||||||QBP^Q22|1|P|2.5\r{line}\r".encode()
        with pytest.raises(Unanswerable) as failure:
            read(Message.parse(raw), RULES)  # type: ignore[operator]
        assert str(failure.value.location) == place


PIECES = st.sampled_from(
    [
        "@PID.",
        "@PV1.",
        "3",
        "5",
        "7",
        "8",
        "11",
        ".1",
        ".4",
        ".2",
        "^",
        "&",
        "~",
        "*",
        '""',
        "\\T\\",
        "STO",
        SECRET,
    ]
)
QPD = st.lists(st.one_of(PIECES, st.text("\t 0123456789abcåÆ^~&|*.@-", max_size=4)), max_size=12).map("".join)


@given(parameters=QPD, rest=QPD, rcp=QPD)
def test_whatever_stands_in_a_query_it_is_read_or_refused_without_naming_a_value(
    parameters: str, rest: str, rcp: str
) -> None:
    for read in (read_pdq, read_pix):
        errors: Sequence[AckError] = ()
        query: Query | None = None
        try:
            query = read(message(parameters, f"|||||{rest}", f"RCP|{rcp}"), RULES)
        except Unanswerable as exc:
            errors = exc.errors

        assert bool(errors) == (query is None)
        assert all(SECRET not in f"{error.text}{error.location}" for error in errors)
        assert {error.code for error in errors} <= {"100", "101", "102", "103", "204"}
        if query is not None:
            wanted = query.wanted
            assert wanted.identifiers or wanted.family or wanted.birth_date
            for part in filter(None, (wanted.family, wanted.given)):
                assert not part.prefix or sum(map(str.isalnum, part.text)) >= RULES.min_letters
                assert "*" not in part.text
