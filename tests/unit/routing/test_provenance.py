from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.hl7.er7 import Message
from broker.routing.provenance import Origin
from broker.routing.tables import Row, Table
from broker.view import View
from tests.unit.routing.conftest import Load

ROUTE = """
route: r
on: [step.scheduled]
to:
  - worklist: worklist
    set:
      {line}
"""
TEXT = Origin("text", "")


@pytest.mark.parametrize(
    ("line", "step", "expected"),
    [
        ("Modality: CT", {}, [TEXT]),
        ("Modality: ${ step.modality }", {}, [Origin("field", "step.modality")]),
        ("PatientComments: 'room ${ step.location }'", {}, [TEXT, Origin("field", "step.location")]),
        ("PatientComments: [a, '${ step.location }']", {}, [TEXT, Origin("field", "step.location")]),
        (
            "ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes, [])) }",
            {"station_aets": ("MR1",), "station_codes": ("R1",)},
            [Origin("field", "step.station_aets")],
        ),
        (
            "ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes, [])) }",
            {"station_codes": ("R9", "R2")},
            [Origin("table", "stations", "stations.csv:3", "R2"), Origin("field", "step.station_codes")],
        ),
        (
            "ScheduledStationAETitle: ${ default(lookup('stations', step.station_codes), ['X1']) }",
            {"station_codes": ("R9",)},
            [TEXT],
        ),
        (
            "ScheduledStationAETitle: ${ lookup('stations', step.station_codes, step.station_name) }",
            {"station_codes": ("R9",), "station_name": "X1"},
            [Origin("field", "step.station_name")],
        ),
        (
            "ScheduledStationAETitle: ${ lookup('stations', step.station_codes, []) }",
            {"station_codes": ("R8", "R9")},
            [Origin("miss", "stations", "stations.csv", "R8, R9"), Origin("field", "step.station_codes")],
        ),
        (
            "PatientComments: \"${ skip(date(step.start_date, 'dd.mm.yyyy')) }\"",
            {"start_date": "20260309"},
            [Origin("field", "step.start_date")],
        ),
        (
            "PatientComments: ${ cut(step.description, 16) }",
            {"description": "CT thorax"},
            [Origin("field", "step.description")],
        ),
        (
            "Modality: \"${ step.location == 'A' ? step.modality : upper(step.description) }\"",
            {"location": "B"},
            [Origin("field", "step.description")],
        ),
        (
            "Modality: \"${ step.location == 'A' ? step.modality : upper(step.description) }\"",
            {"location": "A"},
            [Origin("field", "step.modality")],
        ),
        (
            "PatientComments: \"${ size(step.location) > 0 && !patient.verified ? step.location + 'x' : 'y' }\"",
            {"location": "A"},
            [Origin("field", "step.location"), TEXT],
        ),
    ],
)
def test_the_branch_that_was_taken_is_followed(
    load: Load, view: Callable[..., View], line: str, step: dict[str, object], expected: list[Origin]
) -> None:
    routes = load(ROUTE.format(line=line))
    seen = view("step.scheduled", **{"modality": "CT", **step})
    (target,) = routes.route(seen).targets

    ((place, found),) = routes.origins(seen, target).values()

    assert place == "routes/0.yaml:7"
    assert list(found) == expected


def test_the_row_that_held_then_is_named(load: Load, view: Callable[..., View]) -> None:
    rows = (
        Row(values=("US1",), line=4, end="20260301000000"),
        Row(values=("US2",), line=5, start="20260301000000"),
    )
    table = Table(name="stations", file="stations.csv", rows={"R3": rows})
    line = "ScheduledStationAETitle: ${ lookup('stations', step.station_codes, []) }"
    routes = load(ROUTE.format(line=line), tables={"stations": table})
    seen = view("step.scheduled", station_codes=("R3",))
    (target,) = routes.route(seen).targets

    ((_, (row, _field)),) = routes.origins(seen, target).values()

    assert row == Origin("table", "stations", "stations.csv:5", "R3")


def test_a_line_that_was_left_out_set_nothing(load: Load, view: Callable[..., View]) -> None:
    routes = load(ROUTE.format(line="PatientComments: \"${ skip(date(step.start_date, 'DA')) }\""))
    seen = view("step.scheduled", modality="CT", start_date="no date")
    (target,) = routes.route(seen).targets

    assert routes.origins(seen, target) == {}


def test_a_path_of_the_message_is_named(load: Load, view: Callable[..., View]) -> None:
    routes = load(
        "route: r\non: [step.*]\nto:\n  - hl7: epj\n    send: source\n    set: {MSH-5: \"${ msg('OBR-4.2') }\"}\n"
    )
    seen = view("step.scheduled", message=Message.parse(b"MSH|^~\\&|\rOBR|1|||A^CT\r"), modality="CT")
    (target,) = routes.route(seen).targets

    assert routes.origins(seen, target) == {"MSH-5": ("routes/0.yaml:6", (Origin("message", "OBR-4.2"),))}
