"""One step read: how its routes see it, the row that is made of it, and where each value of that came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from broker.adapter import Target
from broker.dicom import attributes as dicom
from broker.dicom import charset
from broker.dicom.attributes import Attributes, from_json
from broker.dicom.matching import Query
from broker.errors import UnmappableError
from broker.journal.log import Logged
from broker.registers import exceptions, orderless, steps, visits, worklist
from broker.registers.steps import Held
from broker.routing.provenance import Origin
from broker.runtime import queries
from broker.runtime.lookback import seen_again
from broker.runtime.pipeline import message_of
from broker.view import View
from broker.why import origin
from broker.why.desk import Desk
from broker.why.facts import Came, Device, Question, Said, StepFacts, Valued

VALUES: Final = (
    "ScheduledStationAETitle",
    "Modality",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
)
"""What decides on which list a row is, and when."""
LONGEST: Final = 64 * 1024
"""Bytes of a message whose fields are tried one by one; an order has a few KiB."""
SET_ASIDE: Final = ("identity-conflict", "step-patient-differs", "step-refused", "cancel-unmatched")
"""Exceptions that say that a register did not apply an event."""

AskDevice = Callable[[str, Attributes | None], tuple[tuple[Device, ...], str]]
"""What a device asked last, held against a row; or why that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message with its events, and by which accession numbers it is found."""

    came: Came
    logged: tuple[Logged, ...]
    by_accession: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A step as the register has it, and the event that wrote it last."""

    held: Held
    event: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A step as its routes see it: what `why tag` asks for, too."""

    held: Held
    view: View
    target: Target | None
    """Of the worklist route that matches; None: none does."""
    attributes: Attributes | None
    """Of its row; None: none can be made."""
    unmappable: str = ""
    placed: tuple[worklist.Placed, ...] = ()


@dataclass
class Reading:
    """Reads steps, with what the messages said kept for all of them."""

    it: Desk
    messages: list[Message]
    _paths: dict[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def step(self, one: Known, question: Question, typed: Query | None, ask: AskDevice) -> StepFacts:
        it, held = self.it, one.held
        seen = look(it, held, one.event)
        row = seen.attributes
        asked, _ = ask(question.ae, row)
        keys = () if typed is None else tuple(queries.tried(typed, row))
        return StepFacts(
            step=held.step.step_id,
            accession=held.step.accession_number,
            status=str(held.step.status),
            clinic=held.step.clinic,
            adopted_by=self._adopted_by(held),
            came=tuple(m.came for m in self.messages if speaks_of(it, m, held)),
            changed_by=next(
                (m.came for m in self.messages if any(e.event.id == one.event for e in m.logged)), None
            ),
            said=tuple(self._said(seen.view)),
            unmappable=seen.unmappable,
            lacking=tuple(worklist.lacking(row)) if row is not None else (),
            lists=tuple(placed.list for placed in seen.placed),
            version=seen.placed[0].version if seen.placed else "",
            stations=stations(row or {}),
            values=tuple(self.value(seen, keyword) for keyword in VALUES) if row is not None else (),
            remarks=tuple(self._remarks(seen)),
            charset=_charset(it, row, asked, question.ae) if row is not None and seen.placed else "",
            tried=None if typed is None else Device(keys=keys),
            asked=asked,
        )

    def _adopted_by(self, held: Held) -> str:
        other = steps.get(self.it.registers, orderless.replaced_by(self.it.registers, held.step.key))
        return (other.step.accession_number or other.step.step_id) if other is not None else ""

    @cached_property
    def _entries(self) -> list[exceptions.Entry]:
        return exceptions.entries(self.it.registers)

    def _remarks(self, seen: Seen) -> Iterator[str]:
        for entry in self._entries:
            if entry.subject == seen.held.step.key and entry.kind not in SET_ASIDE:
                yield entry.reason
        for key in orderless.adopted(self.it.registers, seen.held.step.key):
            visit = steps.get(self.it.registers, key)
            if visit is not None:
                own = visit.step.study_uid == seen.held.step.study_uid
                study = "has its study" if own else f"study {visit.step.study_uid} of that is the order's too"
                took = "took over from" if seen.placed else "is held, so it does not yet replace"
                yield f"it {took} the visit's row at {visit.step.clinic}, and {study}"
        if seen.unmappable and seen.placed:
            yield f"the row shows what was before: {seen.unmappable}"

    def _said(self, view: View) -> Iterator[Said]:
        routes = self.it.configured.routes
        for verdict in routes.explain(view):
            puts = any(target.kind == "worklist" for target in routes[verdict.route].targets)
            if puts or verdict.matched:
                yield Said(
                    route=verdict.route,
                    place=verdict.place,
                    matched=verdict.matched,
                    reason=verdict.reason,
                    worklist=puts,
                )

    def value(self, seen: Seen, keyword: str) -> Valued:
        """One value of the row with what it was made of."""
        value = origin.value_of(seen.attributes or {}, keyword)
        target, configured = seen.target, self.it.configured
        if target is None:
            return Valued(keyword=keyword, shown=" | ".join(_texts(value)))
        if keyword in target.set:
            place, made_of = configured.routes.origins(seen.view, target)[keyword]
            origins = self.made_of(seen.view, made_of)
        else:
            place = ""
            fields = origin.fields_behind(
                configured.renderers[target.destination], seen.view, target, keyword
            )
            origins = [self._field(seen.view, name) for name in fields]
        return Valued(keyword=keyword, shown=" | ".join(_texts(value)), origins=tuple(origins), place=place)

    def made_of(self, view: View, origins: Iterable[Origin]) -> list[str]:
        """What a `set:` line was made of, in words."""
        return [text for one in origins for text in self._origin(view, one)]

    def _origin(self, view: View, one: Origin) -> Iterator[str]:
        match one.kind:
            case "text":
                yield "text of the route file"
            case "table":
                yield f"{one.place} for '{one.code}'"
            case "miss":
                yield f"{one.place} has no row for '{one.code}' at the time of the event"
            case "message":
                yield one.name
            case "field":
                yield self._field(view, one.name)

    def _field(self, view: View, name: str) -> str:
        """The field, and the field of the message that said it last."""
        facts = view.facts()
        fact = origin.fact_of(name, facts)
        wanted = facts.get(fact)
        if not wanted:
            return f"{name}, which nobody gave"
        for message, logged in self._who_may_say(view, name):
            if origin.said(logged.event).get(fact) == wanted:
                paths = self._said_in(logged).get(fact, ())
                where = f"{', '.join(paths)} of " if paths else ""
                return f"{name} ← {where}{message.came.type} {message.came.named}"
        return name

    def _who_may_say(self, view: View, name: str) -> list[tuple[Message, Logged]]:
        """Events, the newest first: of a step those of its order, of a patient whom PAS knows those of PAS."""
        of_patient = name.startswith("patient.")
        held = steps.get(self.it.registers, view.step.key) if view.step is not None else None
        return [
            (message, logged)
            for message in reversed(self.messages)
            for logged in message.logged
            if (
                not (view.verified and not logged.event.type.startswith("patient."))
                if of_patient
                else held is None or speaks_of(self.it, message, held)
            )
        ]

    def _said_in(self, logged: Logged) -> Mapping[str, tuple[str, ...]]:
        reader, message = self.it.configured.readers.get(logged.event.source), message_of(logged)
        if reader is None or message is None or len(message.raw) > LONGEST:
            return {}  # its listener is not configured any more, or its bytes are not kept
        if logged.event.id not in self._paths:
            self._paths[logged.event.id] = origin.paths_behind(reader, message, logged.event)
        return self._paths[logged.event.id]


def look(it: Desk, held: Held, event: str) -> Seen:
    """A step through today's routes, as if the event that wrote it last had just come."""
    configured = it.configured
    view = seen_again(it.journal, it.registers, held, event, it.until)
    routed = configured.routes.route(view)
    target = next((t for t in routed.targets if t.kind == "worklist"), None)
    placed = tuple(worklist.placed(it.registers, held.step.key))
    attributes: Attributes | None = placed[0].attributes if placed else None
    unmappable = ""
    if target is not None:
        try:
            made = configured.renderers[target.destination](view, target)
            attributes = attributes or from_json(made.payload.decode())
        except UnmappableError as exc:
            unmappable = str(exc)
    return Seen(
        held=held, view=view, target=target, attributes=attributes, unmappable=unmappable, placed=placed
    )


