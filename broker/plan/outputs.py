"""What two route sets make of one view: outputs paired, and held against each other. Pure, as renderers are.

What both sets make of the same target is the same bytes, and is not rendered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from broker.adapter import Kind, Renderer, Target
from broker.dicom.attributes import from_json, place_of
from broker.errors import BrokerError, UnmappableError
from broker.hl7.difference import differences
from broker.hl7.er7 import parse_path
from broker.registers import worklist
from broker.routing.engine import RouteSet
from broker.routing.testing import Field, finest
from broker.view import View

Verdict = Literal["same", "changed", "only live", "only proposed", "would be held", "held no more"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A target as one set makes it."""

    target: Target
    error: UnmappableError | None = None
    """A value that `park` caught: the output would be held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One place that differs. Holds what stands in the outputs: patient data, never to be shown as it is."""

    place: str
    """As `broker test` shows it: `PID-5.1`, `(0010,0010) PatientName`."""
    name: str
    """The HL7 path, or the DICOM keyword."""
    before: Field
    after: Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One output of either set, held against its counterpart."""

    verdict: Verdict
    kind: Kind
    route: str
    destination: str
    place: str
    """The line of the target, in the proposed set where it has one."""
    fields: tuple[FieldChange, ...] = ()
    reason: str = ""
    """Why it would be held, or was; names places, never values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two route sets over the same destinations."""

    live: RouteSet
    proposed: RouteSet
    renderers: Mapping[str, Renderer]

    def compare(self, view: View, *, refresh: bool = False, only: Kind | None = None) -> list[Compared]:
        """Every output of either set. `refresh`: only the rows of a step that looks different now."""
        one, two = (_made(routes, view, refresh, only) for routes in (self.live, self.proposed))
        return [self._compared(view, old, new) for old, new in paired(one, two)]

    def _compared(self, view: View, old: Made | None, new: Made | None) -> Compared:
        made = new or old
        assert made is not None, "a pair has one at least"
        target = made.target
        verdict: Verdict = "same"
        fields: tuple[FieldChange, ...] = ()
        reason = ""
        if old is None or new is None or not _same(old, new):
            (before, was), (after, now) = (self._rendered(view, one) for one in (old, new))
            if was or now:
                verdict = "same" if was and now else "would be held" if now else "held no more"
                reason = "" if verdict == "same" else now or was
            elif old is None or new is None:
                verdict = "only proposed" if old is None else "only live"
            elif before != after:
                verdict, fields = "changed", tuple(changes(target.kind, before, after))
        return Compared(
            verdict=verdict,
            kind=target.kind,
            route=target.route,
            destination=target.destination,
            place=target.place,
            fields=fields,
            reason=reason,
        )

    def _rendered(self, view: View, made: Made | None) -> tuple[bytes, str]:
        """The bytes, or why there are none."""
        if made is None:
            return b"", ""
        if made.error is not None:
            return b"", str(made.error)
        target = made.target
        try:
            if target.kind == "worklist" and view.step is None:
                raise UnmappableError(f"{target.place}: a {view.event.type} has no step for a worklist")
            payload = self.renderers[target.destination](view, target).payload
        except UnmappableError as exc:
            return b"", str(exc)
        except Exception as exc:  # noqa: BLE001 - commit 2 would report it as `event-failed` and go on, too
            return b"", f"{target.place}: the whole event fails: {type(exc).__name__}"
        lacking = worklist.lacking(from_json(payload.decode())) if target.kind == "worklist" else []
        held = lacking and view.step is not None and view.step.status in worklist.SERVED
        return payload, f"{target.place}: {'; '.join(lacking)}" if held else ""


def paired(one: list[Made], two: list[Made]) -> Iterator[tuple[Made | None, Made | None]]:
    """Outputs for one destination belong together: of one route first, then in their order; what is left is alone."""
    rest = list(one)
    later = []
    for new in two:
        old = next((o for o in rest if _slot(o) == _slot(new) and o.target.route == new.target.route), None)
        if old is None:
            later.append(new)
        else:
            rest.remove(old)
            yield old, new
    for new in later:
        old = next((o for o in rest if _slot(o) == _slot(new)), None)
        if old is not None:
            rest.remove(old)
        yield old, new
    yield from ((old, None) for old in rest)


def _slot(made: Made) -> tuple[str, str]:
    return made.target.kind, made.target.destination


def _same(old: Made, new: Made) -> bool:
    """Whether both must come to the same: line and version of the routes decide nothing."""
    one, two = (replace(made.target, version="", place="") for made in (old, new))
    return one == two and (old.error is None) == (new.error is None)


def _made(routes: RouteSet, view: View, refresh: bool, only: Kind | None) -> list[Made]:
    if refresh:
        return [Made(target=target) for target in routes.worklist_targets(view)]
    found = routes.route(view)
    made = [Made(target=target) for target in found.targets]
    made += [Made(target=failure.target, error=failure.error) for failure in found.failures]
    return [one for one in made if only in (None, one.target.kind)]


# --- what differs in two payloads ---


def changes(kind: Kind, before: bytes, after: bytes) -> Iterator[FieldChange]:
    """The smallest places that differ."""
    if kind == "hl7":
        yield from _hl7_changes(before, after)
        return
    one, two = (dict(_flat(kind, payload)) for payload in (before, after))
    for place in dict.fromkeys((*one, *two)):
        if one.get(place) != two.get(place):
            yield FieldChange(
                place=place, name=place.rpartition(" ")[2], before=one.get(place), after=two.get(place)
            )


def _hl7_changes(before: bytes, after: bytes) -> Iterator[FieldChange]:
    for change in differences(before, after):
        try:
            parse_path(change.place)
        except ValueError:  # a whole segment, or blanks between them
            yield FieldChange(place=change.place, name=change.place, before=change.before, after=change.after)
            continue
        for place, old, new in finest("hl7", change.place, change.before or "", change.after or ""):
            yield FieldChange(place=place, name=place, before=old, after=new)


def _flat(kind: Kind, payload: bytes) -> Iterator[tuple[str, Field]]:
    """Attributes of a row, or what is written over those of an object, by place."""
    found: Mapping[str, Any] = from_json(payload.decode()) if kind == "worklist" else json.loads(payload)
    if kind == "dicom":
        found = from_json(json.dumps({**found, **(found.get("coerce") or {}), "coerce": ""}))
    yield from _leaves(found, "")


def _leaves(attributes: Mapping[str, Any], within: str) -> Iterator[tuple[str, Field]]:
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value):
                # A row has one step, and `broker test` names its attributes without the sequence.
                step = key == "ScheduledProcedureStepSequence"
                yield from _leaves(item, within if step else f"{within}{key}[{number}] ")
        else:
            yield f"{within}{_tagged(key)}", value if isinstance(value, str | tuple) else str(value)


def _tagged(key: str) -> str:
    try:
        return f"{place_of(key)} {key}"
    except BrokerError:
        return key
