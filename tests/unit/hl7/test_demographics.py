from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UnmappableError
from broker.event import Identifier, PersonName
from broker.hl7 import demographics as d
from broker.hl7.er7 import Message, Segment

STO = d.read_issuer("STO&2.999.7001&ISO")
NATIONAL = d.read_issuer("NNNOR&2.16.578.1.12.4.1.4.1&ISO")
ISSUERS = d.Issuers(default=STO, known=(NATIONAL,))


def segment(line: str) -> Segment:
    found = Message.parse(f"MSH|^~\\&|PAS||||2026||ADT^A08|1|P|2.5\r{line}\r".encode()).first(line[:3])
    assert found is not None
    return found


def message(*lines: str) -> Message:
    return Message.parse("\r".join(("MSH|^~\\&|PAS||||20260309||ADT^A08|1|P|2.5", *lines)).encode())


# --- issuers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STO&2.999.7001&ISO", ("STO", "2.999.7001", "ISO")),
        ("STO", ("STO", "", "")),
        ("&2.999.7001&ISO", ("", "2.999.7001", "ISO")),
        ("STO&2.999.7001", ("STO", "2.999.7001", "")),
    ],
)
def test_an_issuer_as_written(text: str, expected: tuple[str, str, str]) -> None:
    issuer = d.read_issuer(text)

    assert (issuer.namespace, issuer.oid, issuer.oid_type) == expected


@pytest.mark.parametrize("text", ["", "&", "&&", "a&b&c&d"])
def test_what_is_no_issuer(text: str) -> None:
    with pytest.raises(ValueError, match="namespace&oid&ISO"):
        d.read_issuer(text)


@pytest.mark.parametrize(
    ("cx", "issuer"),
    [
        ("7", STO),
        ("7^^^STO", STO),
        ("7^^^&2.999.7001&ISO", STO),
        ("7^^^2.999.7001", STO),
        ("7^^^SOMETHING&2.999.7001&ISO", STO),
        ("7^^^NNNOR", NATIONAL),
        ('7^^^""', STO),
        ('7^^^""&""^""', STO),
        ("7^^^^^NNNOR", NATIONAL),
        ("7^^^STO^^NNNOR", STO),
        ("7^^^STO&2.999.1&ISO", Identifier(value="", namespace="STO", oid="2.999.1", oid_type="ISO")),
        ("7^^^sto", Identifier(value="", namespace="sto")),
    ],
)
def test_an_issuer_is_completed(cx: str, issuer: Identifier) -> None:
    (found,) = d.identifiers(segment(f"PID|1||{cx}"), 3, ISSUERS)

    assert found == issuer.model_copy(update={"value": "7"})


def test_each_identifier_stands_once_and_an_empty_one_is_none() -> None:
    found = d.identifiers(segment('PID|1|| 7 ~7^^^STO~8^^^^MR~^^^STO~""~""^^^STO'), 3, ISSUERS)

    assert [(i.value, i.type_code) for i in found] == [("7", ""), ("8", "MR")]


def test_order_numbers() -> None:
    orc = segment('ORC|NW|P1^EPJ^2.999.2^ISO|""|F1^""|^EPJ')

    assert d.entity(orc, 2) == Identifier(value="P1", namespace="EPJ", oid="2.999.2", oid_type="ISO")
    assert d.entity(orc, 3) is None
    assert d.entity(orc, 4) == Identifier(value="F1")
    assert d.entity(orc, 5) is None
    assert d.entity(orc, 6) is None


# --- names, people, codes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xpn", "expected"),
    [
        (
            "Sørby^Áile^Lájla^jr^fru",
            PersonName(family="Sørby", given="Áile", middle="Lájla", suffix="jr", prefix="fru"),
        ),
        ("von&der Sørby^Áile", PersonName(family="von", given="Áile")),
        ("Ŋávnnas", PersonName(family="Ŋávnnas")),
        ("^Áile", PersonName(given="Áile")),
        ('Sørby^""', PersonName(family="Sørby")),
        ('""', PersonName()),
        ('""^""', PersonName()),
        ("", None),
        ("^^^^fru", None),
        ("Kall^Navn^^^^^A~Sørby^Áile^^^^^L", PersonName(family="Sørby", given="Áile")),
        ("~Sørby", PersonName(family="Sørby")),
        ("A\\T\\B\\S\\C", PersonName(family="A&B^C")),
    ],
)
def test_a_patients_name(xpn: str, expected: PersonName | None) -> None:
    pid = segment(f"PID|1||7||{xpn}")

    assert d.patient(pid, ISSUERS).name == expected


