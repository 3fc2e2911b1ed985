"""The workday of a health region as a timeline: seed, scale and hours in, what happens when out. Pure.

A weekday of a region of 700,000 people with eight hospitals: 18,000 ADT, 8,900 order messages for 2,000 examinations,
3,600 reports, 6,000 laboratory results (assumed), 82,000 worklist queries; 70 % of it from 8 to 17, the busiest hour
two and a half times the mean. A window shorter than the day plays whole stories, their pauses shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Final

from broker.simulate import stories
from broker.simulate.faults import Behaviour
from broker.simulate.people import People, tag
from broker.simulate.stories import AETS
from broker.simulate.story import Act, Row, Scene, Story
from broker.simulate.victims import inflict

HOURS: Final = (
    *(0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.020, 0.045),
    *(0.090, 0.104, 0.098, 0.082, 0.070, 0.078, 0.074, 0.058, 0.046),
    *(0.035, 0.030, 0.028, 0.026, 0.025, 0.024, 0.019),
)
"""Share of the day's traffic in each hour."""

STORIES: Final[Sequence[tuple[Callable[[Story], None], int, bool]]] = (
    (stories.visit, 4500, True),
    (stories.stay, 400, True),
    (stories.person, 2400, True),
    (stories.changed_number, 20, False),
    (stories.merged, 40, False),
    (stories.merge_during_exam, 0, False),
)
"""How many of each a weekday has, and whether the patient is known by name and national number."""

POLLS: Final = 82_000
NATURAL_HOURS: Final = 10.0
"""What the longest story takes when nothing is shortened."""
STORY_PART: Final = 0.25
"""The part of the window that it may take."""
DOWN_FROM: Final = 0.4
"""Part of the run after which the EPJ goes away (`epj-down`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What is going to happen."""

    seed: int
    tag: str
    date: str
    """`YYYYMMDD`."""
    seconds: float
    """Length in the hospital's time."""
    acts: Sequence[Act]
    """By time; the acts of one story stand in its order."""
    rows: Sequence[Row]
    """Every step's row as it must be once all is done."""
    epj: Mapping[str, tuple[Behaviour, ...]]
    """What the EPJ does with what has this key, each time it comes; then, and with all else, AA."""
    pacs: Mapping[str, int]
    """How often the PACS refuses the instance with this UID."""
    faults: tuple[str, ...]


def plan(
    seed: int,
    *,
    date: datetime = datetime(2026, 3, 10),  # noqa: DTZ001 - HL7 local time, as senders write it
    start: float = 7.0,
    hours: float = 10.0,
    scale: float = 1.0,
    faults: Sequence[str] = (),
) -> Day:
    """The day from `start` (hours after midnight) for `hours`, of a region `scale` times the size."""
    dice = Random(f"{seed} day")
    people = People(Random(f"{seed} people"), tag(seed))
    scene = Scene(tag=people.tag, date=date, people=people, dice=Random(f"{seed} stories"))
    share = sum(weight for _, weight in _weights(start, hours)) * scale
    pace = min(1.0, STORY_PART * hours / NATURAL_HOURS)
    told: list[Story] = []
    for tell, daily, known in STORIES:
        extra = 2 if tell.__name__.replace("_", "-") in faults else 0
        for _ in range(max(round(daily * share), min(daily, 1)) + extra):
            # What begins must end within the window.
            began = 3600 * _moment(dice, start, hours - pace * NATURAL_HOURS)
            patient = people.new(known=known)
            story = Story(scene=scene, number=len(told), began=began, pace=pace, patient=patient)
            tell(story)
            told.append(story)
    acts = [replace(act, at=act.at + story.began - 3600 * start) for story in told for act in story.acts]
    acts += _polls(dice, start, hours, round(POLLS * share), first=len(told))
    acts.sort(key=lambda act: act.at)  # stable: the acts of a story keep their order
    acts, epj, pacs = inflict(acts, faults, Random(f"{seed} faults"), people.tag)
    return Day(
        seed=seed,
        tag=people.tag,
        date=f"{date:%Y%m%d}",
        seconds=max(3600 * hours, acts[-1].at),
        acts=acts,
        rows=[row for story in told for row in story.rows.values()],
        epj=epj,
        pacs=pacs,
        faults=tuple(faults),
    )


def _weights(start: float, hours: float) -> list[tuple[float, float]]:
    """(beginning, share of the day) of every hour in the window; parts of hours by their length."""
    found, at = [], start
    while at < start + hours:
        end = min(int(at) + 1.0, start + hours)
        found.append((at, HOURS[int(at) % 24] * (end - at)))
        at = end
    return found


def _moment(dice: Random, start: float, hours: float) -> float:
    """An hour of the window, by the day's curve."""
    weights = _weights(start, hours)
    at, _ = dice.choices(weights, [weight for _, weight in weights])[0]
    return dice.uniform(at, min(int(at) + 1.0, start + hours))


def _polls(dice: Random, start: float, hours: float, count: int, *, first: int) -> Iterator[Act]:
    """Modalities ask for their worklists; each query is a story of its own."""
    for number in range(max(count, 1)):
        at = 3600 * (_moment(dice, start, hours) - start)
        yield Act(at=at, part="polls", story=first + number, aet=AETS[number % len(AETS)])
