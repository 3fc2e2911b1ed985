"""What each trigger of PAS means, or why it is refused: one declaration, and docs/pas.md is held against it.

IHE PAM (ITI-30, ITI-31), the triggers of older senders, and SIU. The code that reads the segments is `mapping.py`
and `appointments.py`. A trigger that stands nowhere here is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from broker.event import EventType, Restorable, VisitStatus

Begin = Literal["", "admitted", "event", "planned"]
"""Which time an order-less step gets: PV1-44 else the event's, the event's, PV2-8. Empty: the trigger makes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A trigger about a visit: who the patient is, then what became of the visit."""

    patient: EventType = "patient.updated"
    event: EventType = "encounter.changed"
    status: VisitStatus | None = None
    sets: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the encounter that the trigger itself says, whatever stands in PV1."""
    restores: tuple[Restorable, ...] = ()
    begin: Begin = ""
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A trigger about a person, or about two: PID, or PID with MRG."""

    event: EventType
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reassigned:
    """A trigger about whose visit it is, or under which number."""

    prior: int
    """Field of MRG that names the visit: 5, or 3 (the account, for senders that number visits so)."""
    required: bool = True
    """The number under which it goes on (PV1-19, PID-18) must stand there."""
    means: str


def _visits() -> dict[str, Visit]:
    return {
        "A01": Visit(patient="patient.registered", event="encounter.started", status="ACTIVE", begin="admitted",
                     means="admitted"),
        "A02": Visit(event="encounter.moved", sets={"temporary_location": ""}, begin="event", means="moved"),
        "A03": Visit(event="encounter.ended", status="ENDED",
                     means="discharged; the bed is free, late images are still the visit's"),
        "A04": Visit(patient="patient.registered", event="encounter.started", status="ACTIVE", begin="admitted",
                     means="came as an outpatient or to the emergency department"),
        "A05": Visit(patient="patient.registered", event="encounter.planned", status="PLANNED", begin="planned",
                     means="is expected"),
        "A06": Visit(event="encounter.moved", begin="event", means="became an inpatient"),
        "A07": Visit(event="encounter.moved", begin="event", means="became an outpatient"),
        "A09": Visit(sets={"temporary_location": ""}, means="left for another place; the bed is kept"),
        "A10": Visit(sets={"temporary_location": None}, begin="event",
                     means="is at the place of PV1-11 for now; without it back in the own bed"),
        "A11": Visit(event="encounter.cancelled", status="CANCELED", restores=("status",),
                     means="was not admitted after all; planned again where it was"),
        "A12": Visit(event="encounter.moved", restores=("location", "temporary_location"), begin="event",
                     means="was not moved after all: back to PV1-3, else to where the visit was before"),
        "A13": Visit(event="encounter.started", status="ACTIVE", restores=("discharged",), begin="admitted",
                     means="was not discharged after all"),
        "A14": Visit(event="encounter.planned", status="PLANNED", begin="planned", means="is expected"),
        "A15": Visit(means="will be moved; nothing changes yet"),
        "A16": Visit(means="will be discharged; nothing changes yet"),
        "A21": Visit(sets={"on_leave": "Y"}, means="is on leave: in no bed and on no order-less worklist"),
        "A22": Visit(sets={"on_leave": "N"}, means="is back from leave"),
        "A25": Visit(means="will not be discharged yet"),
        "A26": Visit(means="will not be moved yet"),
        "A27": Visit(event="encounter.cancelled", status="CANCELED", means="is not expected any more"),
        "A32": Visit(restores=("temporary_location",), means="did not arrive there after all"),
        "A33": Visit(restores=("temporary_location",), means="did not leave after all"),
        "A38": Visit(event="encounter.cancelled", status="CANCELED", means="is not expected any more"),
        "A52": Visit(restores=("on_leave",), means="did not go on leave after all"),
        "A53": Visit(restores=("on_leave",), means="did not come back from leave after all"),
        "A54": Visit(means="has another attending doctor"),
        "A55": Visit(restores=("attending",), means="has the attending doctor from before"),
    }  # fmt: skip


VISITS: Final[Mapping[str, Visit]] = MappingProxyType(_visits())

PERSONS: Final[Mapping[str, Person]] = MappingProxyType(
    {
        "A08": Person(event="patient.updated", means="the demographics; no visit is moved by it"),
        "A28": Person(event="patient.registered", means="a person is added"),
        "A31": Person(event="patient.updated", means="the demographics"),
    }
)

PAIRS: Final[Mapping[str, Person]] = MappingProxyType(
    {
        "A18": Person(event="patient.merged", means="as A40, of older senders"),
        "A30": Person(event="patient.merged", means="as A40, of older senders"),
        "A34": Person(event="patient.merged", means="as A40, of older senders"),
        "A36": Person(event="patient.merged", means="as A40; the visits come along, so MRG-3 adds nothing"),
        "A39": Person(event="patient.merged", means="as A40, of older senders"),
        "A40": Person(event="patient.merged", means="MRG-1 ends, and what was its is PID-3's"),
        "A43": Person(event="patient.moved", means="MRG-1 is an identifier of PID-3's patient from now on"),
        "A46": Person(event="patient.id-changed", means="as A47, of older senders"),
        "A47": Person(event="patient.id-changed", means="MRG-1 ends, PID-3 goes on with the same record"),
    }
)
"""Each PID with its MRG-1."""

TWO: Final[Mapping[str, Person]] = MappingProxyType(
    {
        "A24": Person(event="patient.linked", means="the two PIDs belong together; both records stay"),
        "A37": Person(event="patient.unlinked", means="the two PIDs do not belong together"),
    }
)
"""Two PIDs without MRG."""

SWAP: Final = "A17"
"""Two patients change beds: two PIDs, each with its PV1."""

SWAP_MEANS: Final = "two patients change places; of each"

REASSIGNED: Final[Mapping[str, Reassigned]] = MappingProxyType(
    {
        "A35": Reassigned(prior=3, means="the visits of account MRG-3 go on under PID-18"),
        "A41": Reassigned(prior=3, means="the visits of account MRG-3 go on under PID-18"),
        "A42": Reassigned(prior=5, means="visit MRG-5 goes on as PV1-19"),
        "A44": Reassigned(prior=3, required=False, means="the visit of account MRG-3 is PID-3's patient's"),
        "A45": Reassigned(prior=5, means="visit MRG-5 is PID-3's patient's, as PV1-19"),
        "A49": Reassigned(prior=3, means="the visit of account MRG-3 has the number PID-18"),
        "A50": Reassigned(prior=5, means="visit MRG-5 has the number PV1-19"),
    }
)

APPOINTMENTS: Final[Mapping[str, Visit]] = MappingProxyType(
    {
        "S12": Visit(event="encounter.planned", status="PLANNED", begin="planned", means="booked"),
        "S13": Visit(status="PLANNED", begin="planned", means="another time"),
        "S14": Visit(status="PLANNED", begin="planned", means="changed"),
        "S15": Visit(event="encounter.cancelled", status="CANCELED", means="cancelled"),
        "S26": Visit(event="encounter.missed", status="CANCELED", means="the patient did not come"),
    }
)
"""Of SIU. They say nothing new of the patient, so that no `patient.*` event comes of them."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "A20": "the state of a bed names no patient",
        "A60": "allergies are not kept here",
        "A61": "consulting doctors are not kept here",
        "A62": "consulting doctors are not kept here",
    }
)
"""Answered AA and counted (`filtered`)."""

