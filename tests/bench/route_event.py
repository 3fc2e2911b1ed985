"""One event through many routes: what the 501st route costs everybody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from broker.event import Event, EventData, Identifier, Patient, PersonName, Step
from broker.hl7.er7 import Message
from broker.routing.engine import RouteSet
from broker.view import View
from tests.bench.microseconds import best, microseconds
from tests.bench.stage import Stage, say
from tests.bench.table import Table
from tests.bench.targets import within
from tests.support.messages import Person, orm
from tests.support.routes import load_folder

COUNTS = (1, 50, 500)
MATCHING = 5
"""Of how many routes the event is the business; the others look at it and decline."""

ROUTE = """route: r{number}
on: [step.*]
where: source == 'orders' && !(msg('PV1-3.1') in ['A{number}', 'B{number}']) && step.modality == '{modality}'
to:
  - hl7: epj
    send: source
    set: {{ MSH-6: UNIT{number}, OBR-18: "${{ upper(step.accession_number) }}" }}
"""

TEXT = f"""A `step.scheduled` event through routes that all listen to it and each ask three things of it, the second of
them a field of the source message; the third decides. {MATCHING} of the routes take it (all of them, in the last row)
and evaluate their `set:`; rendering is not in it. The filter by hand is the same in plain Python: one loop over as many
conditions, each reading its fields anew, and a dictionary for what matches. The best of several rounds, in one
process."""

LIMIT = "every route that listens to the event is asked in turn; the last column says what each costs"


def measure(stage: Stage) -> Table:
    """Microseconds per event with 1, 50 and 500 routes."""
    view, rows, times = _view(), [], {}
    for routes, matching in (*((n, min(n, MATCHING)) for n in COUNTS), (COUNTS[-1], COUNTS[-1])):
        loaded = _routes(stage.folder / f"routes-{routes}-{matching}", routes, matching)
        if len(loaded.route(view).targets) != matching:
            raise RuntimeError("another number of routes matched")
        seconds = best(lambda loaded=loaded: loaded.route(view))  # type: ignore[misc]
        times[routes, matching] = seconds
        filters = _by_hand(routes, matching)
        if len(_filtered(view, filters)) != matching:
            raise RuntimeError("another number of filters matched")
        floor = best(lambda filters=filters: _filtered(view, filters))  # type: ignore[misc]
        ratio = f"{seconds / floor:.2f} ×"
        say(f"  {routes} routes, {matching} matching: {microseconds(seconds)}, {ratio} of a filter by hand")
        rows.append(
            [
                *(str(routes), str(matching), microseconds(seconds), microseconds(seconds / routes)),
                *(microseconds(floor), ratio),
            ]
        )
    columns = ("routes", "of them match", "time per event", "per route", "filter by hand", "of it")
    target = within(
        f"one event through {COUNTS[-1]} routes, {MATCHING} matching",
        times[COUNTS[-1], MATCHING],
        0.0003,
        LIMIT,
    )
    return Table(
        title="One event through many routes", text=TEXT, columns=columns, rows=rows, targets=[target]
    )


def _routes(folder: Path, count: int, matching: int) -> RouteSet:
    folder.mkdir()
    for number in range(count):
        modality = "CT" if number < matching else "MR"
        text = ROUTE.format(number=number, modality=modality)
        (folder / f"r{number:03d}.yaml").write_text(text, encoding="utf-8")
    return load_folder(folder, destinations={"epj": "hl7"})


Filter = tuple[frozenset[str], str, str]
"""The wards that it is not for, the modality that it is for, and what MSH-6 is to say."""


def _by_hand(count: int, matching: int) -> list[Filter]:
    return [(frozenset((f"A{n}", f"B{n}")), "CT" if n < matching else "MR", f"UNIT{n}") for n in range(count)]


def _filtered(view: View, filters: list[Filter]) -> list[dict[str, str]]:
    """What an engineer would write without a route language."""
    found: list[dict[str, str]] = []
    event, message, step = view.event, view.message, view.step
    if message is None or step is None:
        return found
    for wards, modality, unit in filters:
        if event.source != "orders":
            continue
        visit = message.first("PV1")
        if visit is not None and visit.get(3) in wards:
            continue
        if step.modality == modality:
            found.append({"MSH-6": unit, "OBR-18": step.accession_number.upper()})
    return found


def _view() -> View:
    message = orm("O1", Person(number="600001", family="Sørby", given="Áile"), "000001")
    patient = Patient(
        identifiers=(Identifier(value="600001", namespace="STO"),),
        name=PersonName(family="Sørby", given="Áile"),
    )
    step = Step(
        key="k", step_id="S1", study_uid="2.25.1", modality="CT", accession_number="a1", status="SCHEDULED"
    )
    event = Event(
        id="M1.1",
        type="step.scheduled",
        source="orders",
        site="STO",
        time=datetime(2026, 3, 9, 8, tzinfo=UTC),
        message_id="M1",
        data=EventData(patient=patient, step=step),
    )
    return View(
        event=event,
        message=Message.parse(message),
        patient=patient,
        patient_key="P1",
        verified=True,
        step=step,
    )
