"""What happens to one patient, in an order that makes sense: a visit, a stay, an examination, a merge. Pure.

A story is acts one after the other; each waits for the one before it. How many of each there are, and when they
begin, is `day.py`'s. Shares and times are those of an ordinary Norwegian hospital, or assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from broker.dicom import uid
from broker.simulate import messages
from broker.simulate.messages import Order
from broker.simulate.story import Act, Exam, Story

STATIONS: Final[Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]] = {
    "DX": (("DX-LAB1", ("DX1_STO",)), ("", ("DX1_STO",))),
    "CT": (("CT-LAB1", ("CT1_STO",)), ("CT-LAB2", ("CT2_STO",)), ("", ("CT1_STO", "CT2_STO"))),
    "MR": (("MR-LAB1", ("MR1_STO",)),),
    "US": (("UL-LAB1", ("US1_STO",)), ("", ("US1_STO",))),
    "MG": (("MG-LAB1", ("MG1_STO",)),),
    "OP": (("OYE-FUNDUS", ("FUNDUS1",)),),
}
"""Station codes of the shipped config/stations.csv with their AE titles; the empty code: any of the modality."""

AETS: Final = tuple(dict.fromkeys(aet for rooms in STATIONS.values() for _, aets in rooms for aet in aets))

MODALITIES: Final[Mapping[str, float]] = {
    "DX": 0.55,
    "CT": 0.18,
    "MR": 0.10,
    "US": 0.14,
    "MG": 0.02,
    "OP": 0.01,
}
"""Shares of the examinations."""

IMAGES: Final[Mapping[str, int]] = {"DX": 2, "CT": 4, "MR": 4, "US": 2, "MG": 4, "OP": 2}
"""Objects of an examination: a few, where a real one has 166."""

_PROCEDURES: Final[Mapping[str, tuple[str, str]]] = {
    "DX": ("SXR0AA", "RG thorax"),
    "CT": ("SPC0AK", "CT thorax"),
    "MR": ("SAN0AG", "MR caput"),
    "US": ("SUL0AK", "UL abdomen"),
    "MG": ("SMA0AK", "Mammografi"),
    "OP": ("CKX10", "Fundusfoto"),
}
_WARDS: Final = ("MED^12^2^STO", "MED^14^1^STO", "MEDK^3^1^STO", "MEDI^1^4^STO")


def visit(story: Story) -> None:
    """An outpatient: registered, perhaps corrected, examined, sent home."""
    dice, number = story.scene.dice, f"V{story.scene.tag}{story.number}"
    story.adt("A04", visit=number, ward="POL^ROM1^^STO")
    if dice.random() < 0.4:
        story.wait(1, 10)
        story.adt("A08", visit=number, ward="POL^ROM1^^STO")
    for _ in range(dice.random() < 0.6):
        story.wait(5, 30)
        _laboratory(story)
    if dice.random() < 0.45:
        story.wait(5, 30)
        examination(story)
    story.wait(10, 60)
    story.adt("A03", visit=number, ward="POL^ROM1^^STO")


def stay(story: Story) -> None:
    """An inpatient: announced, admitted, moved about, sampled, examined, discharged."""
    dice, number = story.scene.dice, f"V{story.scene.tag}{story.number}"
    ward = dice.choice(_WARDS)
    story.adt("A05", visit=number, ward=ward)
    story.wait(10, 60)
    story.adt("A01", visit=number, ward=ward)
    examined = False
    for _ in range(dice.randrange(2, 4)):
        story.wait(10, 40)
        story.adt("A08", visit=number, ward=ward)
        for _ in range(dice.randrange(2, 5)):
            story.wait(1, 10)
            _laboratory(story)
        if not examined:
            examined = True
            examination(story)
        story.wait(5, 40)
        before, ward = ward, dice.choice(_WARDS)
        story.adt("A02", visit=number, ward=ward)
        if dice.random() < 0.1:
            story.wait(1, 5)
            ward = before
            story.adt("A12", visit=number, ward=ward)
        story.adt("A08", visit=number, ward=ward)
    story.wait(20, 60)
    story.adt("A03", visit=number, ward=ward)
    if dice.random() < 0.1:
        story.wait(1, 10)
        story.adt("A13", visit=number, ward=ward)
        story.wait(5, 30)
        story.adt("A03", visit=number, ward=ward)


def person(story: Story) -> None:
    """The population register speaks: someone is new, moves, or takes another name."""
    story.adt("A28")
    if story.scene.dice.random() < 0.4:
        story.wait(5, 60)
        story.seen_as(story.patient.married(story.scene.people.family()))
        story.adt("A31")


def changed_number(story: Story) -> None:
    """A newborn, or somebody unknown, gets another number (A47); what is booked follows."""
    story.adt("A04", visit=f"V{story.scene.tag}{story.number}", ward="POL^MOTTAK^^STO")
    story.wait(2, 20)
    book(story)
    story.wait(5, 60)
    prior = story.patient.number
    story.seen_as(story.scene.people.new())
    story.adt("A47", prior=prior)
    story.wait(1, 10)
    story.adt("A31")


def merged(story: Story) -> None:
    """Two records of one person: the second is found to be the first, and merged into it (A40)."""
    survivor = story.scene.people.new()
    temporary, story.patient = story.patient, survivor
    story.adt("A28")
    story.patient = temporary
    story.wait(1, 10)
    story.adt("A04", visit=f"V{story.scene.tag}{story.number}", ward="POL^MOTTAK^^STO")
    story.wait(2, 20)
    book(story)
    story.wait(5, 40)
    story.merge(survivor)
    story.wait(1, 10)
    story.adt("A08", visit=f"V{story.scene.tag}{story.number}", ward="POL^MOTTAK^^STO")


def merge_during_exam(story: Story) -> None:
    """As `merged`, but at the worst moment: between two images of the examination."""
    survivor = story.scene.people.new()
    temporary, story.patient = story.patient, survivor
    story.adt("A28")
    story.patient = temporary
    story.adt("A04", visit=f"V{story.scene.tag}{story.number}", ward="POL^MOTTAK^^STO")
    order, aets = _order(story, "CT", steps=1)
    start = story.when()
    story.schedule(order, aets, start)
    story.wait(5, 20)
    _images(story, order, aets[0], 1, 1, 2, story.patient.numbers, (*temporary.numbers, *survivor.numbers))
    story.merge(survivor, fault="merge-during-exam")
    _images(story, order, aets[0], 1, 3, 4, temporary.numbers, survivor.numbers)
    story.wait(1, 5)
    _complete(story, order, start)
    _reports(story, order)


def examination(story: Story) -> None:
    """An order and what becomes of it: booked for later, cancelled, or done, stored and reported."""
    dice = story.scene.dice
    fate = dice.random()
    if fate < 0.15:
        book(story)
        if dice.random() < 0.2:
            story.wait(1, 10)
            story.seen_as(story.patient.married(story.scene.people.family()))
            story.adt("A31")
        return
    modality = dice.choices(list(MODALITIES), list(MODALITIES.values()))[0]
    order, aets = _order(story, modality, steps=2 if modality == "MR" and dice.random() < 0.2 else 1)
    start = story.when()
    story.schedule(order, aets, start)
    if dice.random() < 0.4:
        story.wait(1, 10)
        start = f"{start[:-2]}59"
        story.order(order, "XO", "SC", start)
    if fate < 0.2:
        story.wait(2, 10)
        story.tell(messages.cancel(story.stamp("O"), story.patient, order))
        story.close(order)
        return
    story.wait(5, 30)
    story.order(order, "SC", "IP", start)
    for step in range(1, order.steps + 1):
        story.wait(2, 10)
        numbers = story.patient.numbers
        _images(story, order, dice.choice(aets), step, 1, IMAGES[modality], numbers, numbers)
    story.wait(1, 5)
    _complete(story, order, start)
    _reports(story, order)


def book(story: Story) -> None:
    """An order for another day: its row stays."""
    dice = story.scene.dice
    modality = dice.choices(list(MODALITIES), list(MODALITIES.values()))[0]
    order, aets = _order(story, modality, steps=1)
    story.schedule(order, aets, story.when(days=dice.randrange(1, 14)))


def _order(story: Story, modality: str, *, steps: int) -> tuple[Order, tuple[str, ...]]:
    story.scene.orders += 1
    number = f"{story.scene.tag}{story.scene.orders:05}"
    station, aets = story.scene.dice.choice(STATIONS[modality])
    study_uid = uid.derive(f"simulate|study|{number}")
    order = Order(
        number=number,
        study_uid=study_uid,
        modality=modality,
        procedure=_PROCEDURES[modality],
        station=station,
        steps=steps,
    )
    return order, aets


def _images(
    story: Story,
    order: Order,
    aet: str,
    step: int,
    first: int,
    last: int,
    patient: tuple[str, ...],
    owners: tuple[str, ...],
) -> None:
    exam = Exam(
        aet=aet,
        accession=order.accession,
        step=order.step(step),
        study_uid=order.study_uid,
        modality=order.modality,
        patient=patient,
        owners=owners,
        first=first,
        last=last,
    )
    story.acts.append(Act(at=story.clock, part="images", story=story.number, exam=exam))


def _complete(story: Story, order: Order, start: str) -> None:
    story.order(order, "XO", "CM", start)
    story.close(order)
    story.order(order, "SC", "CM", start)


def _reports(story: Story, order: Order) -> None:
    if story.scene.dice.random() < 0.8:
        story.wait(5, 20)
        story.tell(messages.report(story.stamp("R"), story.patient, order, "P"))
    story.wait(5, 30)
    story.tell(messages.report(story.stamp("R"), story.patient, order, "F"))


def _laboratory(story: Story) -> None:
    value = f"{story.scene.dice.uniform(9, 17):.1f}"
    story.tell(messages.laboratory(story.stamp("L"), story.patient, value))