@pytest.mark.parametrize(
    ("xcn", "expected"),
    [
        ("4711^Ødegård^Bjørn^^^dr.", PersonName(family="Ødegård", given="Bjørn", prefix="dr.")),
        ("^Ødegård", PersonName(family="Ødegård")),
        ("Ødegård", PersonName(family="Ødegård")),
        ("4711", None),
        ("4711~4712^Ås", PersonName(family="Ås")),
        ('""', None),
        ("", None),
    ],
)
def test_a_member_of_staff(xcn: str, expected: PersonName | None) -> None:
    assert d.person(segment(f"PV1|1|I|||||{xcn}"), 7) == expected


@pytest.mark.parametrize(
    ("ce", "expected"),
    [
        ("SPC0AK^CT thorax^NCRP", ("SPC0AK", "CT thorax", "NCRP")),
        ("^CT thorax", ("", "CT thorax", "")),
        ("^^NCRP^A1^Alternativ^L", ("A1", "Alternativ", "L")),
        ('""^Tekst^""', ("", "Tekst", "")),
        ('""', None),
        ("^^NCRP", None),
        ("", None),
    ],
)
def test_codes(ce: str, expected: tuple[str, str, str] | None) -> None:
    found = d.code(segment(f"OBR|1|||{ce}"), 4)

    assert (found and (found.code, found.text, found.system)) == expected


# --- dates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260309", ("20260309", "")),
        ("2026030907", ("20260309", "0700")),
        ("202603090715", ("20260309", "0715")),
        ("20260309071530", ("20260309", "071530")),
        ("20260309071530.1234+0100", ("20260309", "071530")),
        ("20260309-0500", ("20260309", "")),
        (" 20260309 ", ("20260309", "")),
        ("2026-03-09 07:15:30.1", ("20260309", "071530")),
        ("2026-03-09T07:15", ("20260309", "0715")),
        ("2026-03-09", ("20260309", "")),
        ("20240229", ("20240229", "")),
        ("20000229", ("20000229", "")),
        ("20260229", None),
        ("19000229", None),
        ("20261301", None),
        ("20260309240000", None),
        ("20260309006100", None),
        ("2026", None),
        ("202603", None),
        ("202603090", None),
        ("٢٠٢٦٠٣٠٩", None),
        ("i morgen", None),
        ("", None),
    ],
)
def test_a_time(text: str, expected: tuple[str, str] | None) -> None:
    assert d.date_and_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20190718", "20190718"),
        ("201907", "201907"),
        ("2019", "2019"),
        ("20190718120000", "20190718"),
        ("19731230000000-0500", "19731230"),
        ("2019-07-18", "20190718"),
        ('""', ""),
        ("", None),
    ],
)
def test_a_birth_date(text: str, expected: str | None) -> None:
    assert d.birth_date(segment(f"PID|1||7||||{text}")) == expected


@pytest.mark.parametrize(
    "text", ["20190231", "201913", "19", "2019071", "11111", "180719", "²0190718", "ukjent"]
)
def test_what_is_no_birth_date_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(UnmappableError) as raised:
        d.birth_date(segment(f"PID|1||7||||{text}"))

    assert (str(raised.value), str(raised.value.location)) == ("PID-7 is no date", "PID-7")


@given(st.text(max_size=24))
def test_any_text_is_a_date_that_dicom_takes_or_none(text: str) -> None:
    found = d.date_and_time(text)

    if found is not None:
        assert re.fullmatch(r"[0-9]{8}", found[0])
        assert re.fullmatch(r"([0-9]{4}([0-9]{2})?)?", found[1])


def test_when_it_happened() -> None:
    assert d.event_time(message("EVN||20260301||||20260302")) == "20260302"
    assert d.event_time(message('EVN||20260301||||""')) == "20260301"
    assert d.event_time(message("EVN|A08")) == "20260309"
    assert d.event_time(message()) == "20260309"


# --- patient and encounter ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sex", "expected"),
    [
        ("M", "M"),
        ("f", "F"),
        ("O", "O"),
        ("A", "O"),
        ("N", "O"),
        ("U", ""),
        ("X", ""),
        ('""', ""),
        ("", None),
        ("F^Kvinne", "F"),
    ],
)
def test_sex(sex: str, expected: str | None) -> None:
    assert d.patient(segment(f"PID|1||7|||||{sex}"), ISSUERS).sex == expected


def test_what_was_not_said_is_none_and_what_was_cleared_is_empty() -> None:
    nothing = d.patient(segment("PID|1||7"), ISSUERS)
    cleared = d.patient(segment('PID|1||7||""||""|""'), ISSUERS)

    assert (nothing.name, nothing.birth_date, nothing.sex) == (None, None, None)
    assert (cleared.name, cleared.birth_date, cleared.sex) == (PersonName(), "", "")


def test_pid_2_stands_in_only_where_pid_3_holds_nothing() -> None:
    assert d.patient(segment("PID|1|2|"), ISSUERS).identifiers[0].value == "2"
    assert d.patient(segment("PID|1|2|3"), ISSUERS).identifiers[0].value == "3"


