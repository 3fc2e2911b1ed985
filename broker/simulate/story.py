"""One patient's story as it is written down: acts one after the other, and the worklist rows they come to. Pure.

What stories there are is `stories.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from broker.dicom import uid
from broker.simulate import messages
from broker.simulate.messages import Order, Said, Stamp
from broker.simulate.people import People, Person

Part = Literal["pas", "orders", "results", "images", "polls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """A modality's part in an examination: it finds the row and stores images, those numbered `first` to `last`."""

    aet: str
    accession: str
    step: str
    study_uid: str
    modality: str
    patient: tuple[str, ...]
    """Any of these is the Patient ID of the row."""
    owners: tuple[str, ...]
    """Any of these is the Patient ID with which the images must reach the PACS."""
    first: int
    last: int

    def sop_instance_uid(self, number: int) -> str:
        """Of the image with this number."""
        return uid.derive(f"simulate|{self.accession}|{self.step}|{number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that one system does. `at`: seconds from the beginning, in the hospital's time."""

    at: float
    part: Part
    story: int
    said: tuple[Said, ...] = ()
    """In this order, each after the acknowledgement of the one before."""
    exam: Exam | None = None
    aet: str = ""
    """Of a poll."""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a modality must see of a step, or, where it is not `open`, must not see, once all is done."""

    accession: str
    step: str
    aets: tuple[str, ...]
    patient: tuple[str, ...]
    name: str
    open: bool


@dataclass(slots=True)
class Scene:
    """What all stories of a day share."""

    tag: str
    date: datetime
    """Midnight before the beginning."""
    people: People
    dice: Random
    messages: int = 0
    orders: int = 0


@dataclass(slots=True)
class Story:
    """One patient's acts as they are written down. `clock`: seconds after midnight; `pace` shortens the pauses."""

    scene: Scene
    number: int
    began: float
    pace: float
    patient: Person
    clock: float = 0.0
    acts: list[Act] = field(default_factory=list)
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    def wait(self, least: float, most: float) -> None:
        """Some minutes pass."""
        self.clock += 60 * self.scene.dice.uniform(least, most) * self.pace

    def tell(self, said: Said) -> None:
        """A system sends a message."""
        self.acts.append(Act(at=self.clock, part=said.flow, story=self.number, said=(said,)))

    def adt(self, trigger: str, *, visit: str = "", ward: str = "", prior: str = "") -> None:
        """PAS says something of the patient."""
        self.tell(messages.adt(trigger, self.stamp("P"), self.patient, visit=visit, ward=ward, prior=prior))

    def stamp(self, letter: str) -> Stamp:
        """The moment, and a control id that no other message of any run has."""
        self.scene.messages += 1
        control_id = f"{self.scene.tag}{letter}{self.scene.messages:06}"
        return Stamp(time=self.when(), control_id=control_id)

    def when(self, days: int = 0) -> str:
        """The moment as a TS, so many days later."""
        moment = self.scene.date + timedelta(seconds=self.began + self.clock, days=days)
        return f"{moment:%Y%m%d%H%M%S}"

    def seen_as(self, patient: Person) -> None:
        """The story's open rows show this patient from now on."""
        self.patient = patient
        for key, row in self.rows.items():
            self.rows[key] = replace(row, patient=patient.numbers, name=patient.name)

    def order(self, order: Order, control: str, status: str, start: str) -> None:
        """RIS says something of an order: in an OMI where IPC is needed, else in an ORM."""
        write = messages.omi if order.modality in ("MR", "MG") else messages.orm
        self.tell(write(self.stamp("O"), self.patient, order, control, status, start))

    def schedule(self, order: Order, aets: tuple[str, ...], start: str) -> None:
        """RIS places an order; each step of it has a row from now on."""
        self.order(order, "NW", "SC", start)
        for step in map(order.step, range(1, order.steps + 1)):
            self.rows[order.accession, step] = Row(
                accession=order.accession,
                step=step,
                aets=aets,
                patient=self.patient.numbers,
                name=self.patient.name,
                open=True,
            )

    def close(self, order: Order) -> None:
        """The order's rows are gone from now on."""
        for step in map(order.step, range(1, order.steps + 1)):
            self.rows[order.accession, step] = replace(self.rows[order.accession, step], open=False)

    def merge(self, survivor: Person, *, fault: str = "") -> None:
        """PAS merges the patient into the survivor (A40)."""
        prior = self.patient.number
        self.seen_as(survivor)
        self.adt("A40", prior=prior)
        self.acts[-1] = replace(self.acts[-1], fault=fault)
