"""The words of a drill: what is done in turn, what is looked at on the way, and what must be true in the end. Pure.

A drill is written down before it is played: who is whom stands in it, and nothing of it is read from the broker.
Playing is `stage.py`'s, judging the end `ending.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from random import Random
from types import MappingProxyType
from typing import Final

from broker.dicom import uid
from broker.hl7.edit import Value, Verbatim, components, edit
from broker.simulate import messages
from broker.simulate.messages import Order, Said, Stamp, status_key
from broker.simulate.people import NATIONAL, SITE, People, Person
from broker.simulate.story import Exam

ELSEWHERE: Final = "ORK&2.999.7002&ISO"
"""The region's other hospital, as config/broker.yaml knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """An identifier: its value, and who issued it as `namespace&oid&ISO`."""

    value: str
    issuer: str = SITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """PAS, RIS or LAB sends a message, and is answered AA."""

    title: str
    said: Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A device sees these rows of the drill and no other: label (accession or visit number) to possible Patient IDs."""

    title: str
    aet: str
    rows: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A device takes an examination from its list, with the Patient ID that the row has now, and keeps that."""

    title: str
    exam: Exam


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The device says that it begins (N-CREATE). `epj`: what the EPJ must hear because of it."""

    title: str
    exam: Exam
    epj: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The device stores images, numbered as the examination says; PACS must get them under one of its owners."""

    title: str
    exam: Exam


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The device says that it is done (N-SET)."""

    title: str
    exam: Exam
    epj: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who has this number? PDQ answers with one patient, who has these current numbers."""

    title: str
    number: Number
    current: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Two people undo the merge that ended the number. The plan must give back these, and call those unsure."""

    title: str
    number: Number
    returns: frozenset[str]
    unsure: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """People at the PACS do what the last plan listed for it: its studies are moved to this Patient ID."""

    title: str
    patient_id: str


Step = Tell | Look | Pick | Begin | Store | End | Ask | Split | ByHand


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One person in the end."""

    who: str
    """For people: `the first unknown`."""
    name: str
    """As PAS has it."""
    current: frozenset[str]
    """Values of the identifiers that PAS uses now."""
    numbers: tuple[Number, ...]
    """All identifiers that the person ever had; each leads to the one patient."""
    objects: tuple[str, ...]
    """SOP Instance UIDs of all images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill."""

    name: str
    tag: str
    """Stands in every control id, order and visit number of it."""
    steps: tuple[Step, ...]
    truths: tuple[Truth, ...]
    rows: Mapping[tuple[str, str], tuple[str, ...]]
    """(AE title, label) of every row that is left to the Patient IDs that it may have."""

    @property
    def stations(self) -> tuple[str, ...]:
        """Every device that has a part in it."""
        aets = [step.aet for step in self.steps if isinstance(step, Look)]
        aets += [step.exam.aet for step in self.steps if isinstance(step, Pick)]
        return tuple(dict.fromkeys((*aets, *(aet for aet, _ in self.rows))))


