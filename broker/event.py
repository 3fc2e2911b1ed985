"""Canonical events: what happened, in the broker's own words, whoever said it.

Typed payloads inside a CloudEvents 1.0 envelope. No transport objects, no I/O, and no contact data: address,
telephone, next of kin and employer have no field here, so that no event can leak them (invariant 11); a route
with `purpose: contact` forwards the source message instead.

In every payload `None` means "the sender did not say" (keep what is known) and `""` means "the sender cleared
it" (HL7 null, HL7 v2.5.1 2.5.3).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = "1"

EventType = Literal[
    "patient.registered",
    "patient.updated",
    "patient.merged",
    "patient.id-changed",
    "patient.moved",
    "patient.linked",
    "patient.unlinked",
    "patient.split",
    "encounter.planned",
    "encounter.started",
    "encounter.moved",
    "encounter.changed",
    "encounter.reassigned",
    "encounter.ended",
    "encounter.cancelled",
    "encounter.missed",
    "order.placed",
    "order.changed",
    "order.cancelled",
    "step.scheduled",
    "step.changed",
    "step.arrived",
    "step.started",
    "step.completed",
    "step.discontinued",
    "step.cancelled",
    "step.expired",
    "instance.received",
    "study.completed",
    "study.stored",
    "study.committed",
    "study.rejected",
    "study.restored",
    "study.available",
    "commitment.requested",
    "commitment.reported",
    "result.available",
    "result.withdrawn",
    "observation.recorded",
    "document.received",
    "consent.changed",
    "exception.closed",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

OPERATOR = "operator"
"""Source of what people decide about patients: no listener may have this name."""

CLOCK = "clock"
"""Source of what time brings about: no listener may have this name."""

BY_TIME: tuple[EventType, ...] = ("step.expired", "study.completed", "study.stored", "commitment.reported")
"""Events that the clock makes."""

StepStatus = Literal["SCHEDULED", "ARRIVED", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED", "EXPIRED"]

PerformedStatus = Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
"""(0040,0252), PS3.3 C.4.14."""

VisitStatus = Literal["PLANNED", "ACTIVE", "ENDED", "CANCELED"]

Restorable = Literal["status", "location", "temporary_location", "on_leave", "attending", "discharged"]

CONFIDENTIAL = frozenset({"protected", "imported"})
"""Fields of a patient and of a step that stay inside: not published, and no expression can read them."""


class Payload(BaseModel):
    """Base of every payload: frozen, strict, unknown keys refused, values never shown in errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class Identifier(Payload):
    """An identifier with its issuer (HL7 CX, EI; DICOM Patient ID with issuer)."""

    value: str
    namespace: str = ""
    oid: str = ""
    oid_type: str = ""
    type_code: str = ""
    temporary: bool = False
    """The listener's settings say that it stands for somebody until it is known who that is (`identity.class_of`)."""

    @property
    def issuer(self) -> str:
        """Who issued it: the universal id where there is one, else the namespace, else empty."""
        return self.oid or self.namespace

    @property
    def key(self) -> tuple[str, str]:
        """(issuer, value): what makes two identifiers the same."""
        return (self.oid or self.namespace, self.value)


class PersonName(Payload):
    """A person's name in its parts (HL7 XPN, XCN; DICOM PN has the same five plus none for degree)."""

    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""

    def __bool__(self) -> bool:
        return bool(self.family or self.given or self.middle)


class Code(Payload):
    """A coded concept (HL7 CE/CWE: identifier, text, coding system)."""

    code: str = ""
    text: str = ""
    system: str = ""


