"""What the routing tests share: a site, a way to write route files, and views of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.event import EVENT_TYPES, Event, EventData, Identifier, Order, Patient, PersonName, Step
from broker.hl7.er7 import Message
from broker.routing.engine import RouteSet
from broker.routing.surroundings import Source, Surroundings
from broker.routing.tables import Row, Table
from broker.view import View
from tests.support.routes import load_folder

TABLES = {
    "stations": Table(
        name="stations",
        file="stations.csv",
        rows={"R1": (Row(values=("CT1_STO", "CT2_STO"), line=2),), "R2": (Row(values=("MR1_STO",), line=3),)},
        digest="1",
    )
}
DESTINATIONS: dict[str, Any] = {"worklist": "worklist", "epj": "hl7", "pacs-hl7": "hl7", "pacs": "dicom"}

AROUND = Surroundings(
    sources={
        "pas": Source(site="STO", makes={"ADT^A01": ("patient.registered", "encounter.started")}),
        "orders": Source(
            site="STO",
            makes={
                "ORM^O01": ("order.placed", *(event for event in EVENT_TYPES if event.startswith("step.")))
            },
        ),
        "images": Source(site="SVG", makes={"C-STORE": ("instance.received",)}),
    },
    charsets={"worklist": {"ISO_IR 6": "ascii", "ISO_IR 100": "latin_1"}},
)
"""What stands around the routes of these tests."""

Load = Callable[..., RouteSet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes texts as routes/0.yaml, routes/1.yaml … and `shared` as routes/_shared/NAME.yaml, and loads them."""

    def write_and_load(
        *texts: str, env: dict[str, str] | None = None, shared: Mapping[str, str] = {}, **options: Any
    ) -> RouteSet:
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
        for name, text in shared.items():
            (tmp_path / "_shared").mkdir(exist_ok=True)
            (tmp_path / "_shared" / f"{name}.yaml").write_text(text, encoding="utf-8")
        options = {
            "destinations": DESTINATIONS,
            "tables": TABLES,
            "sources": list(AROUND.sources),
            **options,
        }
        return load_folder(tmp_path, env=env, shown_as="routes", **options)

    return write_and_load


@pytest.fixture
def view() -> Callable[..., View]:
    """A view of an event of the type, with a patient and, when fields are given, a step."""

    def make(event_type: str, *, message: Message | None = None, source: str = "orders", **step: Any) -> View:
        found = Step(key="k", step_id="S1", study_uid="2.25.1", **step) if step else None
        patient = Patient(
            identifiers=(Identifier(value="30908299902", oid="2.16.578.1.12.4.1.4.1", oid_type="ISO"),),
            name=PersonName(family="Sørby", given="Áile", middle="Lájla"),
        )
        order = Order(filler_number=Identifier(value="F^1"))
        event = Event(
            id="e1",
            type=event_type,  # type: ignore[arg-type]
            source=source,
            site="STO",
            time=datetime(2026, 3, 9, 12, tzinfo=UTC),
            message_id="m1",
            data=EventData(patient=patient, order=order, step=found),
        )
        return View(event=event, message=message, patient=patient, order=order, step=found)

    return make
