"""An event seen through the registers: what routes read and renderers render. Pure; it changes nothing.

Also the field catalogue: every name an expression may use, with its type, derived from the payloads of
`broker.event` so that the two cannot differ.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from broker.event import (
    CONFIDENTIAL,
    Code,
    Encounter,
    Event,
    Identifier,
    Instance,
    Order,
    Patient,
    Payload,
    PerformedStep,
    PersonName,
    Result,
    Step,
    Study,
)
from broker.hl7.er7 import Message

FactType = Literal["string", "list", "bool", "int", "name"]

TIME = "time"
"""The fact that says which of a code's rows holds: when the message was received, UTC, `YYYYMMDDHHMMSS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One event with what the registers knew once it was folded in."""

    event: Event
    message: Message | None = None
    """The HL7 message that caused the event; None for DICOM."""
    patient: Patient | None = None
    """The surviving patient as PAS has it (or as the order said, while PAS knows nobody)."""
    patient_key: str = ""
    """Key of the patient's lane."""
    verified: bool = False
    """PAS knows this patient."""
    encounter: Encounter | None = None
    order: Order | None = None
    step: Step | None = None
    """The step with everything earlier events said of it."""
    performed: PerformedStep | None = None
    """The MPPS with everything earlier events said of it."""
    raw: bytes = b""
    """Of an MPPS: the Part 10 file that caused the event, its data set as it came."""
    inherits: bool = False
    """The address is protected because the mother's is (`broker.registers.protection`)."""

    @property
    def protected(self) -> bool:
        """The patient's address is protected. No fact: neither a route nor an expression can tell it on."""
        return self.inherits or (self.patient is not None and self.patient.protected is True)

    def facts(self) -> dict[str, Any]:
        """The view as a flat dict over the catalogue: absent texts are `""`, absent lists `()`."""
        values: dict[str, Any] = dict(_defaults())
        values["type"] = self.event.type
        values["site"] = self.event.site
        values["source"] = self.event.source
        values[TIME] = f"{self.event.time.astimezone(UTC):%Y%m%d%H%M%S}"
        values["patient.verified"] = self.verified
        if self.patient is not None and self.patient.identifiers:
            first = self.patient.identifiers[0]
            values["patient.id"], values["patient.issuer"] = first.value, first.issuer
        parts: Mapping[str, Payload | None] = {
            "patient": self.patient,
            "encounter": self.encounter or self.event.data.encounter,
            "order": self.order or self.event.data.order,
            "step": self.step or self.event.data.step,
            "performed": self.performed or self.event.data.performed,
            "instance": self.event.data.instance,
            "study": self.event.data.study,
            "result": self.event.data.result,
        }
        for prefix, payload in parts.items():
            if payload is not None:
                _fill(values, prefix, payload)
        return values


@cache
def catalogue() -> Mapping[str, FactType]:
    """Every name an expression may read, with its type."""
    names: dict[str, FactType] = {
        "type": "string",
        "site": "string",
        "source": "string",
        TIME: "string",
        "patient.id": "string",
        "patient.issuer": "string",
        "patient.verified": "bool",
    }
    roots: Mapping[str, type[Payload]] = {
        "patient": Patient,
        "encounter": Encounter,
        "order": Order,
        "step": Step,
        "performed": PerformedStep,
        "instance": Instance,
        "study": Study,
        "result": Result,
    }
    for prefix, model in roots.items():
        for name, info in model.model_fields.items():
            if name in CONFIDENTIAL:
                continue
            names.update(_catalogue_of(f"{prefix}.{name}", info.annotation))
    return types.MappingProxyType(names)


def _catalogue_of(name: str, annotation: Any) -> dict[str, FactType]:
    kind = _bare(annotation)
    if kind is PersonName:
        return {name: "name", **{f"{name}.{part}": "string" for part in PersonName.model_fields}}
    if kind is Identifier:
        return {name: "string", f"{name}.issuer": "string"}
    if kind is Code:
        return {f"{name}.{part}": "string" for part in Code.model_fields}
    if get_origin(kind) is tuple:
        return {name: "list"} if get_args(kind)[0] is str else {}
    if kind is int:
        return {name: "int"}
    return {name: "string"}


def _bare(annotation: Any) -> Any:
    """The annotation without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        return members[0] if len(members) == 1 else annotation
    return annotation


@cache
def _defaults() -> Mapping[str, Any]:
    empty: Mapping[FactType, Any] = {"string": "", "list": (), "bool": False, "int": 0, "name": PersonName()}
    return {name: empty[kind] for name, kind in catalogue().items()}


def _fill(values: dict[str, Any], prefix: str, payload: Payload) -> None:
    stated = (
        payload.__dict__
    )  # a fact is made for every event and every route: pydantic's own way in costs more
    for name, key, parts in _places(prefix, type(payload)):
        value = stated[name]
        if value is None:
            continue
        if key:
            values[key] = value.value if isinstance(value, Identifier) else value
        for part, place in parts:
            values[place] = getattr(value, part)


@cache
def _places(prefix: str, model: type[Payload]) -> tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]:
    """Of each field that is a fact: its name, the fact of its own (empty: none), and those of its parts."""
    found = []
    for name, info in model.model_fields.items():
        key, kind = f"{prefix}.{name}", _bare(info.annotation)
        parts: tuple[str, ...] = ()
        if kind is Identifier:
            parts = ("issuer",)
        elif kind in (PersonName, Code):
            parts = tuple(kind.model_fields)
        own = key if key in catalogue() else ""
        if own or parts:
            found.append((name, own, tuple((part, f"{key}.{part}") for part in parts)))
    return tuple(found)