@dataclass(slots=True, kw_only=True)
class Script:
    """A drill as it is written down. `clock` is the hospital's; the wall's does not count."""

    tag: str
    clock: datetime
    dice: Random
    people: People = field(init=False)
    steps: list[Step] = field(default_factory=list)
    objects: dict[str, list[str]] = field(default_factory=dict)
    """By label of the examination."""
    _orders: dict[str, tuple[Order, str]] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.people = People(random=self.dice, tag=self.tag)

    def person(self, name: str, born: date, sex: str, *, number: str = "", national: bool = True) -> Person:
        """Somebody of that name (`Family^Given`); without `number` with one of the hospital's own."""
        family, _, given = name.partition("^")
        drawn = self.people.new(known=False)
        return replace(
            drawn,
            number=number or drawn.number,
            national=self.people.national(born) if national else "",
            family=family,
            given=given,
            birth_date=f"{born:%Y%m%d}",
            sex=sex,
        )

    def unknown(self, name: str, sex: str) -> Person:
        """Somebody whom nobody knows, by an H-number: no birth date, no other number."""
        guess = date(1980, 1, 1) + timedelta(days=self.dice.randrange(3650))
        person = self.person(name, guess, sex, number=self.people.temporary(guess), national=False)
        return replace(person, birth_date="")

    def wait(self, **time: int) -> None:
        """So much time passes in the hospital (`minutes=5`, `days=7`)."""
        self.clock += timedelta(**time)

    @property
    def now(self) -> str:
        return f"{self.clock:%Y%m%d%H%M%S}"

    def visit(self) -> str:
        """A visit number that no other drill has."""
        self._count += 1
        return f"V{self.tag}{self._count:02}"

    def adt(
        self,
        trigger: str,
        person: Person,
        title: str,
        *,
        visit: str = "",
        ward: str = "",
        prior: Number | None = None,
        issuer: str = SITE,
        more: Mapping[str, Value] = MappingProxyType({}),
    ) -> None:
        """PAS says something of a person. `more` are other fields of the message: `{"PID-31": "Y"}`."""
        said = messages.adt(
            trigger, self._stamp("P"), person, visit=visit, ward=ward, prior=prior.value if prior else ""
        )
        changes = dict(more)
        if issuer != SITE:
            changes["PID-3"] = identifier(Number(value=person.number, issuer=issuer))
        if prior is not None:
            changes["MRG-1"] = identifier(prior)
        self._tell(replace(said, raw=edit(said.raw, changes)), f"{trigger}: {title}")

    def order(
        self, person: Person, title: str, *, modality: str, station: str, issuer: str = SITE, days: int = 0
    ) -> Order:
        """RIS places an order for a study of its own, so many days ahead."""
        self._count += 1
        number = f"{self.tag}{self._count:02}"
        order = Order(
            number=number,
            study_uid=uid.derive(f"simulate|study|{number}"),
            modality=modality,
            procedure=("SPC0AK", "CT thorax") if modality == "CT" else ("SUL0AK", "UL abdomen"),
            station=station,
        )
        start = f"{self.clock + timedelta(days=days):%Y%m%d%H%M%S}"
        said = messages.orm(self._stamp("O"), person, order, "NW", "SC", start)
        if issuer != SITE:
            said = replace(
                said, raw=edit(said.raw, {"PID-3": identifier(Number(value=person.number, issuer=issuer))})
            )
        self._tell(said, f"ORM: {title}")
        self._orders[order.accession] = order, start
        return order

    def laboratory(self, person: Person, title: str) -> None:
        """LAB has a result."""
        self._tell(messages.laboratory(self._stamp("L"), person, "13.1"), f"ORU: {title}")

    def exam(
        self, aet: str, modality: str, patient: Person, *, order: Order | None = None, visit: str = ""
    ) -> Exam:
        """An examination that a device will find on its list, by its order or by its visit."""
        return Exam(
            aet=aet,
            accession=order.accession if order else "",
            step=order.step(1) if order else visit,
            study_uid="",
            modality=modality,
            patient=patient.numbers,
            owners=patient.numbers,
            first=1,
            last=1,
        )

    def begin(self, exam: Exam, title: str) -> None:
        """The device picks the row and begins."""
        self.steps.append(Pick(title=f"C-FIND: {exam.aet} picks {title}", exam=exam))
        self.steps.append(Begin(title="N-CREATE: it is in progress", exam=exam, epj=self._status(exam, "IP")))

    def store(self, exam: Exam, title: str, first: int, last: int, *owners: Person) -> None:
        """Images, as the row was when it was picked; at the PACS they carry a number of one of `owners`."""
        numbers = tuple(dict.fromkeys(n for person in owners for n in person.numbers)) or exam.owners
        exam = replace(exam, first=first, last=last, owners=numbers)
        self.steps.append(Store(title=f"C-STORE: {title}", exam=exam))
        self.objects.setdefault(exam.step, []).extend(map(exam.sop_instance_uid, range(first, last + 1)))

    def end(self, exam: Exam, title: str) -> None:
        """The device is done."""
        self.steps.append(End(title=f"N-SET: {title}", exam=exam, epj=self._status(exam, "CM")))

    def examine(self, exam: Exam, title: str, images: int) -> None:
        """All of it at once."""
        self.begin(exam, title)
        self.store(exam, "its images", 1, images)
        self.end(exam, "completed")

    def look(self, aet: str, title: str, rows: Mapping[str, Person]) -> None:
        """What a device sees now."""
        numbers = {label: person.numbers for label, person in rows.items()}
        self.steps.append(Look(title=f"C-FIND: {title}", aet=aet, rows=numbers))

    def ask(self, number: Number, title: str, person: Person) -> None:
        """Who has the number now."""
        self.steps.append(Ask(title=f"PDQ: {title}", number=number, current=frozenset(person.numbers)))

    def truth(self, who: str, person: Person, *exams: Exam, once: tuple[Number, ...] = ()) -> Truth:
        """What must be true of a person in the end. `once`: numbers that have ended."""
        return Truth(
            who=who,
            name=person.name,
            current=frozenset(person.numbers),
            numbers=(*numbers(person), *once),
            objects=tuple(uid for exam in exams for uid in self.objects[exam.step]),
        )

    def whole(self, name: str, truths: tuple[Truth, ...], rows: Mapping[tuple[str, str], Person]) -> Drill:
        """The drill."""
        left = {key: person.numbers for key, person in rows.items()}
        return Drill(name=name, tag=self.tag, steps=tuple(self.steps), truths=truths, rows=left)

    def _tell(self, said: Said, title: str) -> None:
        self.steps.append(Tell(title=title, said=said))
        self.wait(minutes=1)

    def _stamp(self, letter: str) -> Stamp:
        self._count += 1
        return Stamp(time=self.now, control_id=f"{self.tag}{letter}{self._count:03}")

    def _status(self, exam: Exam, status: str) -> tuple[str, ...]:
        """What the EPJ hears of a step: nothing where nobody ordered it."""
        if not exam.accession:
            return ()
        order, start = self._orders[exam.accession]
        return (status_key(order.placer, exam.step, status, start),)


def identifier(number: Number) -> Value:
    """A CX (HL7 v2.5.1 2.A.14)."""
    return components(number.value, "", "", Verbatim(number.issuer), "PI")


def numbers(person: Person) -> tuple[Number, ...]:
    """The identifiers that PAS gives of a person, in the order of PID-3."""
    national = (Number(value=person.national, issuer=NATIONAL),) if person.national else ()
    return (*national, Number(value=person.number))
