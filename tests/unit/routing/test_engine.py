"""Routes at work: which targets an event gets, what they carry, why others do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from broker.hl7.edit import Verbatim
from broker.hl7.er7 import Message
from broker.routing.engine import REFRESH
from broker.routing.tables import Row, Table

WORKLIST = """\
route: worklist
on: [step.*]
where: site == 'STO' && step.modality != ''
to:
  - worklist: worklist
    set:
      ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes, [])) }
      PatientName: ${ pn(patient.name) }
      AccessionNumber: A-${ step.step_id }
"""

STATUS = """\
route: status
on: [step.scheduled, step.cancelled]
to:
  - hl7: epj
    send: ORM^O01
    set:
      ORC-1: SC
      ORC-3: ${ msg('ORC-3') }
      ORC-10: ${ order.filler_number }
      OBR-24.1: ${ park(first(lookup('stations', step.station_codes))) }
"""

ADT = """\
route: adt
on: [patient.*]
to:
  - { hl7: epj, send: source, purpose: contact }
  - { hl7: pacs-hl7, send: source }
on_failure: { retry: { first: 250ms, max: 1m }, park_after: 2h, refusals: 1, max_age: 90m, alert: desk }
"""

ORDER = Message.parse(b"MSH|^~\\&|RIS|STO|||20260309||ORM^O01|1|T|2.5.1\rORC|NW|P1^EPJ|F1^RIS\r")


def test_a_step_goes_to_its_stations(load: Any, view: Any) -> None:
    (target,) = load(WORKLIST).route(view("step.scheduled", modality="CT", station_codes=("X", "R1"))).targets

    assert (target.route, target.place, target.kind, target.destination) == (
        "worklist",
        "routes/0.yaml:5",
        "worklist",
        "worklist",
    )
    assert target.set == {
        "ScheduledStationAETitle": ("CT1_STO", "CT2_STO"),
        "PatientName": "Sørby^Áile^Lájla",
        "AccessionNumber": "A-S1",
    }


def test_an_unknown_station_is_nothing_on_a_worklist(load: Any, view: Any) -> None:
    routed = load(WORKLIST).route(view("step.scheduled", modality="CT", station_codes=("X",)))

    assert routed.targets[0].set["ScheduledStationAETitle"] == ()
    assert routed.failures == ()


def test_an_unknown_code_fails_its_target_alone(load: Any, view: Any) -> None:
    routes = load(WORKLIST, STATUS)
    routed = routes.route(view("step.scheduled", modality="CT", station_codes=("X",), message=ORDER))

    assert [target.route for target in routed.targets] == ["worklist"]
    (failure,) = routed.failures
    assert failure.target.set["ORC-3"] == "F1^RIS"
    assert str(failure.error) == "routes/1.yaml:10: OBR-24.1: table 'stations' has no row for this code"


def test_a_skipped_line_leaves_the_standard_mapping(load: Any, view: Any) -> None:
    routes = load(STATUS.replace("park(", "skip("))
    routed = routes.route(view("step.scheduled", modality="CT", station_codes=("X",), message=ORDER))

    assert set(routed.targets[0].set) == {"ORC-1", "ORC-3", "ORC-10"}
    assert routed.failures == ()


def test_the_row_that_held_when_the_event_came_is_taken(load: Any, view: Any) -> None:
    noon = "20260309120000"
    stations = Table(
        name="stations",
        file="stations.csv",
        rows={"R1": (Row(values=("OLD",), line=2, end=noon), Row(values=("NEW",), line=3, start=noon))},
    )
    routes = load(WORKLIST, tables={"stations": stations})
    event = view("step.scheduled", modality="CT", station_codes=("R1",))
    early = replace(
        event, event=event.event.model_copy(update={"time": datetime(2026, 3, 9, 11, 59, tzinfo=UTC)})
    )

    assert routes.route(event).targets[0].set["ScheduledStationAETitle"] == ("NEW",)
    assert routes.route(early).targets[0].set["ScheduledStationAETitle"] == ("OLD",)


def test_hl7_fields_are_er7_components_are_text(load: Any, view: Any) -> None:
    (target,) = load(STATUS).route(view("step.scheduled", station_codes=("R2",), message=ORDER)).targets

    assert target.set == {
        "ORC-1": "SC",
        "ORC-3": "F1^RIS",
        "ORC-10": "F\\S\\1",
        "OBR-24.1": "MR1_STO",
    }
    assert isinstance(target.set["ORC-3"], Verbatim)
    assert not isinstance(target.set["OBR-24.1"], Verbatim)


def test_every_target_of_a_route(load: Any, view: Any) -> None:
    routes = load(ADT)

    targets = routes.route(view("patient.merged")).targets
    assert [(t.destination, t.send, t.purpose, t.index) for t in targets] == [
        ("epj", "source", "contact", 0),
        ("pacs-hl7", "source", "care", 1),
    ]
    assert {t.version for t in targets} == {routes.version}
    assert routes["adt"].on_failure.retry.first == 0.25
    wanted = routes["adt"].on_failure
    assert (wanted.park_after, wanted.refusals, wanted.max_age, wanted.alert) == (7200.0, 1, 5400.0, "desk")
    assert routes.route(view("encounter.started")).targets == ()


def test_a_disabled_route_takes_nothing(load: Any, view: Any) -> None:
    assert load(ADT + "enabled: false\n").route(view("patient.merged")).targets == ()


def test_a_step_whose_patient_changed_is_seen_as_changed(load: Any, view: Any) -> None:
    only_changed = WORKLIST.replace("step.*", REFRESH).replace("route: worklist", "route: changed")
    by_type = "route: typed\non: [step.*]\nwhere: type == 'step.changed'\nto: [{ worklist: worklist }]\n"
    routes = load(WORKLIST, STATUS.replace("step.cancelled", REFRESH), only_changed, by_type)
    targets = routes.worklist_targets(view("step.scheduled", modality="CT", station_codes=("R1",)))

    assert [target.route for target in targets] == ["worklist", "changed", "typed"]


def test_every_route_says_why(load: Any, view: Any) -> None:
    routes = load(WORKLIST, STATUS, ADT, ADT.replace("route: adt", "route: off\nenabled: false"))
    verdicts = routes.explain(view("step.scheduled", station_codes=("R1",), message=ORDER))

    assert [(v.route, v.place, v.matched, v.reason) for v in verdicts] == [
        ("worklist", "routes/0.yaml:3", False, "where: not true is step.modality != ''"),
        ("status", "routes/1.yaml:1", True, "on: step.scheduled"),
        ("adt", "routes/2.yaml:1", False, "on: step.scheduled is not among its events"),
        ("off", "routes/3.yaml:1", False, "the route is not enabled"),
    ]
    assert routes.explain(view("step.started", modality="CT"))[0].reason == "on: step.started, where: true"


def test_the_same_event_gives_the_same_targets(load: Any, view: Any) -> None:
    routes = load(WORKLIST, STATUS)
    event = view("step.scheduled", modality="CT", station_codes=("R1",), message=ORDER)

    assert routes.route(event).targets == routes.route(event).targets