class Patient(Payload):
    """Who the patient is: identifiers and the demographics that DICOM needs."""

    identifiers: tuple[Identifier, ...]
    name: PersonName | None = None
    birth_date: str | None = None
    """`YYYYMMDD`, shorter when the sender knows less."""
    sex: str | None = None
    """`M`, `F`, `O`, or empty (DICOM CS; HL7 A and N become O, U becomes empty)."""
    mother: Identifier | None = None
    """PID-21; with an empty value: cleared."""
    multiple_birth: str | None = None
    """PID-24, `Y` or `N`."""
    birth_order: str | None = None
    """PID-25: which of several."""
    deceased: str | None = None
    """PID-30, `Y` or `N`."""
    unknown: str | None = None
    """PID-31, `Y`: who this is is not known yet; what stands in the other fields is a placeholder."""
    as_of: str | None = None
    """When what is said here held, as the sender wrote it: PID-33, else EVN-6. None: as of its arrival."""
    protected: bool | None = None
    """The address is protected. The grading itself is confidential (`CONFIDENTIAL`)."""


class Encounter(Payload):
    """A visit, or an appointment for one: its number, class and place."""

    visit_number: Identifier | None = None
    appointment: Identifier | None = None
    """SCH-2, else SCH-1: this is the appointment, which may have a visit number before the patient comes."""
    status: VisitStatus | None = None
    """None: keep the status it has."""
    patient_class: str | None = None
    location: str | None = None
    """PV1-3 point of care, room and bed joined with `^`."""
    prior_location: str | None = None
    """PV1-6, written as `location` is."""
    temporary_location: str | None = None
    """PV1-11: where the patient is for now, while the bed is kept; empty: nowhere else."""
    on_leave: str | None = None
    """`Y` while the patient is away and the bed is kept."""
    facility: str | None = None
    service: str | None = None
    """PV1-10: the department that the patient is here for."""
    attending: PersonName | None = None
    referring: PersonName | None = None
    start: str | None = None
    """When it is planned to begin: PV2-8, SCH-11.4. `YYYYMMDD` or longer, local time of the sender."""
    admitted: str | None = None
    discharged: str | None = None
    restores: tuple[Restorable, ...] = ()
    """What goes back to the value it had before its last change, because that change is taken back."""

    def is_at(self, clinic: str) -> bool:
        """Whether the patient is at a place (point of care, `^` room) or with a `service:<PV1-10>`."""
        kind, _, service = clinic.partition("service:")
        if not kind and service:
            return self.service == service
        places = (self.location or "", self.temporary_location or "")
        return any(place == clinic or place.startswith(f"{clinic}^") for place in places)


class Order(Payload):
    """An order as the placer and the filler number it."""

    control: str = ""
    """ORC-1."""
    status: str = ""
    """ORC-5."""
    placer_number: Identifier | None = None
    filler_number: Identifier | None = None
    accession_number: Identifier | None = None
    procedure: Code | None = None
    requester: PersonName | None = None
    reason: str = ""
    whole: StepStatus | None = None
    """The order ends as a whole, all its steps with it, in this status; None where steps speak for themselves."""


class Step(Payload):
    """One scheduled procedure step: what a worklist row is made of (PS3.4 K.6.1.2, IHE RAD-4)."""

    key: str
    """Stable key of the row: filler order and SPS id (derivation: docs/worklist.md)."""
    status: StepStatus | None = None
    """None: keep the status it has (ORC-1 XO with empty ORC-5)."""
    clinic: str = ""
    """The place or service of a clinic table whose visits make this step without an order; empty: of an order."""
    step_id: str
    accession_number: str = ""
    accession_issuer: str = ""
    requested_procedure_id: str = ""
    study_uid: str
    study_uid_derived: bool = False
    """The sender gave none: it was derived (docs/worklist.md)."""
    modality: str = ""
    station_aets: tuple[str, ...] = ()
    """AE titles that the sender itself named (IPC-9)."""
    station_codes: tuple[str, ...] = ()
    """Codes of the place or device, the most specific first, for a station table to turn into AE titles."""
    station_name: str = ""
    location: str = ""
    start_date: str = ""
    """`YYYYMMDD`, local time of the site; empty when the sender gave none. Never invented."""
    start_time: str = ""
    """`HHMM` or `HHMMSS`; empty when unknown."""
    description: str = ""
    protocol: Code | None = None
    procedure: Code | None = None
    performing_physician: PersonName | None = None
    priority: str = ""
    """DICOM CS of (0040,1003): STAT, HIGH, ROUTINE, MEDIUM, LOW or empty."""
    imported: str = ""
    """Attributes of a row that came as one (`broker worklist import`), as JSON; they fill what nothing else says. Stays
    inside: it is not published."""


