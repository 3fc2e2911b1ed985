"""The event in its CloudEvents 1.0 envelope: what a mapping drafts, what is stored, what is published."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from broker.event.care import Encounter, Order, Patient, Result, Step
from broker.event.imaging import Instance, PerformedStep, Study
from broker.event.kinds import EventType
from broker.event.values import Identifier, Payload

SCHEMA_VERSION = "1"

CONFIDENTIAL = frozenset({"protected", "imported"})
"""Fields of a patient and of a step that stay inside: not published, and no expression can read them."""


class Decision(Payload):
    """What two people decided about a change of the patient register (`broker.registers.ledger`)."""

    change: str
    """Id of the change."""
    by: str
    approved_by: str
    reason: str
    plan: str = ""
    """What they were shown: a digest."""


class Closing(Payload):
    """That somebody has seen to what a person had to look at (`broker.registers.exceptions`)."""

    kind: str
    subject: str
    by: str
    reason: str


class EventData(Payload):
    """What the event is about. Which parts stand depends on the event's type."""

    patient: Patient | None = None
    prior: tuple[Identifier, ...] = ()
    """MRG-1: identifiers that end here (merge, id change) or come to this patient (move); of a link, the other's."""
    prior_visits: tuple[Identifier, ...] = ()
    """MRG-5, MRG-3: visits that are this patient's from now on, under the encounter's number if there is one."""
    encounter: Encounter | None = None
    order: Order | None = None
    step: Step | None = None
    performed: PerformedStep | None = None
    instance: Instance | None = None
    study: Study | None = None
    result: Result | None = None
    decision: Decision | None = None
    """Of a split, and of a merge that was held and then released. Stays inside: it is not published."""
    closing: Closing | None = None
    """Stays inside: it is not published."""


class Draft(Payload):
    """An event as a mapping makes it: no envelope yet, because a mapping knows no clock and no ids."""

    type: EventType
    time: str = ""
    """Event time as the sender wrote it (EVN-6, EVN-2, MSH-7)."""
    data: EventData


class Event(Payload):
    """A draft in its envelope (CloudEvents 1.0 attributes plus ours)."""

    id: str
    type: EventType
    source: str
    """Name of the listener that took the message."""
    site: str
    time: datetime
    """When the broker received the message, UTC."""
    event_time: str = ""
    """When it happened, as the sender wrote it."""
    occurred: datetime | None = None
    """`event_time` in UTC; None where the sender gave none to the minute."""
    as_of: datetime | None = None
    """`Patient.as_of` in UTC; None: as of its arrival."""
    message_id: str
    """The message that caused it."""
    data: EventData

    def to_cloudevent(self) -> dict[str, Any]:
        """The event as CloudEvents 1.0 JSON (structured mode); the subject is the message, never a patient."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": f"no.broker.{self.type}",
            "source": f"/{self.site}/{self.source}",
            "subject": self.message_id,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "dataschema": f"urn:hl7-dicom-broker:event:{self.type}:{SCHEMA_VERSION}",
            "eventtime": self.event_time,
            "data": self.data.model_dump(
                exclude_none=True,
                exclude={
                    "patient": set(CONFIDENTIAL),
                    "step": set(CONFIDENTIAL),
                    "decision": True,
                    "closing": True,
                },
            ),
        } | ({} if self.occurred is None else {"occurred": self.occurred.isoformat()})


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the event as it is stored and published."""
    schema = Event.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
