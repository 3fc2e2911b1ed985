"""Worklist rows that come as rows: from Orthanc, wlmscpfs or another worklist server, as files, into the journal.

Each row is a message of the source `operator` with one event, folded and routed like an order's, so that a rebuild
keeps it; what the row has besides fills what PAS and the route do not say. Contact data is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Final, cast

from pydicom import dcmread

from broker import contact, nationalid
from broker.dicom import attributes as dicom
from broker.dicom import dump, uid
from broker.dicom.attributes import Attributes, Value, items_of, text_of
from broker.dicom.dataset import from_dataset
from broker.dicom.fit import with_short_names
from broker.dicom.matching import STEPS
from broker.dicom.vr_faults import vr_faults
from broker.dicom_identity import Profile, person_name, stated
from broker.errors import BrokerError
from broker.event import OPERATOR, Code, EventData, EventType, Patient, Step
from broker.journal import intake
from broker.registers import patients, steps
from broker.runtime.decided import decided
from broker.store.transaction import Transaction

PREFIX: Final = "import|"
"""How the keys of imported steps begin."""


class RowError(BrokerError):
    """A file or a row cannot be taken; the text names place and rule, never a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row of a file."""

    step: Step
    patient: Patient
    raw: bytes
    """The file."""


def files(paths: list[Path]) -> list[Path]:
    """The files, folders looked through: `*.wl` and `*.dump` of them, and no others."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                one for one in path.rglob("*") if one.suffix in (".wl", ".dump") and one.is_file()
            )
        else:
            found.append(path)
    return found


def read(raw: bytes, profile: Profile) -> list[Item]:
    """The rows of a file, one for each scheduled step. Raises `RowError`."""
    try:
        attributes = dump.read(raw) if dump.looks_like(raw) else _dataset(raw)
    except BrokerError as exc:
        raise RowError(str(exc)) from None
    row = _without_contact(attributes)
    items = cast(tuple[Attributes, ...], row.get(STEPS) or ())
    if not items:
        raise RowError("no item in (0040,0100): a worklist row has one for each scheduled step")
    patient = stated(row, profile)
    if not patient.identifiers:
        raise RowError("PatientID is empty: nobody could tell whose row it is")
    patient = _one_identifier(patient)
    found = []
    for item in items:
        one = {**row, STEPS: (item,)}
        if broken := vr_faults(with_short_names(one)[0]):
            raise RowError(f"{broken[0].keyword}: {broken[0].text}")
        found.append(Item(step=_step(one, item, profile), patient=patient, raw=raw))
    return found


def _dataset(raw: bytes) -> Attributes:
    try:
        return from_dataset(dcmread(BytesIO(raw), force=True))
    except Exception as exc:  # whatever pydicom raises of bytes that are no data set
        raise RowError("neither a DICOM data set nor DCMTK's text of one") from exc


def _one_identifier(patient: Patient) -> Patient:
    """Of the issuers that an id without one may be of, the one whose kind of number it is."""
    own, *tried = patient.identifiers
    number = nationalid.read(own.value) if tried else None
    if number is not None and number.valid:
        own = next((i for i in tried if nationalid.kind_of(i.issuer) == number.kind), own)
    return patient.model_copy(update={"identifiers": (own,)})


def write(tx: Transaction, item: Item, *, site: str, now: datetime) -> str:
    """Puts the row into the journal. Returns the id of the message."""
    known = steps.get(tx, item.step.key)
    kind: EventType = "step.scheduled" if known is None else "step.changed"
    return _insert(tx, kind, item.patient, item.step, site=site, now=now, raw=item.raw)


def withdraw(tx: Transaction, key: str, *, site: str, now: datetime) -> str:
    """Takes an imported row off the lists. Returns the id of the message. Raises `RowError`."""
    held = steps.get(tx, key)
    if held is None or not key.startswith(PREFIX):
        raise RowError(
            "no imported row has this key: `broker worklist list --all --format json` tells keys; a row of an order"
            " ends by its order"
        )
    if held.step.status not in steps.OPEN:
        raise RowError(f"the step is {held.step.status} already")
    patient = Patient(identifiers=patients.get(tx, held.patient_key).patient.identifiers)
    step = held.step.model_copy(update={"status": "CANCELED"})
    return _insert(
        tx,
        "step.cancelled",
        patient,
        step,
        site=site,
        now=now,
        raw=f'{{"withdraw":"{step.step_id}"}}'.encode(),
    )