def _charset(it: Desk, row: Attributes, asked: tuple[Device, ...], aet: str) -> str:
    """What the row is answered in: as the settings say of the device, else its own choice, then the listener's."""
    listeners = (s.config for s in it.configured.settings.inbound)
    default: tuple[str, ...] = next((c.charsets for c in listeners if hasattr(c, "charsets")), ())
    declared = it.configured.settings.device(aet)
    terms = charset.ladder(asked[0].charset if asked else "", declared.charsets if declared else (), default)
    return charset.choose(dicom.texts(row), terms) if terms else ""


def stations(row: Attributes) -> tuple[str, ...]:
    """The stations that a row is for."""
    return _texts(origin.value_of(row, "ScheduledStationAETitle"))


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(part) for part in value or () if not isinstance(part, Mapping))


def speaks_of(it: Desk, one: Message, held: Held) -> bool:
    """Whether a message is about the step: by its key, its accession number, of a whole order its numbers, of a
    clinic's step its visit."""
    if held.step.accession_number in one.by_accession:
        return True
    for logged in one.logged:
        data = logged.event.data
        if data.step is not None and data.step.key == held.step.key:
            return True
        if held.step.clinic and visits.same(data.encounter, held.encounter):
            return True
        whole = data.step is None or steps.get(it.registers, data.step.key) is None
        if whole and data.order and held.order and steps.same_order(held.order, data.order):
            return True
    return False
