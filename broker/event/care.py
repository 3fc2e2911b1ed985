"""What PAS, RIS and laboratory say: the patient, visits, orders, scheduled steps, results. Nothing of images."""

from __future__ import annotations

from typing import Literal

from broker.event.values import Code, Identifier, Payload, PersonName

StepStatus = Literal["SCHEDULED", "ARRIVED", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED", "EXPIRED"]

VisitStatus = Literal["PLANNED", "ACTIVE", "ENDED", "CANCELED"]

Restorable = Literal["status", "location", "temporary_location", "on_leave", "attending", "discharged"]


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


class Result(Payload):
    """A report or a set of observations, passed on whole; only what routing needs is read."""

    placer_number: Identifier | None = None
    filler_number: Identifier | None = None
    service: Code | None = None
    status: str = ""
    """OBR-25."""