_BY_A_PERSON: Final = (
    "nothing is deleted by message: end the visit (A03, A11) or merge the record (A40); where it must go, ask the"
    " broker's operator, who looks for open worklist rows and studies first"
)

REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "A23": _BY_A_PERSON,
        "A29": _BY_A_PERSON,
        "A48": "the alternate patient id (PID-4) is not read: send the change as A47, with the ids in MRG-1 and PID-3",
        "A51": "the alternate visit id (PV1-50) is not read; list ADT^A51 in `ignore` where it is not needed",
    }
)
"""Answered AE with this text."""


def means() -> dict[str, str]:
    """Message type to what it is taken to mean, of all that is not refused."""
    found = {
        f"ADT^{t}": m.means for group in (VISITS, PERSONS, PAIRS, TWO, REASSIGNED) for t, m in group.items()
    }
    found |= {f"ADT^{SWAP}": SWAP_MEANS}
    found |= {f"SIU^{t}": v.means for t, v in APPOINTMENTS.items()}
    return found | {f"ADT^{t}": f"nothing: {why}" for t, why in NOTHING.items()}


def rows() -> list[tuple[str, str, str]]:
    """Trigger, events and meaning of everything that is known here: the table of docs/pas.md."""
    found = {t: (f"{v.patient}, {v.event}", v.means) for t, v in VISITS.items()}
    found |= {t: (p.event, p.means) for group in (PERSONS, PAIRS, TWO) for t, p in group.items()}
    found[SWAP] = ("patient.updated, encounter.moved", SWAP_MEANS)
    found |= {t: ("patient.updated, encounter.reassigned", r.means) for t, r in REASSIGNED.items()}
    found |= {t: (v.event, v.means) for t, v in APPOINTMENTS.items()}
    found |= {t: ("none: answered AA", why) for t, why in NOTHING.items()}
    found |= {t: ("refused with AE", why) for t, why in REFUSED.items()}
    return [(trigger, *found[trigger]) for trigger in sorted(found)]
