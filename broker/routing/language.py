"""The route language: one declaration that gives the loader, the JSON Schema and the documentation.

Says what a route file may hold and of which type. What the names in it mean (destinations, tables, fields) is
checked by `loader.py`; what the expressions say by `expression.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    WithJsonSchema,
)

from broker.adapter import Kind, Send
from broker.errors import did_you_mean
from broker.event import CLOCK, EVENT_TYPES, EventType, Study
from broker.scalars import Duration, Moment, Switch, Text, as_written

WILDCARDS = tuple(dict.fromkeys(f"{event.partition('.')[0]}.*" for event in EVENT_TYPES))

_NAME = r"[a-z0-9]+(?:[-_][a-z0-9]+)*"


def check_name(value: str) -> str:
    """The name, if a route may have it. Raises `ValueError` saying what is allowed."""
    if re.fullmatch(_NAME, value) is None:
        raise ValueError("a name has small letters, digits and single hyphens only")
    return value


def _event(value: str) -> str:
    if value not in EVENT_TYPES and value not in WILDCARDS:
        raise ValueError(f"there is no event '{value}'\n{did_you_mean(value, (*EVENT_TYPES, *WILDCARDS))}")
    return value


def is_of_study(event: str) -> bool:
    """Whether it is said of a study, or of instances of several, and so holds `Study`."""
    return event.startswith(("study.", "commitment."))


def _of_study(value: EventType) -> EventType:
    if not is_of_study(value):
        raise ValueError(
            "only study.* and commitment.* are given so: what other events say stands in a message"
        )
    return value


def _settable(value: object) -> object:
    """Text, or a list of texts."""
    if isinstance(value, Mapping) and set(value) == {"file"}:
        raise ValueError(
            "a route holds no secrets: what it sets leaves\nSecrets stand in config/broker.yaml."
        )
    written = tuple(as_written(item) for item in value) if isinstance(value, tuple) else as_written(value)
    if not all(isinstance(item, str) for item in (written if isinstance(written, tuple) else (written,))):
        raise ValueError('must be text or a list of texts\nWrite "" for an empty text.')
    return written


def _outputs(value: object) -> object:
    if not isinstance(value, tuple) or not all(isinstance(output, dict) for output in value):
        raise ValueError("must be a list of outputs, each with its fields\nOther keys: ack, none, events.")
    return value


def _kind(value: object) -> str | None:
    """The tag of a target: by the key it has, or by the kind that one of its keys was likely meant to be."""
    if isinstance(value, BaseModel):
        return f"<{next(iter(type(value).model_fields))}>"
    keys = list(value) if isinstance(value, Mapping) else []
    kinds = [kind for kind in _TARGETS if kind in keys]
    if not kinds:
        kinds = [kind for kind in _TARGETS if any(kind in did_you_mean(str(key), _TARGETS) for key in keys)]
    return f"<{kinds[0]}>" if kinds else None


_TARGETS: tuple[Kind, ...] = ("worklist", "hl7", "dicom")

Name = Annotated[
    Text, AfterValidator(check_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]
EventPattern = Annotated[
    Text, AfterValidator(_event), WithJsonSchema({"type": "string", "enum": [*WILDCARDS, *EVENT_TYPES]})
]
StudyEvent = Annotated[
    EventType,
    AfterValidator(_of_study),
    WithJsonSchema({"type": "string", "enum": [event for event in EVENT_TYPES if is_of_study(event)]}),
]
Uses = tuple[Name, ...]
SetValue = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_settable),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
            ]
        }
    ),
]


class Part(BaseModel):
    """Base of everything in a route file. The docstrings below are what editors and docs/routes.md show."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


class WorklistTarget(Part):
    """Puts the step on a worklist, or takes it off."""

    worklist: Name
    """Destination of kind worklist."""
    use: Uses = ()
    """Shared blocks whose `set:` stands here too (`routes/_shared/*.yaml`); the route's own line wins."""
    set: dict[str, SetValue] = {}
    """What differs from the standard mapping (IHE RAD-4): DICOM keyword to value."""


class Hl7Target(Part):
    """Sends an HL7 v2 message."""

    hl7: Name
    """Destination of kind hl7."""
    send: Send
    """`source` forwards the message that caused the event; `ORM^O01` builds an order's status, of order and step
    events; `ORU^R01` says what was rejected, of study.rejected and study.restored."""
    purpose: Literal["care", "contact"] = "care"
    """`contact` lets address, telephone, next of kin and employer through; `care` takes them out."""
    protected: Literal["withhold", "allow"] | None = None
    """Of a route for contact: what becomes of messages about patients whose address is protected.
    `withhold`, also where nothing stands here: they are not sent. `allow`: this destination is cleared for
    them (docs/protection.md)."""
    use: Uses = ()
    """Shared blocks whose `set:` stands here too; the route's own line wins."""
    set: dict[str, SetValue] = {}
    """What differs from the standard mapping: HL7 path to value. A whole field (`PV1-3: W3^12`) is
    written as it stands here, a component (`PV1-3.1`) as plain text."""


class DicomTarget(Part):
    """Sends the instance on with C-STORE."""

    dicom: Name
    """Destination of kind dicom."""


