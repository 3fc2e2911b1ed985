from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from broker.adapter import Rendered, Target
from broker.errors import StoreError, UnmappableError
from broker.registers import exceptions
from broker.routing.engine import RouteSet
from broker.view import View
from tests.support.routes import load_folder
from tests.support.shared import REPOSITORY

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import House

REGISTERS = (
    "patient",
    "patient_identifier",
    "step",
    "worklist",
    "worklist_station",
    "worklist_name",
    "instance",
    "delivery",
)


def tables(house: House) -> dict[str, list[tuple[Any, ...]]]:
    return {name: house.database.read().rows(f"SELECT * FROM {name}") for name in REGISTERS}


@pytest.fixture
def routes(tmp_path: Path) -> Callable[..., RouteSet]:
    """Routes from text; destinations as they are shipped."""

    def load(*texts: str) -> RouteSet:
        folder = tmp_path / "routes"
        folder.mkdir(exist_ok=True)
        for number, text in enumerate(texts):
            (folder / f"{number}.yaml").write_text(text)
        kinds: dict[str, Any] = {"worklist": "worklist", "epj": "hl7", "pacs": "dicom"}
        return load_folder(
            folder, destinations=kinds, tables={}, env={}, sources=["orders"], shown_as="routes"
        )

    return load


def test_an_admission_reaches_every_destination_in_one_commit(house: House) -> None:
    house.receive("pas", "adt_a04_registered.hl7")
    routed = house.route()

    assert house.made() == [("epj", "queued"), ("pacs-hl7", "queued")]
    assert [[q.destination for q in one.queued] for one in routed] == [["epj", "pacs-hl7"], []]
    assert house.waiting() == 0
    (versions,) = [{v for (v,) in house.database.read().rows("SELECT routed FROM event")}]
    assert versions == {house.configured.routes.version}
    assert len({lane for _, _, lane in house.deliveries()}) == 1, "one patient, one lane"


