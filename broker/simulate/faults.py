"""The faults that can be injected: their names, where they happen, and what each one is. No I/O.

After the complaints that integration engines hear most: late and wrong acknowledgements, pipelined and split frames,
lying character sets, poison messages, dead peers, merges at the wrong moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from broker.errors import ConfigError, did_you_mean

Place = Literal["feed", "epj", "pacs", "story"]

Behaviour = Literal["AA", "AE", "AR", "late-ack", "silent", "close", "wrong-msa2", "slow-reader"]
"""What an EPJ does with a message: answers with the code; AA too late; nothing; hangs up; AA for another; AA slowly."""

BEHAVIOURS: Final[tuple[Behaviour, ...]] = get_args(Behaviour)

ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `often`: of how many messages one has it; 0: once in a run."""

    place: Place
    text: str
    often: int = 200
    epj: tuple[Behaviour, ...] = ()
    """What the EPJ does with the message, each time it comes."""


FAULTS: Final[Mapping[str, Fault]] = {
    "split": Fault(place="feed", text="a frame comes in many segments, its end bytes apart"),
    "pipelined": Fault(place="feed", text="two frames in one segment, the second before the first's ack"),
    "junk": Fault(place="feed", text="bytes that belong to no frame, before a frame"),
    "half-close": Fault(
        place="feed", text="the sender shuts its side after the frame, then waits for the ack"
    ),
    "reset": Fault(place="feed", text="the sender resets before the ack, and sends the same bytes again"),
    "repeat": Fault(
        place="feed", text="an acknowledged message is sent again; the answer must be the same bytes"
    ),
    "lying-charset": Fault(place="feed", text="MSH-18 says UTF-8 over ISO 8859-1 bytes; must be refused"),
    "many-connections": Fault(
        place="feed", text="more connections than the listener takes; no message may go unanswered", often=0
    ),
    "late-ack": Fault(
        place="epj", text="the EPJ acknowledges after the broker has given up", often=0, epj=("late-ack",)
    ),
    "wrong-msa2": Fault(
        place="epj", text="the EPJ acknowledges another message than the one it got", epj=("wrong-msa2",)
    ),
    "close": Fault(place="epj", text="the EPJ takes a message and closes before its ack", epj=("close",)),
    "slow-reader": Fault(
        place="epj", text="the EPJ reads and answers a few bytes at a time", epj=("slow-reader",)
    ),
    "poison": Fault(
        place="epj", text="the EPJ answers AE twice to a message, then AA", often=400, epj=("AE", "AE")
    ),
    "epj-down": Fault(place="epj", text="the EPJ is away for a while", often=0),
    "pacs-busy": Fault(place="pacs", text="the PACS answers A700 twice to an image, then takes it", often=40),
    "merge-during-exam": Fault(
        place="story", text="two records are merged between two images of one examination"
    ),
}


def chosen(text: str) -> tuple[str, ...]:
    """`all`, or names with commas between them, in the order of `FAULTS`. Raises `ConfigError`."""
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if wanted == [ALL]:
        return tuple(FAULTS)
    for name in wanted:
        if name not in FAULTS:
            hint = did_you_mean(name, FAULTS) or f"There are: {', '.join(FAULTS)}."
            raise ConfigError(f"there is no fault '{name}'. {hint}")
    return tuple(name for name in FAULTS if name in wanted)


def at(place: Place, names: Iterable[str]) -> tuple[str, ...]:
    """Those that happen there."""
    return tuple(name for name in names if FAULTS[name].place == place)
