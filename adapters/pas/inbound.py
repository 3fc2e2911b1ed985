"""PAS feeds: ADT and SIU over MLLP. The mapping is next door; the socket and the answering are `broker.net`'s."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from adapters.pas import clinics, triggers
from adapters.pas.mapping import MAKES, mappers
from broker.adapter import InboundSpec, ListenerPlace, Options
from broker.hl7.er7 import parse_path
from broker.hl7.protection import Rule
from broker.net.hl7_listener import Hl7Listener, Listener, profile
from broker.reception import Hl7Reader
from broker.scalars import Text
from broker.statement import IheClaim, Statement


def _path(text: str) -> str:
    parse_path(text)
    return text


class ProtectionRule(Options):
    """A place where PAS says that an address is protected. Values are patterns (`*SPERRET*`), whatever their case."""

    path: Annotated[Text, AfterValidator(_path)] = Field(
        description="HL7 path: PD1-12, PV1-16, PID-11.7, ZPI-4."
    )
    protected: tuple[Text, ...] = Field(default=(), description="Values that say protected.")
    open: tuple[Text, ...] = Field(default=(), description="Values that say not protected.")
    otherwise: Literal["protected", "silent"] = Field(
        default="protected",
        description="What any other value says: `protected`, or `silent`: nothing, where ordinary values stand too.",
    )


PROTECTION: Final[tuple[dict[str, Any], ...]] = (
    {"path": "PD1-12", "protected": ("Y",), "open": ("N",)},
    {"path": "ARV-3", "protected": ("ALL", "DEM", "LOC"), "open": ("NO",)},
    *(
        {"path": path, "protected": ("*SPERRET*ADRESSE*",), "otherwise": "silent"}
        for path in ("PID-11.1", "PID-11.2", "PID-11.3")
    ),
)
"""HL7 v2.5.1 table 0136, HL7 v2.6 table 0717, and what registries write in place of a street."""


class PasListener(Hl7Listener):
    """Options of a PAS listener."""

    clinics: Text = Field(
        default="",
        description="Places whose visits are shown to devices without an order: place, site, modality, aets,"
        " description, location (docs/worklist.md). Empty: none.",
    )
    protection: tuple[ProtectionRule, ...] = Field(
        default=PROTECTION,
        validate_default=True,
        description="Where PAS says that an address is protected (docs/protection.md). Replaces the rules that stand"
        " here by default: PD1-12, ARV-3, and `SPERRET ADRESSE` in the text of an address.",
    )


def rules(protection: Iterable[ProtectionRule]) -> tuple[Rule, ...]:
    """The rules of a listener's settings."""
    return tuple(Rule.of(r.path, r.protected, r.open, r.otherwise) for r in protection)


def reader(config: PasListener, place: ListenerPlace) -> Hl7Reader:
    """A PAS listener without its socket. Raises `ConfigError` for a table that cannot be used."""
    table = clinics.read(place.config_folder / config.clinics) if config.clinics else ()
    reads = replace(profile(config, place), protection=rules(config.protection))
    return Hl7Reader(profile=reads, mappers=mappers(table))


def statement(config: PasListener) -> Statement:
    """What a PAS listener with these options claims."""
    claims = [
        IheClaim(
            transaction="ITI-30",
            name="Patient Identity Management",
            profile="PAM",
            actor="Patient Demographics Consumer",
            limits="options Merge and Link/Unlink; a person is never deleted by message (A29)",
        ),
        IheClaim(
            transaction="ITI-31",
            name="Patient Encounter Management",
            profile="PAM",
            actor="Patient Encounter Consumer",
            limits="the historic movement option (Z99) is refused",
        ),
        IheClaim(
            transaction="ITI-8",
            name="Patient Identity Feed",
            profile="PIX",
            actor="Patient Identifier Cross-reference Manager",
            limits="nothing is cross-referenced by demographics: only PAS links and merges; no ITI-10 is sent",
        ),
        IheClaim(
            transaction="RAD-1",
            name="Patient Registration",
            profile="SWF.b",
            actor="Department System Scheduler/Order Filler",
            limits="the receiver's part only: what worklist rows, images and HL7 destinations are told of the patient",
        ),
        IheClaim(
            transaction="RAD-12",
            name="Patient Update",
            profile="SWF.b, PIR",
            actor="Department System Scheduler/Order Filler",
            limits="worklist rows follow; objects that were stored before are not sent again",
        ),
    ]
    if config.clinics:
        claims.append(
            IheClaim(
                transaction="RAD-130",
                name="Get Encounter Imaging Context",
                profile="EBIW (trial implementation 2019)",
                actor="Encounter Manager",
                limits="by Modality Worklist only, no UPS-RS; for the places that `clinics` names",
            )
        )
    refuses = {f"ADT^{trigger}": why for trigger, why in triggers.REFUSED.items()}
    return Statement(means=triggers.means(), refuses=refuses, claims=tuple(claims))


INBOUND = InboundSpec(
    name="pas",
    summary="ADT and SIU from the patient administration system",
    config=PasListener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes=MAKES,
    needs={"step.scheduled": "clinics"},
    statement=statement,
)
