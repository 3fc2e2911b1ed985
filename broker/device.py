"""What a device is like that the broker answers: declared by AE title, or by a pattern of them (`devices:`).

Not who may call (`dicom.peers`), nor which station it stands for (the code table). Quirks get their keys here.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field

from broker.adapter import Options
from broker.dicom import vr
from broker.dicom.attributes import PN_GROUP
from broker.dicom.charset import Term
from broker.scalars import Text


def _pattern(text: str) -> str:
    if broken := vr.broken_rule("AE", text):
        raise ValueError(broken)
    return text


AePattern = Annotated[Text, AfterValidator(_pattern)]
"""An AE title; `*` stands for any characters, `?` for one."""


class Device(Options):
    """Options of a device, by its calling AE title."""

    charsets: tuple[Term, ...] = Field(
        default=(),
        description="Specific Character Sets that it can show, in order of preference: the first that shows all of an"
        " answer is taken, else the one in which least is transliterated (docs/charsets.md). A device that takes"
        " single-byte sets only does not list ISO_IR 192. Empty: what it asks in, else the listener's `charsets`.",
    )
    host: Text = Field(
        default="",
        description="Where it answers a C-ECHO (`broker devices verify`): host name or address; empty: not known.",
    )
    port: int = Field(default=104, ge=1, le=65535, description="TCP port there.")
    name_length: int = Field(
        default=PN_GROUP,
        ge=1,
        le=PN_GROUP,
        description="Characters of a person's name (component group) that it can take; more are cut in what it is"
        " answered, and counted.",
    )


def find(devices: Mapping[str, Device], aet: str) -> Device | None:
    """What is declared of an AE title: by itself, else by the first pattern that fits; None: nothing."""
    if aet in devices:
        return devices[aet]
    return next((device for pattern, device in devices.items() if fnmatchcase(aet, pattern)), None)