class StepReference(Payload):
    """A scheduled step that a modality says it performs: an item of (0040,0270)."""

    study_uid: str
    accession_number: str = ""
    step_id: str = ""
    """(0040,0009); empty: nothing was scheduled."""


class PerformedSeries(Payload):
    """A series that came of it: an item of (0040,0340)."""

    series_uid: str
    instances: tuple[str, ...] = ()
    """SOP Instance UIDs, of images and of everything else."""


class PerformedStep(Payload):
    """A modality performed procedure step (PS3.3 C.4.13 to C.4.16) as one N-CREATE or N-SET says it: empty keeps."""

    uid: str
    status: PerformedStatus | None = None
    calling_aet: str
    station_aet: str = ""
    modality: str = ""
    started: str = ""
    """`YYYYMMDDHHMMSS`, the modality's local time."""
    ended: str = ""
    discontinuation: str = ""
    """Code value of (0040,0281), CID 9300: `110514` is the wrong worklist entry."""
    steps: tuple[StepReference, ...] = ()
    series: tuple[PerformedSeries, ...] = ()
    issuer_stated: bool = False
    """It names the issuer of its Patient ID itself."""


class Instance(Payload):
    """One DICOM instance that was received and stands on disk."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax_uid: str
    accession_number: str = ""
    modality: str = ""
    path: str
    """Relative to the data folder."""
    size: int
    sha256: str
    """Of the data set, under its transfer syntax."""
    calling_aet: str
    issuer_stated: bool = False
    """The object itself names the issuer of its Patient ID."""
    neonatal: bool = False
    """It came from a device that stands where only newborns are examined (the listener's settings)."""


class InstanceReference(Payload):
    """An instance that something is said of: an item of (0008,1199), (0008,1198) and the like."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str = ""
    failure: int = 0
    """(0008,1197), PS3.3 C.14.1.1; 0: none."""


class Study(Payload):
    """What is said of a study, or of some of its instances. Which parts stand depends on the event's type."""

    study_uid: str = ""
    """Empty: of a storage commitment, whose instances may be of several."""
    accession_number: str = ""
    basis: Literal["", "mpps", "quiet"] = ""
    """Why it counts as complete: everything that its MPPS list is here, or nothing came for a while."""
    number: int = 0
    """Instances of it that are here; of a rejection, and of one that is taken back: that stay in use."""
    expected: int = 0
    """Instances that its MPPS list; 0: none does."""
    archive: str = ""
    """The destination that has them (stored), or answers for them (committed)."""
    transaction_uid: str = ""
    """(0008,1195) of a storage commitment."""
    requester: str = ""
    """AE title of the device that asked for the commitment."""
    reason: Code | None = None
    """Title of a rejection note (PS3.16 CID 7010), or of one that takes another back."""
    note: str = ""
    """SOP Instance UID of that note."""
    retrieve_aet: str = ""
    """Of an availability: where they can be retrieved (0008,0054)."""
    availability: Literal["", "ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE"] = ""
    """(0008,0056)."""
    instances: tuple[InstanceReference, ...] = ()
    """Those that it is about; of a rejection: none means all of the study."""


class Result(Payload):
    """A report or a set of observations, passed on whole; only what routing needs is read."""

    placer_number: Identifier | None = None
    filler_number: Identifier | None = None
    service: Code | None = None
    status: str = ""
    """OBR-25."""


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
