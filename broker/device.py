"""What a device is like that the broker answers: declared by AE title, or by a pattern of them (`devices:`).

Not who may call (`dicom.peers`), nor which station it stands for (the code table). What its quirks come to in an
answer is the worklist service's; which quirks a kind of device is known for is `broker.profiles`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from broker.adapter import Options
from broker.dicom import vr
from broker.dicom.attributes import key_of, tag_of, vr_of
from broker.dicom.charset import Term
from broker.dicom.fit import PN_GROUP
from broker.errors import LocalProtocolError
from broker.scalars import Duration, Switch, Text


def _pattern(text: str) -> str:
    if broken := vr.broken_rule("AE", text):
        raise ValueError(broken)
    return text


def _keyword(text: str) -> str:
    try:
        keyword = key_of(tag_of(text))
    except LocalProtocolError:
        keyword = ""
    if "," in keyword or not keyword:
        raise ValueError("must be a keyword of the DICOM data dictionary, such as StudyDescription")
    return keyword


def _description(text: str) -> str:
    keyword = _keyword(text)
    if vr_of(keyword) not in ("LO", "LT", "ST", "UT") or "ID" in keyword or "Number" in keyword:
        raise ValueError(
            "must be a description for people: a number or a code says what it is only when it is whole"
        )
    return keyword


AePattern = Annotated[Text, AfterValidator(_pattern)]
"""An AE title; `*` stands for any characters, `?` for one."""

Keyword = Annotated[Text, AfterValidator(_keyword)]
"""An attribute by its keyword (PS3.6)."""

Description = Annotated[Text, AfterValidator(_description)]
"""The keyword of a description: what people read, and nothing is found by."""


class Window(Options):
    """Which steps a device is answered with that asks without a day."""

    back: Duration = Field(
        default="4h", validate_default=True, description="So long ago a step may have been to start."
    )
    ahead: Duration = Field(
        default="24h",
        validate_default=True,
        description="So far ahead it may start: wards run past midnight.",
    )


class Device(Options):
    """Options of a device, by its calling AE title."""

    profile: Text | None = Field(
        default=None,
        description="Kind of device (`broker devices profile`): its options count where the entry has none of its own.",
    )
    charsets: tuple[Term, ...] = Field(
        default=(),
        description="Specific Character Sets that it can show, in order of preference: the first that shows all of an"
        " answer is taken, else the one in which least is transliterated (docs/charsets.md). A device that takes"
        " single-byte sets only does not list ISO_IR 192. Empty: what it asks in, else the listener's `charsets`.",
    )
    host: Text = Field(
        default="",
        description="Where it answers a C-ECHO (`broker devices verify`) and takes reports of storage commitment: host"
        " name or address; empty: not known.",
    )
    port: int = Field(default=104, ge=1, le=65535, description="TCP port there.")
    tls: Switch = Field(
        default=False,
        description="It is called over TLS there, with the `tls` of `adapter: device-commitment` (docs/tls.md).",
    )
    commitment: Literal["new", "same"] = Field(
        default="new",
        description="How it is told what it may rely on (N-EVENT-REPORT): `new`: on an association that the broker"
        " opens; `same`: on the one on which it asked, as long as that is open, else on a new one"
        " (docs/commitment.md).",
    )
    name_length: int = Field(
        default=PN_GROUP,
        ge=1,
        le=PN_GROUP,
        description="Characters of a person's name (component group) that it can take; more are cut in what it is"
        " answered, and counted.",
    )
    aliases: tuple[AePattern, ...] = Field(
        default=(),
        description="Its other AE titles, by which orders may name it: asking for one of them finds the rows of all,"
        " shown under the one that it asked for. The entry counts for each of them.",
    )
    stations: tuple[AePattern, ...] = Field(
        default=(), description="Further stations whose rows are its own, `CT*` for all that begin so."
    )
    worklist: Literal["all", "own"] = Field(
        default="all",
        description="`own`: it is shown only rows of its own stations (its AE title, `aliases`, `stations`), whatever"
        " it asks for.",
    )
    window: Window | None = Field(
        default=None,
        description="Answer a query that names neither a day nor the number of a patient or an order with the steps"
        " around now: `{}`, or `{back: 4h, ahead: 24h}`.",
    )
    max_answers: int | None = Field(
        default=None,
        ge=1,
        description="At most so many rows, those nearest to now first; the end says that there are more (A700).",
    )
    hide_limit: Switch = Field(
        default=False,
        description="End with 0000 where there are more than `max_answers`: for devices that show nothing on failures.",
    )
    hide_unsupported: Switch = Field(
        default=False,
        description="Answer FF00 where a key is not matched (FF01): for devices that take FF01 for a failure.",
    )
    drop: tuple[Keyword, ...] = Field(
        default=(), description="Attributes that it is never answered with, asked for or not."
    )
    drop_empty: tuple[Keyword, ...] = Field(
        default=(), description="Attributes that it is answered with only where they have a value."
    )
    always: tuple[Keyword, ...] = Field(
        default=(), description="Attributes of every answer, asked for or not, empty where the row has none."
    )
    fill: Mapping[Description, tuple[Description, ...]] = Field(
        default_factory=dict,
        description="For descriptions that the row leaves empty, where to look instead, the first that has a value:"
        " `{StudyDescription: [RequestedProcedureDescription]}`. Only what the order said itself is ever put there.",
    )
    lengths: Mapping[Description, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="Characters that it can take of descriptions: `{RequestedProcedureDescription: 32}`; more are cut,"
        " and counted. Numbers and codes are never cut.",
    )
    name_components: int = Field(
        default=5,
        ge=1,
        le=5,
        description="Components of a person's name that it can take: 2 is family and given name.",
    )
    upper_names: Switch = Field(default=False, description="Show it persons' names in capitals.")


def find(devices: Mapping[str, Device], aet: str) -> Device | None:
    """What is declared of an AE title: by itself, as another's alias, else by the first pattern that fits.

    None: nothing is. Under an alias, the title that the entry stands under is an alias too.
    """
    if aet in devices:
        return devices[aet]
    for title, device in devices.items():
        if aet in device.aliases:
            others = tuple(alias for alias in (title, *device.aliases) if alias != aet)
            return device.model_copy(update={"aliases": others})
    return next((device for pattern, device in devices.items() if fnmatchcase(aet, pattern)), None)


def stands_for(device: Device | None, aet: str) -> tuple[str, ...]:
    """Whose rows are the device's own: AE titles, its calling one first, and patterns of them."""
    return (aet,) if device is None else (aet, *device.aliases, *device.stations)


def is_own(stations: Iterable[str], own: Iterable[str]) -> bool:
    """Whether one of a row's stations is among these titles and patterns."""
    return any(fnmatchcase(station, pattern) for station in stations for pattern in own)


def merged(device: Device, profile: Device) -> Device:
    """The device with its profile's options where it has none of its own."""
    own = {name: getattr(device, name) for name in device.model_fields_set}
    return profile.model_copy(update={**own, "profile": device.profile})
