"""What a destination received, in the model's words, and whether it came in an order that patients allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.support.identity_model import Told
from tests.support.mllp import field

SINKS: Final = ("epj", "pacs-hl7")
STATUSES: Final = {b"SC": "SCHEDULED", b"CM": "COMPLETED", b"CA": "CANCELED", b"DC": "DISCONTINUED"}

About = tuple[str, ...]


def about(message: bytes) -> About:
    """What `Told.about` is of a message: its control id; of an order's status what it says of whom."""
    if not field(message, b"MSH", 9).startswith(b"ORM"):
        return (field(message, b"MSH", 10).decode(),)
    ids = [part.partition(b"^")[0] for part in field(message, b"PID", 3).split(b"~")]
    return (
        field(message, b"OBR", 20).decode(),
        STATUSES[field(message, b"ORC", 5)],
        b"~".join(ids).decode(),
        field(message, b"PID", 5).decode(),
    )


def places(must: Sequence[tuple[str, About]], found: Sequence[tuple[str, About]]) -> list[int]:
    """For each of the one its place in the other; of equal ones the first is the first. Both hold the same."""
    where: dict[tuple[tuple[str, About], int], int] = {}
    for result in (found, must):
        count: Counter[tuple[str, About]] = Counter()
        numbered = []
        for one in result:
            numbered.append((one, count[one]))
            count[one] += 1
        if result is found:
            where = {one: place for place, one in enumerate(numbered)}
    return [where[one] for one in numbered]


def differences(destination: str, told: Sequence[Told], received: Sequence[bytes]) -> list[str]:
    """What is lost, came too often or too early at one destination."""
    must = [(one.destination, one.about) for one in told]
    found = [(destination, about(message)) for message in received]
    wanted = Counter(one for one in must if one[0] == destination)
    there = Counter(found)
    lines = [f"{destination}: lost {one[1]}" for one in (wanted - there).elements()]
    lines += [
        f"{destination}: not expected, or once too often: {one[1]}" for one in (there - wanted).elements()
    ]
    if lines:
        return lines
    mine = [number for number, one in enumerate(must) if one[0] == destination]
    place = dict(zip(mine, places([must[n] for n in mine], found), strict=True))
    return [
        f"{destination}: {must[number][1]} came before {must[before][1]}"
        for number in mine
        for before in told[number].after
        if place[before] > place[number]
    ]
