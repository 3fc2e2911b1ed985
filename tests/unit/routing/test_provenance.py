from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.hl7.er7 import Message
from broker.routing.provenance import Origin
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
            "ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes)) }",
            {"station_aets": ("MR1",), "station_codes": ("R1",)},
            [Origin("field", "step.station_aets")],
        ),
        (
            "ScheduledStationAETitle: ${ default(step.station_aets, lookup('stations', step.station_codes)) }",
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
            {"station_codes": ("R9",)},
            [Origin("field", "step.station_name")],
        ),
        (
            "ScheduledStationAETitle: ${ lookup('stations', step.station_codes) }",
            {"station_codes": ("R8", "R9")},
            [Origin("miss", "stations", "stations.csv", "R8, R9"), Origin("field", "step.station_codes")],
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


def test_a_path_of_the_message_is_named(load: Load, view: Callable[..., View]) -> None:
    routes = load(
        "route: r\non: [step.*]\nto:\n  - hl7: epj\n    send: source\n    set: {MSH-5: \"${ msg('OBR-4.2') }\"}\n"
    )
    seen = view("step.scheduled", message=Message.parse(b"MSH|^~\\&|\rOBR|1|||A^CT\r"), modality="CT")
    (target,) = routes.route(seen).targets

    assert routes.origins(seen, target) == {"MSH-5": ("routes/0.yaml:6", (Origin("message", "OBR-4.2"),))}
