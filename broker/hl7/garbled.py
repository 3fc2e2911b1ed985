"""Text that was decoded wrongly before it came: UTF-8 read as Latin-1 (BjÃ¸rn), and letters lost for U+FFFD.

What is lost cannot come back: refused with its place where it says who the patient is, flagged elsewhere. What was only
read wrongly is flagged, repaired or refused, as the listener says. Pure; how bytes are read at all is
`broker.hl7.charset`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from broker.errors import DATA_TYPE_ERROR, Location, Refused
from broker.hl7.charset import TWICE
from broker.hl7.er7 import Message
from broker.text import LOST, mojibake

MOJIBAKE: Final = "mojibake"
REPAIRED: Final = "mojibake-repaired"
LETTERS_LOST: Final = "letters-lost"

WHO: Final = ("PID", "MRG")
"""Segments that say who the patient is: what is lost there would be a wrong name for ever."""

Policy = Literal["flag", "repair", "refuse"]


def judged(message: Message, policy: Policy) -> tuple[Message, tuple[str, ...]]:
    """The message as it is to be read, and flags. Raises `Refused` (AE, 102) with the place of the first such text.

    `repair`: where all of the message goes back to what it was; else it is flagged, for a part alone would be a guess.
    """
    if message.raw.isascii():
        return message, ()
    text = message.raw.decode(message.charset)
    flags: tuple[str, ...] = ()
    if LOST.search(text):
        if (place := _place(message, LOST.search, only=WHO)) is not None:
            raise _refused("holds U+FFFD: its letters were lost before it came", place)
        flags = (LETTERS_LOST,)
    if not mojibake(text):
        return message, flags
    if policy == "refuse":
        raise _refused("holds UTF-8 that was read as Latin-1", _place(message, mojibake) or _CHARSET)
    if policy == "repair" and (whole := _repaired(message)) is not None:
        return whole, (*flags, REPAIRED)
    return message, (*flags, MOJIBAKE)


def _repaired(message: Message) -> Message | None:
    codec = "utf-8" if message.charset != "utf-8" else TWICE
    try:
        return Message(message.raw, message.header, codec)
    except UnicodeDecodeError:
        return None


_CHARSET: Final = Location(segment="MSH", field=18)


def _place(
    message: Message, wrong: Callable[[str], object], *, only: tuple[str, ...] = ()
) -> Location | None:
    for segment in message:
        if only and segment.name not in only:
            continue
        for number, text in enumerate(segment.fields):
            if number and wrong(text):
                return segment.location(number)
    return None


def _refused(what: str, place: Location) -> Refused:
    return Refused(f"the text {what}", ack_code="AE", error_code=DATA_TYPE_ERROR, location=place)