def test_a_patient_that_nobody_can_tell_is_refused() -> None:
    with pytest.raises(UnmappableError, match="PID-3 holds no identifier"):
        d.patient(segment("PID|1||^^^STO"), ISSUERS)
    with pytest.raises(UnmappableError, match="no PID segment"):
        d.patient(None, ISSUERS)


def test_only_one_patient() -> None:
    assert d.only_pid(message("EVN")) is None
    assert d.only_pid(message("PID|1||7")) is not None
    with pytest.raises(UnmappableError, match="more than one PID"):
        d.only_pid(message("PID|1||7", "PID|2||8"))


def test_an_encounter() -> None:
    visit = "V1^^^STO^VN"
    pv1 = segment(
        f"PV1|1|I|KIR1^12^2^STO||||4711^Ødegård|^Ås{'|' * 11}{visit}{'|' * 25}20260309074000|20260310"
    )

    found = d.encounter(pv1, None, ISSUERS)

    assert found is not None
    assert found.visit_number == STO.model_copy(update={"value": "V1", "type_code": "VN"})
    assert (found.patient_class, found.location, found.facility) == ("I", "KIR1^12^2", "STO")
    assert (found.attending, found.referring) == (PersonName(family="Ødegård"), PersonName(family="Ås"))
    assert (found.admitted, found.discharged) == ("20260309074000", "20260310")


def test_an_encounter_that_says_little() -> None:
    assert d.encounter(None, segment("PID|1||7"), ISSUERS) is None
    bare = d.encounter(segment("PV1|1|I"), segment(f"PID|1||7{'|' * 15}K77"), ISSUERS)
    cleared = d.encounter(segment('PV1|1|""|""'), None, ISSUERS)
    placeless = d.encounter(segment("PV1|1||^^^STO"), None, ISSUERS)

    assert bare is not None
    assert bare.visit_number is not None
    assert (bare.visit_number.value, bare.location, bare.facility, bare.admitted) == ("K77", None, None, None)
    assert cleared is not None
    assert (cleared.patient_class, cleared.location, cleared.facility) == ("", "", "")
    assert placeless is not None
    assert (placeless.location, placeless.facility) == (None, "STO")


# --- what DICOM could not hold ---------------------------------------------------------------------


@pytest.mark.parametrize("value", ["7" * 65, "70\\E\\0123", "70\\X0D\\0123"])
def test_an_identifier_that_dicom_cannot_hold_is_refused(value: str) -> None:
    with pytest.raises(UnmappableError, match="PID-3"):
        d.patient(segment(f"PID|1||{value}^^^STO||Sørby^Áile"), ISSUERS)


def test_a_line_break_in_a_name_is_a_blank() -> None:
    found = d.patient(segment("PID|1||700123^^^STO||Sørby\\.br\\Lie^Áile\\X0D\\"), ISSUERS)

    assert found.name == PersonName(family="Sørby Lie", given="Áile")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (None, None, None, None, None)),
        ({24: "y", 25: "2", 30: "N", 31: "Y"}, (None, "Y", "2", "N", "Y")),
        ({21: '""', 24: '""', 25: '""', 30: '""', 31: '""'}, (Identifier(value=""), "", "", "", "")),
        ({24: "maybe", 25: "second", 30: "1", 31: "?"}, (None, None, None, None, None)),
    ],
)
def test_what_else_is_known_of_a_patient(fields: dict[int, str], expected: tuple[object, ...]) -> None:
    known = d.patient(segment(pid(**{str(n): text for n, text in fields.items()})), ISSUERS)

    found = (known.mother, known.multiple_birth, known.birth_order, known.deceased, known.unknown)
    assert found == expected


def test_a_mother_is_an_identifier_with_its_issuer() -> None:
    mother = d.patient(segment(pid(**{"21": "7^^^NNNOR"})), ISSUERS).mother

    assert mother is not None
    assert mother.key == (NATIONAL.oid, "7")


@pytest.mark.parametrize(
    ("last_update", "evn", "expected"),
    [
        ("20260309101500", "EVN||2026|||||", "20260309101500"),
        ("20260309101500", "EVN||2026||||20260308", "20260309101500"),
        ("", "EVN||2026||||20260308", "20260308"),
        ('""', "EVN||2026||||", None),
    ],
)
def test_since_when_it_holds(last_update: str, evn: str, expected: str | None) -> None:
    found = d.patient(segment(pid(**{"33": last_update})), ISSUERS, evn=segment(evn))

    assert found.as_of == expected


def pid(**fields: str) -> str:
    """A PID of a patient with a number and these fields."""
    parts = ["PID", "1", "", "700123", *[""] * 30]
    for number, text in fields.items():
        parts[int(number)] = text
    return "|".join(parts)