def _insert(
    tx: Transaction, kind: EventType, patient: Patient, step: Step, *, site: str, now: datetime, raw: bytes
) -> str:
    data = EventData(patient=patient, step=step)
    reception = decided(kind, data, source=OPERATOR, site=site, now=now, raw=raw, message_type="IMPORT")
    intake.insert(tx, reception)
    return reception.message_id


def _without_contact(attributes: Attributes) -> Attributes:
    kept: dict[str, Value] = {}
    for key, value in attributes.items():
        if key in contact.KEYWORDS or key == dicom.SPECIFIC_CHARACTER_SET:
            continue
        nested = isinstance(value, tuple) and value and not isinstance(value[0], str)
        items = cast(tuple[Attributes, ...], value)
        kept[key] = tuple(_without_contact(item) for item in items) if nested else value
    return kept


def _step(row: Attributes, item: Attributes, profile: Profile) -> Step:
    accession, step_id = text_of(row, "AccessionNumber"), text_of(item, "ScheduledProcedureStepID")
    issuer = next(iter(items_of(row.get("IssuerOfAccessionNumberSequence", ""))), {})
    namespace = text_of(issuer, "LocalNamespaceEntityID") or text_of(issuer, "UniversalEntityID")
    study = text_of(row, "StudyInstanceUID")
    requested = text_of(row, "RequestedProcedureID")
    number = accession or requested or study
    if not number:
        raise RowError(
            "AccessionNumber, RequestedProcedureID and StudyInstanceUID are empty: nothing names the order"
        )
    key = f"{PREFIX}{namespace or profile.site}|{number}|{step_id or requested}"
    stations = item.get("ScheduledStationAETitle", "")
    arrived = text_of(item, "ScheduledProcedureStepStatus") == "ARRIVED"
    performing = text_of(item, "ScheduledPerformingPhysicianName")
    return Step(
        key=key,
        status="ARRIVED" if arrived else "SCHEDULED",
        step_id=step_id or requested,
        accession_number=accession,
        accession_issuer=text_of(issuer, "LocalNamespaceEntityID"),
        requested_procedure_id=requested,
        study_uid=study if uid.valid(study) else uid.derive(key),
        study_uid_derived=not uid.valid(study),
        modality=text_of(item, "Modality"),
        station_aets=tuple(
            filter(None, (stations,) if isinstance(stations, str) else cast(tuple[str, ...], stations))
        ),
        station_name=text_of(item, "ScheduledStationName"),
        location=text_of(item, "ScheduledProcedureStepLocation"),
        start_date=text_of(item, "ScheduledProcedureStepStartDate"),
        start_time=text_of(item, "ScheduledProcedureStepStartTime"),
        description=text_of(item, "ScheduledProcedureStepDescription"),
        protocol=_code(item, "ScheduledProtocolCodeSequence"),
        procedure=_code(row, "RequestedProcedureCodeSequence"),
        performing_physician=person_name(performing) if performing else None,
        priority=text_of(row, "RequestedProcedurePriority"),
        imported=dicom.to_json(
            {**row, "StudyInstanceUID": study} if uid.valid(study) else _but(row, "StudyInstanceUID")
        ),
    )


def _but(row: Attributes, keyword: str) -> Attributes:
    return {key: value for key, value in row.items() if key != keyword}


def _code(row: Attributes, keyword: str) -> Code | None:
    item = next(iter(items_of(row.get(keyword, ""))), None)
    if item is None:
        return None
    value = text_of(item, "CodeValue") or text_of(item, "LongCodeValue")
    return Code(code=value, text=text_of(item, "CodeMeaning"), system=text_of(item, "CodingSchemeDesignator"))