TargetSpec = Annotated[
    Annotated[WorklistTarget, Tag("<worklist>")]
    | Annotated[Hl7Target, Tag("<hl7>")]
    | Annotated[DicomTarget, Tag("<dicom>")],
    Discriminator(
        _kind,
        custom_error_type="no_target",
        custom_error_message="A target says worklist, hl7 or dicom and the name of a destination",
    ),
]


class Retry(Part):
    """How long to wait before the next attempt: first, then factor times as long each time, at most max."""

    first: Duration = 5.0
    """Pause after the first failure."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """How much longer each pause is than the one before."""
    max: Duration = 600.0
    """The longest pause."""


class OnFailure(Part):
    """What happens while a destination does not take a delivery of this route."""

    retry: Retry = Retry()
    """Pauses between attempts. A destination that cannot be reached is tried without end, and nothing is
    parked for that."""
    park_after: Duration = 86_400.0
    """How long a delivery itself may fail, at a destination that is there, until it is parked: it waits for
    a person (`broker parked`), and what comes later for the same patient waits behind it."""
    refusals: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many refusals (AE, AR, a DICOM failure that is final) park a delivery. Those of a destination that
    refuses everybody do not count."""
    max_age: Duration | None = None
    """A delivery older than this is parked instead of sent. Unset: late is better than never."""
    alert: Text = ""
    """Who is to know: a label on the failing deliveries in status and metrics."""


class Given(Part):
    """A message as a sender would send it: one of file, hl7, dicom and journal. Or what is said of a study without
    such a message: type and study."""

    source: Name = CLOCK
    """The listener that takes it. Of a study it may be left out: then time brought it about."""
    file: Text = ""
    """A file beside the route file."""
    hl7: Text = ""
    """The message itself, one segment per line."""
    dicom: dict[str, SetValue] = {}
    """The attributes of an instance without pixels: DICOM keyword to value."""
    journal: Text = ""
    """The id of a message in this site's journal (`broker trace`), while its bytes are kept. Such a test fails
    where the journal is not, and its differences may show patient data."""
    type: StudyEvent | None = None
    """The event that is said of a study, such as `study.stored`."""
    study: Study | None = None
    """What it says, with the names that fields have in expressions: `{ study_uid: 1.2.3, archive: pacs }`. Whose study
    it is, instances in `before` say."""


class Expect(Part):
    """What must come of it. Further keys are destinations (`epj`, or `hl7.epj`), each with the list of
    outputs that this route must make there, in order, and the fields that must stand in them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[tuple[dict[str, SetValue], ...], BeforeValidator(_outputs)]]

    ack: Text | None = None
    """The acknowledgement code (MSA-1), or the DICOM status in four hexadecimal digits."""
    none: bool = False
    """True: this route sends nothing."""
    events: tuple[EventPattern, ...] | None = None
    """The types of all events that the message makes, in order."""

    @property
    def outputs(self) -> dict[str, tuple[dict[str, str | tuple[str, ...]], ...]]:
        """Destination to what is expected there."""
        return dict(self.__pydantic_extra__)


class RouteTest(Part):
    """A test of the route, run through the real pipeline by `broker test`."""

    name: Text
    """What it shows, as a sentence."""
    before: tuple[Given, ...] = ()
    """Messages that were taken earlier; nothing is expected of them."""
    tables: dict[Name, dict[str, SetValue]] = {}
    """Code tables as they are in this test: code to its values, laid over the table's rows. Empty: no such code."""
    at: Moment | None = None
    """When the messages are received, for tables with dates: `2026-04-01`. Unset: now."""
    given: Given
    """The message under test."""
    expect: Expect
    """What must come of it."""


class RouteFile(Part):
    """One route: which events go where, and what differs from the standard mapping on the way."""

    route: Name
    """The route's name, unique in the folder."""
    description: Text = ""
    """What it is for, in the words of those who ask."""
    enabled: Switch = True
    """`false` turns it off. With `${env:BROKER_X_PORT:-false}` it is on where that variable is set."""
    on: Annotated[tuple[EventPattern, ...], Field(min_length=1)]
    """The events it takes; `patient.*` stands for all that begin so."""
    where: Text = ""
    """An expression that must be true as well."""
    to: Annotated[tuple[TargetSpec, ...], Field(min_length=1)]
    """Where the event goes."""
    use: Uses = ()
    """Shared blocks whose `on_failure:` stands here too; the route's own keys win."""
    on_failure: OnFailure = OnFailure()
    """What happens while a destination does not take it."""
    tests: tuple[RouteTest, ...] = ()
    """Examples that must hold."""


class SharedBlock(Part):
    """What several routes have in common: each takes it in by `use: [name]`."""

    description: Text = ""
    """What it is for."""
    set: dict[str, SetValue] = {}
    """For a target's `use:`. Checked at every target that uses it."""
    on_failure: OnFailure = OnFailure()
    """For a route's `use:`."""


class SharedFile(RootModel[dict[Name, SharedBlock]]):
    """A file of shared blocks, each under its name; names are unique in the folder."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)


def events_of(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The event types that patterns stand for, in the catalogue's order."""
    return tuple(e for e in EVENT_TYPES if any(p in (e, f"{e.partition('.')[0]}.*") for p in patterns))


def target_of(spec: Any) -> tuple[Kind, str]:
    """Kind and destination of a target."""
    kind: Kind = next(k for k in _TARGETS if k in type(spec).model_fields)
    return kind, getattr(spec, kind)
