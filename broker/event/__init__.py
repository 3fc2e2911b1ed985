"""Canonical events: what happened, in the broker's own words, whoever said it.

Typed payloads inside a CloudEvents 1.0 envelope. No transport objects, no I/O, and no contact data: address,
telephone, next of kin and employer have no field here, so that no event can leak them (invariant 11); a route
with `purpose: contact` forwards the source message instead.

In every payload `None` means "the sender did not say" (keep what is known) and `""` means "the sender cleared
it" (HL7 null, HL7 v2.5.1 2.5.3).

Everything is imported from here: the types of events (`kinds`), what is said of care (`care`) and of images
(`imaging`), both made of the same `values`, and the `envelope` around it.
"""

from broker.event.care import Encounter, Order, Patient, Restorable, Result, Step, StepStatus, VisitStatus
from broker.event.envelope import (
    CONFIDENTIAL,
    SCHEMA_VERSION,
    Closing,
    Decision,
    Draft,
    Event,
    EventData,
    json_schema,
)
from broker.event.imaging import (
    Instance,
    InstanceReference,
    PerformedSeries,
    PerformedStatus,
    PerformedStep,
    StepReference,
    Study,
)
from broker.event.kinds import BY_TIME, CLOCK, EVENT_TYPES, OPERATOR, EventType
from broker.event.values import Code, Identifier, Payload, PersonName

__all__ = [
    "BY_TIME",
    "CLOCK",
    "CONFIDENTIAL",
    "EVENT_TYPES",
    "OPERATOR",
    "SCHEMA_VERSION",
    "Closing",
    "Code",
    "Decision",
    "Draft",
    "Encounter",
    "Event",
    "EventData",
    "EventType",
    "Identifier",
    "Instance",
    "InstanceReference",
    "Order",
    "Patient",
    "Payload",
    "PerformedSeries",
    "PerformedStatus",
    "PerformedStep",
    "PersonName",
    "Restorable",
    "Result",
    "Step",
    "StepReference",
    "StepStatus",
    "Study",
    "VisitStatus",
    "json_schema",
]