def test_an_order_becomes_a_row_and_a_status(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()

    (row,) = house.rows()
    assert row["AccessionNumber"] == "A2026000201"
    assert house.made() == [("epj", "queued"), ("worklist", "delivered")]
    assert house.reported() == []


def test_a_new_name_reaches_the_rows_that_are_open(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()
    house.receive("pas", "adt_a08_new_name.hl7")
    house.route()

    (row,) = house.rows()
    assert row["PatientName"] == "Sørby Čoahkkin^Áile^Lájla"


def test_a_merge_moves_rows_and_what_is_still_to_leave(house: House) -> None:
    old = b"PID|1||700999^^^STO&2.999.7001&ISO^PI||Feil^Navn||19821030|F\r"
    adt = (REPOSITORY / "routes" / "tests" / "adt_a04_registered.hl7").read_bytes()
    order = (REPOSITORY / "routes" / "tests" / "orm_ct.hl7").read_bytes()
    house.receive("pas", _with_pid(adt, old).replace(b"P000101", b"P000001"))
    house.receive("orders", _with_pid(order, old))
    house.receive("pas", "adt_a04_registered.hl7")
    house.route()
    assert len({lane for *_, lane in house.deliveries()}) == 2

    house.receive("pas", "adt_a40_merge.hl7")
    (routed,) = house.route()

    ((absorbed, survivor),) = routed.joined
    assert {lane for _, state, lane in house.deliveries() if state == "queued"} == {survivor}
    assert absorbed != survivor
    (row,) = house.rows()
    assert (row["PatientID"], row["PatientName"]) == ("30908299902", "Sørby^Áile^Lájla")


def _with_pid(message: bytes, pid: bytes) -> bytes:
    segments = message.replace(b"\n", b"\r").split(b"\r")
    return b"\r".join(pid.strip() if s.startswith(b"PID") else s for s in segments if s) + b"\r"


def test_an_event_that_fails_leaves_nothing_and_holds_nobody_up(house: House) -> None:
    def broken(view: View, target: Target) -> Rendered:
        raise ZeroDivisionError("Sørby 30908299902")

    house.with_(renderers={"pacs-hl7": broken})
    house.receive("pas", "adt_a04_registered.hl7")
    house.receive("orders", "orm_fundus.hl7")
    before = tables(house)
    with capture_logs() as logs:
        first = house.route(limit=1)

    assert tables(house) == before, "not even the EPJ's delivery, which had been made already"
    assert (first[0].queued, first[0].joined) == ([], [])
    (entry,) = exceptions.listed(house.database.read())
    assert (entry["kind"], entry["message"]) == ("event-failed", "M00001")
    assert entry["reason"] == "patient.registered: ZeroDivisionError; the log has the place"
    (line,) = logs
    assert (line["event_id"], line["log_level"]) == ("M00001.0", "error")
    assert "30908299902" not in str({k: v for k, v in line.items() if k != "exc_info"})

    house.route()
    assert house.waiting() == 0
    assert len(house.rows()) == 1
    (mark,) = house.database.read().rows("SELECT routed FROM event WHERE id='M00001.0'")
    assert mark == ("failed",)


def test_a_full_disk_is_not_the_events_fault(sqlite_house: House) -> None:
    """Marked as failed, it would never be routed."""
    house = sqlite_house
    house.receive("pas", "adt_a04_registered.hl7")

    def full(view: View, target: Target) -> Rendered:
        return Rendered(payload=b"x" * 1_000_000)

    house.with_(renderers={"epj": full})
    house.database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)
    with pytest.raises(StoreError):
        house.route()
    assert house.waiting() == 2
    assert house.reported() == []

    house.database.write(lambda tx: tx.execute("PRAGMA max_page_count=1000000")).result(10)
    house.route()
    assert house.made() == [("epj", "queued"), ("pacs-hl7", "queued")]


def test_an_output_that_cannot_be_made_is_held_and_the_others_go_on(house: House) -> None:
    def unmappable(view: View, target: Target) -> Rendered:
        raise UnmappableError(f"{target.place}: no code for it")

    house.with_(renderers={"epj": unmappable})
    house.receive("orders", "orm_ct.hl7")
    house.route()

    assert house.made() == [("epj", "held"), ("worklist", "delivered")]
    assert house.reported() == ["delivery-held"]
    assert len(house.rows()) == 1


def test_a_step_that_its_route_no_longer_takes_leaves_the_list(
    house: House, routes: Callable[..., RouteSet]
) -> None:
    only_ct = """
        route: ct
        on: [step.*]
        where: step.modality == 'CT'
        to:
          - worklist: worklist
            set: { ScheduledStationAETitle: CT1_STO }
    """
    house.with_(routes=routes(only_ct))
    order = (REPOSITORY / "routes" / "tests" / "orm_ct.hl7").read_bytes()
    house.receive("orders", order)
    house.route()
    assert len(house.rows()) == 1

    house.receive(
        "orders", order.replace(b"ORC|NW", b"ORC|XO").replace(b"|CT|", b"|MR|").replace(b"R000201", b"R9")
    )
    house.route()
    assert house.rows() == []
    assert house.database.read().rows("SELECT 1 FROM worklist") == []


def test_a_row_stays_on_the_list_of_a_route_that_follows_only_the_beginning(
    house: House, routes: Callable[..., RouteSet]
) -> None:
    once = """
        route: once
        on: [step.scheduled]
        to:
          - worklist: worklist
            set: { ScheduledStationAETitle: CT1_STO }
    """
    house.with_(routes=routes(once))
    order = (REPOSITORY / "routes" / "tests" / "orm_ct.hl7").read_bytes()
    house.receive("orders", order)
    house.receive("orders", order.replace(b"ORC|NW", b"ORC|XO").replace(b"R000201", b"R9"))
    house.route()

    assert len(house.rows()) == 1


def test_a_refused_step_is_told_to_nobody(house: House) -> None:
    order = (REPOSITORY / "routes" / "tests" / "orm_ct.hl7").read_bytes()
    done = (
        order.replace(b"ORC|NW", b"ORC|SC")
        .replace(b"F88201^RIS||SC", b"F88201^RIS||CM")
        .replace(b"R000201", b"R8")
    )
    house.receive("orders", order)
    house.receive("orders", done)
    house.route()
    made = house.made()
    house.receive("orders", "orm_ct_cancelled.hl7")
    house.route()

    assert [d for d in house.made()[len(made) :] if d[0] == "worklist"] == []
    assert house.reported() == ["step-refused"]


def test_what_was_routed_is_not_routed_again(house: House) -> None:
    house.receive("pas", "adt_a04_registered.hl7")
    house.route()

    assert house.route() == []
    assert len(house.made()) == 2


def test_views_are_shown_to_who_asks(house: House) -> None:
    from broker.runtime.pipeline import Pipeline

    seen: list[View] = []
    house.pipeline = Pipeline(house.configured.routes, house.configured.renderers, on_view=seen.append)
    house.receive("pas", "adt_a04_registered.hl7")
    house.route()

    assert [view.event.type for view in seen] == ["patient.registered", "encounter.started"]
