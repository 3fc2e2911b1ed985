"""How one listener reads what it is sent, and what a mapping is. `broker.net.hl7_listener` makes it of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from broker import localtime
from broker.adapter import REPEAT_WINDOW
from broker.event import Draft
from broker.hl7 import garbled
from broker.hl7.demographics import Issuers
from broker.hl7.er7 import Message
from broker.hl7.protection import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one listener reads what it is sent: everything about a sender that is a setting."""

    name: str
    site: str
    issuers: Issuers
    charset: str = "8859/1"
    """MSH-18 where the sender leaves it empty and the bytes are not UTF-8."""
    fallback_charset: str = ""
    mojibake: garbled.Policy = "flag"
    """What becomes of a message with UTF-8 that was read as Latin-1."""
    processing_ids: tuple[str, ...] = ()
    """MSH-11 that is taken; empty: any."""
    ignore: tuple[str, ...] = ()
    """Message types acknowledged and counted without effect: `ADT^A60`, `MDM^*`."""
    validate: Literal["off", "warn", "strict"] = "off"
    repeat_window: timedelta = REPEAT_WINDOW
    """How long the same control id means the same message (invariant 3)."""
    max_batch: int | None = None
    """Most messages in one batch."""
    protection: tuple[Rule, ...] = ()
    """Where this sender says that an address is protected; only PAS may."""
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Code tables that the mapping reads, by name."""
    zone: ZoneInfo = localtime.OSLO
    """Where times without an offset are local."""


Mapper = Callable[[Message, Profile], Sequence[Draft]]
"""A message's meaning. No drafts: nothing to do (`AA`, counted). Raises `UnmappableError` or `Refused`."""
