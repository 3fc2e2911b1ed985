"""Codes that look-ups missed, found in the journal without anything stored for it."""

from __future__ import annotations

from broker.routing.tables import Row, Table
from broker.routing.watch import recompiled
from broker.runtime.missing import Missing, missing
from tests.unit.runtime.conftest import House

ROOM = ("MR-LAB9", "modality:XX")


def listed(house: House, since: str = "") -> list[Missing]:
    return missing(house.database.read(), house.configured.routes, since)


def unknown_room(control_id: bytes, step: bytes, room: bytes = b"MR-LAB9") -> bytes:
    """An MR in a room, whose row of last resort (`modality:MR`) OMI messages do not ask for."""
    from tests.support.shared import REPOSITORY

    raw = (REPOSITORY / "routes" / "tests" / "omi_mr_unknown_room.hl7").read_bytes()
    raw = raw.replace(b"R000303", control_id).replace(b"303", step)
    return raw.replace(b"MR-LAB9", room)


def test_a_code_that_no_row_holds_is_counted_with_its_times_and_types(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.receive("orders", unknown_room(b"R1", b"901"))
    house.receive("orders", unknown_room(b"R2", b"902"))
    house.receive("orders", unknown_room(b"R3", b"903", room=b"MR-LAB8"))
    house.route()

    two, one = listed(house)

    assert (two.table, two.codes, two.events, two.types) == (
        "stations",
        ("MR-LAB9",),
        2,
        {"step.scheduled": 2},
    )
    assert (two.first, two.last) == ("2026-03-09T08:02:00+00:00", "2026-03-09T08:03:00+00:00")
    (place,) = two.places
    assert "steps-to-worklist.yaml:" in place
    assert (one.codes, one.events) == (("MR-LAB8",), 1)


def test_only_the_period_that_was_asked_for(house: House) -> None:
    house.receive("orders", unknown_room(b"R1", b"901"))
    house.receive("orders", unknown_room(b"R2", b"902"))
    house.route()

    (found,) = listed(house, "2026-03-09T08:02")

    assert found.events == 1
    assert listed(house, "2026-03-10") == []


def test_a_code_that_was_added_since_is_missing_no_more_unless_only_for_later(house: House) -> None:
    house.receive("orders", unknown_room(b"R1", b"901"))
    house.route()
    stations = house.configured.routes.tables["stations"]

    def with_row(row: Row) -> list[Missing]:
        table = Table(name="stations", file=stations.file, rows={**stations.rows, "MR-LAB9": (row,)})
        routes = recompiled(house.configured.routes, tables={"stations": table})
        return missing(house.database.read(), routes, "")

    assert with_row(Row(values=("MR9",), line=99)) == []
    assert len(with_row(Row(values=("MR9",), line=99, start="20260401000000"))) == 1


def test_what_an_order_said_first_is_still_seen_after_it_was_corrected(house: House) -> None:
    house.receive("orders", unknown_room(b"R1", b"901"))
    house.receive("orders", unknown_room(b"R2", b"901", room=b"MR-LAB1").replace(b"ORC|NW", b"ORC|XO"))
    house.route()

    assert [found.codes for found in listed(house)] == [("MR-LAB9",)]


def test_nothing_is_written(house: House) -> None:
    house.receive("orders", unknown_room(b"R1", b"901"))
    house.route()
    before = house.deliveries()

    assert listed(house)
    assert house.deliveries() == before
    assert house.waiting() == 0
