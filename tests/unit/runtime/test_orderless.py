"""Order-less worklists with the shipped configuration, on both engines: what devices see, and that a rebuild agrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.registers import visits
from broker.runtime import rebuild
from tests.support.messages import SITE, Person, merge, message, orm
from tests.unit.runtime.conftest import House

ANNA = Person(number="700123", national="30908299902", family="Sørby", given="Áile")
UNKNOWN = Person(number="990001", family="Ukjent", given="Mann 3", birth_date="", sex="")


def adt(trigger: str, number: str, person: Person, place: str, visit: str = "V1", *, time: str = "") -> bytes:
    pv1 = f"PV1|1|O|{place}||||||||||||||||{visit}^^^{SITE}^VN"
    return message(f"ADT^{trigger}", number, f"EVN||{time or '20260309074500'}", person.pid(), pv1)


def siu(trigger: str, number: str, person: Person, place: str, start: str, visit: str = "V1") -> bytes:
    sch = f"SCH|P55|F55{'|' * 9}^^^{start}"
    pv1 = f"PV1|1|O|{place}||||||||||||||||{visit}^^^{SITE}^VN"
    return message(f"SIU^{trigger}", number, sch, person.pid(), pv1)


def order(number: str, person: Person, visit: str = "V1", **fields: str) -> bytes:
    """An ORM without a Study Instance UID, for the endoscopy unit."""
    raw = orm(number, person, "77", **{"modality": "ES", **fields}).replace(
        b"PV1|1|O\r", f"PV1|1|O{'|' * 17}{visit}^^^{SITE}\r".encode()
    )
    return raw[: raw.index(b"ZDS|")]


def taken(house: House, *raw: bytes, source: str = "pas") -> None:
    for one in raw:
        assert house.receive(source, one).answer_code == "AA"
    house.route()


def stations(house: House) -> dict[str, str]:
    """AE title to the visit that is shown there."""
    return {_station(row): row["AdmissionID"] for row in house.rows()}


def _step(row: Mapping[str, Any]) -> Any:
    return row["ScheduledProcedureStepSequence"][0]


def _station(row: Mapping[str, Any]) -> str:
    (title,) = _step(row)["ScheduledStationAETitle"]
    return str(title)


def agrees(house: House) -> None:
    """The log gives the same registers once more (invariant 8)."""
    configured, live = house.configured, house.database.read()
    with rebuild.rebuilt(live, house.database.beside("baseline"), configured, lambda _done: None) as again:
        assert rebuild.compare(live, again, configured.routes.version) == []


def test_an_emergency_is_on_the_devices_at_once_and_gone_at_the_end(house: House) -> None:
    taken(house, adt("A04", "1", UNKNOWN, "AKUTT^TRAUME1"))

    rows = {_step(row)["Modality"]: row for row in house.rows()}
    assert sorted(rows) == ["CT", "DX"]
    assert rows["CT"]["StudyInstanceUID"] != rows["DX"]["StudyInstanceUID"]
    row = rows["CT"]
    assert (row["PatientID"], row["PatientName"], row["AccessionNumber"]) == ("990001", "Ukjent^Mann 3", "")
    assert (row["AdmissionID"], row["CurrentPatientLocation"]) == ("V1", "AKUTT^TRAUME1")
    assert row["IssuerOfAdmissionIDSequence"][0]["LocalNamespaceEntityID"] == "STO"
    assert (_step(row)["ScheduledProcedureStepStartDate"], _step(row)["ScheduledProcedureStepStartTime"]) == (
        "20260309",
        "074500",
    )
    taken(house, merge("A40", "2", ANNA, "990001"))
    assert {row["PatientID"] for row in house.rows()} == {"30908299902"}
    taken(house, adt("A03", "3", ANNA, "AKUTT^TRAUME1", time="20260309120000"))
    assert house.rows() == []
    agrees(house)


def test_an_ordinary_visit_makes_no_row(house: House) -> None:
    taken(house, adt("A04", "1", ANNA, "OYE^ROM2"))

    assert house.rows() == []
    assert {destination for destination, _ in house.made()} == {"epj", "pacs-hl7"}


def test_a_transfer_takes_the_patient_from_one_clinic_to_the_other(house: House) -> None:
    taken(house, adt("A01", "1", ANNA, "FOTO^ROM1"))
    assert stations(house) == {"FOTO1": "V1"}
    taken(house, adt("A02", "2", ANNA, "SKOPI^LAB1", time="20260309090000"))
    assert stations(house) == {"ES1_STO": "V1"}
    taken(house, adt("A12", "3", ANNA, "FOTO^ROM1", time="20260309093000"))
    assert stations(house) == {"FOTO1": "V1"}
    taken(house, adt("A11", "4", ANNA, "FOTO^ROM1"))
    assert stations(house) == {}
    agrees(house)


def test_new_demographics_are_on_the_row(house: House) -> None:
    taken(house, adt("A04", "1", ANNA, "FOTO"), adt("A08", "2", ANNA.named("Ny"), "FOTO"))

    (row,) = house.rows()
    assert row["PatientName"] == "Ny^Áile"


def test_an_order_takes_over_and_keeps_the_study(house: House) -> None:
    taken(house, adt("A04", "1", ANNA, "SKOPI"))
    (visit,) = house.rows()
    taken(house, order("2", ANNA), source="orders")

    (row,) = house.rows()
    assert (row["AccessionNumber"], row["StudyInstanceUID"]) == ("A77", visit["StudyInstanceUID"])
    assert _station(row) == "ES1_STO"
    taken(
        house, order("3", ANNA).replace(b"ORC|NW", b"ORC|CA").replace(b"||SC||", b"||CA||"), source="orders"
    )
    assert [row["AccessionNumber"] for row in house.rows()] == [""], "the visit is shown again"
    taken(house, adt("A03", "4", ANNA, "SKOPI", time="20260309100000"))
    assert house.rows() == []
    agrees(house)


def test_an_order_that_no_device_is_shown_leaves_the_visit_on_the_list(house: House) -> None:
    taken(house, adt("A04", "1", ANNA, "SKOPI"))
    (visit,) = house.rows()
    taken(house, order("2", ANNA, start=""), source="orders")

    assert house.reported() == ["step-held"]
    assert [row["AccessionNumber"] for row in house.rows()] == [""], "the order's row is held"
    agrees(house)
    taken(house, order("3", ANNA), source="orders")
    (row,) = house.rows()
    assert (row["AccessionNumber"], row["StudyInstanceUID"]) == ("A77", visit["StudyInstanceUID"])
    assert house.reported() == []
    agrees(house)


def test_a_visit_that_comes_after_its_held_order_is_shown(house: House) -> None:
    taken(house, order("1", ANNA, start=""), source="orders")
    taken(house, adt("A04", "2", ANNA, "SKOPI"))

    assert stations(house) == {"ES1_STO": "V1"}
    taken(house, order("3", ANNA), source="orders")
    assert [row["AccessionNumber"] for row in house.rows()] == ["A77"]
    agrees(house)


def test_an_appointment_is_shown_at_its_time_and_continued_by_the_visit(house: House) -> None:
    taken(house, siu("S12", "1", ANNA, "FOTO", "20260310103000"))
    (booked,) = house.rows()
    assert _step(booked)["ScheduledProcedureStepStartDate"] == "20260310"
    taken(house, siu("S13", "2", ANNA, "FOTO", "20260309110000"))
    (moved,) = house.rows()
    assert _step(moved)["ScheduledProcedureStepStartDate"] == "20260309"
    taken(house, adt("A04", "3", ANNA, "FOTO", time="20260309105500"))

    (row,) = house.rows()
    assert row["StudyInstanceUID"] == booked["StudyInstanceUID"], "one visit, one device, one study"
    taken(house, adt("A03", "4", ANNA, "FOTO", time="20260309113000"))
    assert house.rows() == []
    agrees(house)


@pytest.mark.parametrize("trigger", ["S15", "S26"])
def test_an_appointment_that_falls_through_is_withdrawn(house: House, trigger: str) -> None:
    taken(house, siu("S12", "1", ANNA, "FOTO", "20260310103000"))
    taken(house, siu(trigger, "2", ANNA, "FOTO", "20260310103000"))

    assert house.rows() == []


def test_no_time_is_invented(house: House) -> None:
    taken(house, adt("A05", "1", ANNA, "FOTO"))

    assert house.rows() == []
    assert house.reported() == ["step-held"]


def test_a_visit_that_goes_to_another_patient_takes_its_row_along(house: House) -> None:
    other = Person(number="700456", family="Nordgård", given="Ånung")
    taken(house, adt("A04", "1", ANNA, "FOTO"))
    mrg = f"MRG|{ANNA.number}^^^{SITE}||||V1^^^{SITE}"
    pv1 = f"PV1|1|O|FOTO||||||||||||||||V1^^^{SITE}"
    taken(house, message("ADT^A45^ADT_A45", "2", "EVN||20260309080000", other.pid(), mrg, pv1))

    assert [row["PatientID"] for row in house.rows()] == ["700456"]
    agrees(house)


def test_beds_are_known_on_both_engines(house: House) -> None:
    taken(house, adt("A01", "1", ANNA, "KIR1^12^2^STO"))

    found = visits.in_bed(house.database.read(), "STO", "KIR1^12^2")
    assert found is not None
    assert found.state.visit_number is not None
    assert found.state.visit_number.value == "V1"
