"""Coverage: what was exercised is told, what was not as well, and the routes do what they did."""

from __future__ import annotations

from typing import Any

from broker.routing.coverage import Coverage, Report

ROUTE = """\
route: r
on: [step.*]
where: step.modality in ['CT', 'MR'] && (site == 'STO' || source == 'x')
to:
  - worklist: worklist
    set:
      ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes, [])) }
      StudyDescription: "${ step.priority == 'STAT' ? 'now' : 'later' }"
  - hl7: epj
    send: ORM^O01
    set:
      OBR-4.2: ${ skip(date(step.start_date, 'dd.mm.yyyy')) }
"""
SIMPLE = "route: s\non: [order.placed]\nwhere: source.startsWith('o')\nto: [{ hl7: epj, send: ORM^O01 }]\n"


def never(report: Report) -> list[str]:
    return [f"{point.place.rpartition(':')[2]} {point.what}" for point in report.points if not point.covered]


def test_what_was_never_exercised_is_told(load: Any, view: Any) -> None:
    routes, seen = load(ROUTE, SIMPLE), Coverage()
    watched = seen.watching(routes)
    event = view("step.scheduled", modality="CT", station_codes=("R2",), start_date="20260309")

    assert watched.route(event) == routes.route(event)
    report = seen.report(routes)

    assert never(report) == [
        "3 where: step.modality in ['CT', 'MR'] is false",
        "3 where: site == 'STO' || source == 'x' is false",
        "3 where: source == 'x' is true",
        "3 where: nothing in site == 'STO' || source == 'x' is true",
        "7 ScheduledStationAETitle: step.station_aets is there",
        "7 ScheduledStationAETitle: lookup('stations', step.station_codes, []) finds none",
        "8 StudyDescription: step.priority == 'STAT' is true",
        "12 OBR-4.2: date(step.start_date, 'dd.mm.yyyy') fails",
        "4 to hl7 epj",
        "3 where: source.startsWith('o') is true",
        "3 where: source.startsWith('o') is false",
    ]
    assert [(row.what, row.place, row.covered) for row in report.rows] == [
        ("R1", "stations.csv:2", False),
        ("R2", "stations.csv:3", True),
    ]
    assert report.percent == 100 * 8 / 19


def test_runs_add_up_until_everything_is_covered(load: Any, view: Any) -> None:
    routes, seen = load(ROUTE, SIMPLE), Coverage()
    for event in (
        view("step.scheduled", modality="US"),
        view("step.scheduled", modality="CT", station_aets=("A",), priority="STAT", start_date="x"),
        view("step.scheduled", modality="MR", station_codes=("R1",), start_date="20260309"),
        view("step.scheduled", modality="MR", station_codes=("?",)),
        view("order.placed"),
        view("order.placed", source="x"),
    ):
        seen.watching(routes).route(event)
    other = view("step.scheduled", modality="CT", source="x")
    nowhere = view("step.scheduled", modality="CT", source="y")
    for event in (other, nowhere):
        event = event.__class__(
            event=event.event.model_copy(update={"site": "NOS"}), patient=event.patient, step=event.step
        )
        seen.watching(routes).route(event)

    assert never(seen.report(routes)) == []
    assert seen.report(routes).percent == 100.0
    assert not seen.report(routes).rows[1].covered, "a row is not a part of the percentage"


def test_a_target_that_a_person_must_see_was_reached(load: Any, view: Any) -> None:
    routes, seen = load(ROUTE.replace("skip(", "park(")), Coverage()
    routed = seen.watching(routes).route(view("step.scheduled", modality="CT", start_date="x"))

    assert routed.failures
    assert "9 to hl7 epj" not in never(seen.report(routes))


def test_only_enabled_routes_count_or_the_one_that_is_named(load: Any) -> None:
    routes = load(ROUTE, SIMPLE, "enabled: false\n" + SIMPLE.replace("route: s", "route: off"))

    assert {point.route for point in Coverage().report(routes).points} == {"r", "s"}
    named = Coverage().report(routes, "s")
    assert ({point.route for point in named.points}, named.rows) == ({"s"}, ())


def test_without_anything_to_exercise_all_of_it_is(load: Any) -> None:
    assert Coverage().report(load("enabled: false\n" + SIMPLE)).percent == 100.0
