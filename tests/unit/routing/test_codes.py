"""Where routes look codes up, and being told of what they do not find."""

from __future__ import annotations

from typing import Any

from broker.routing.codes import telling_of_misses, uses

ROUTE = """\
route: r
on: [step.*]
where: lookup('stations', step.location, '') == [] || first(lookup('stations', 'R2', '')) == site
to:
  - worklist: worklist
    set:
      ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes, [])) }
      StudyDescription: ${ site }
  - hl7: epj
    send: ORM^O01
    set: { OBR-24.1: "A${ park(first(lookup('stations', step.modality))) }" }
"""


def test_every_line_that_looks_into_a_table(load: Any) -> None:
    found = uses(load(ROUTE), "stations")

    assert [(use.place.rpartition(":")[2], use.field, use.code, use.lookup) for use in found] == [
        ("3", "where", None, "lookup('stations', step.location, '')"),
        ("3", "where", "R2", "lookup('stations', 'R2', '')"),
        ("7", "ScheduledStationAETitle", None, "lookup('stations', step.station_codes, [])"),
        ("11", "OBR-24.1", None, "lookup('stations', step.modality)"),
    ]
    assert uses(load(ROUTE), "wards") == []


def test_a_line_that_names_another_code_is_left_out(load: Any) -> None:
    assert [use.code for use in uses(load(ROUTE), "stations", "R1")] == [None, None, None]
    assert [use.code for use in uses(load(ROUTE), "stations", "R2")] == [None, "R2", None, None]


def test_every_miss_is_told_whatever_is_made_of_it_and_nothing_else_changes(load: Any, view: Any) -> None:
    told: list[tuple[str, tuple[str, ...], str]] = []
    routes = load(ROUTE)
    looking = telling_of_misses(routes, lambda table, keys, place: told.append((table, keys, place)))
    event = view("step.scheduled", modality="CT", location="X", station_codes=("Y", "Z"))

    routed = looking.route(event)

    assert told == [
        ("stations", ("X",), "routes/0.yaml:3"),
        ("stations", ("Y", "Z"), "routes/0.yaml:7"),
        ("stations", ("CT",), "routes/0.yaml:11"),
    ]
    assert (len(routed.targets), len(routed.failures)) == (1, 1)
    assert looking.version == routes.version
    assert (
        looking.route(view("step.scheduled", location="R1", modality="R1")).targets
        == routes.route(view("step.scheduled", location="R1", modality="R1")).targets
    )
