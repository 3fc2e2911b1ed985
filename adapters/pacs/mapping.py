"""The head of a received instance to `instance.received`. Pure: attributes in, draft out; no file is opened.

The identity that the object states is taken as it stands; whose it is, the registers say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker import identity, nationalid
from broker.adapter import Reception, Verdict
from broker.dicom import status
from broker.dicom.attributes import Attributes
from broker.event import Draft, Event, EventData, Identifier, Instance, Patient, PersonName
from broker.hl7.demographics import SEX, Issuers
from broker.reception import search_keys

HEAD: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AccessionNumber",
    "Modality",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
)
"""What is read of an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What is known of a received file beside its attributes."""

    path: str
    size: int
    sha256: str
    transfer_syntax_uid: str
    calling_aet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one storage service reads what it is sent."""

    name: str
    site: str
    issuers: Issuers
    national: tuple[Identifier, ...] = ()
    """Issuers of national numbers, tried for an id that names no issuer and has the length of one."""
    neonatal_aets: frozenset[str] = frozenset()
    """Calling AE titles of devices that examine newborns only."""


def receive(
    head: Attributes, arrived: Arrived, profile: Profile, *, message_id: str, now: datetime, raw: bytes = b""
) -> Reception:
    """An instance that stands on disk, as commit 1 writes it."""
    draft = map_instance(head, arrived, profile)
    event = Event(
        id=f"{message_id}.0",
        type=draft.type,
        source=profile.name,
        site=profile.site,
        time=now,
        message_id=message_id,
        data=draft.data,
    )
    return Reception(
        message_id=message_id,
        source=profile.name,
        site=profile.site,
        peer=arrived.calling_aet,
        protocol="dicom",
        received=now,
        message_type="C-STORE",
        sender=arrived.calling_aet,
        verdict=Verdict.ACCEPTED,
        answer_code=f"{status.SUCCESS:04X}",
        raw=raw,
        blob=arrived.path,
        flags=_remarks(draft, profile),
        keys=search_keys((event,)),
        events=(event,),
    )


def refused(
    reason: str, profile: Profile, *, message_id: str, now: datetime, peer: str = "", raw: bytes = b""
) -> Reception:
    """What is no DICOM object, or not the one that was announced."""
    return Reception(
        message_id=message_id,
        source=profile.name,
        site=profile.site,
        peer=peer,
        protocol="dicom",
        received=now,
        message_type="C-STORE",
        sender=peer,
        verdict=Verdict.REJECTED,
        reason=reason,
        answer_code=f"{status.DATA_SET_MISMATCH:04X}",
        raw=raw,
    )


def map_instance(head: Attributes, arrived: Arrived, profile: Profile) -> Draft:
    """The object's identity as it states it, and where its bytes are."""
    name = text(head, "PatientName")
    sex = text(head, "PatientSex").upper()
    patient = Patient(
        identifiers=_identifiers(head, profile),
        name=_person_name(name) if name else None,
        birth_date=text(head, "PatientBirthDate") or None,
        sex=SEX.get(sex, "") if sex else None,
    )
    instance = Instance(
        sop_class_uid=text(head, "SOPClassUID"),
        sop_instance_uid=text(head, "SOPInstanceUID"),
        study_uid=text(head, "StudyInstanceUID"),
        series_uid=text(head, "SeriesInstanceUID"),
        transfer_syntax_uid=arrived.transfer_syntax_uid,
        accession_number=text(head, "AccessionNumber"),
        modality=text(head, "Modality"),
        path=arrived.path,
        size=arrived.size,
        sha256=arrived.sha256,
        calling_aet=arrived.calling_aet,
        issuer_stated=any(_issuer(head)),
        neonatal=arrived.calling_aet in profile.neonatal_aets,
    )
    return Draft(type="instance.received", data=EventData(patient=patient, instance=instance))


def text(head: Attributes, keyword: str) -> str:
    """A single text of the head, trimmed; empty when absent or not a text."""
    value = head.get(keyword, "")
    return value.strip() if isinstance(value, str) else ""


def _issuer(head: Attributes) -> tuple[str, str, str]:
    """Namespace, universal id and its type that the object names as issuer of its Patient ID."""
    namespace, oid, oid_type = text(head, "IssuerOfPatientID"), "", ""
    qualifiers = head.get("IssuerOfPatientIDQualifiersSequence", ())
    if isinstance(qualifiers, tuple) and qualifiers and not isinstance(qualifiers[0], str):
        oid, oid_type = text(qualifiers[0], "UniversalEntityID"), text(qualifiers[0], "UniversalEntityIDType")
    return namespace, oid, oid_type


def _identifiers(head: Attributes, profile: Profile) -> tuple[Identifier, ...]:
    """The object's id under its own issuer; without one under each that it may be of, the site's first."""
    value = text(head, "PatientID")
    if not value:
        return ()
    namespace, oid, oid_type = _issuer(head)
    own = profile.issuers.complete(value, namespace, oid, oid_type, "")
    if namespace or oid or not nationalid.has_length(value):
        return (own,)
    return (own, *(issuer.model_copy(update={"value": value}) for issuer in profile.national))


def _remarks(draft: Draft, profile: Profile) -> tuple[str, ...]:
    """What is to be remarked of the id; an object is taken whatever it is.

    Of an id that names no issuer, its shape must say which national number it may be.
    """
    said = draft.data.patient
    if said is None or not said.identifiers:
        return ()
    stated, *tried = said.identifiers
    number = nationalid.read(stated.value) if tried else None
    if number is not None and number.valid:
        stated = next((i for i in tried if nationalid.kind_of(i.issuer) == number.kind), stated)
    return identity.flags(stated, profile.issuers.rules, birth_date=said.birth_date or "")


def _person_name(text: str) -> PersonName:
    """The alphabetic group of a PN (PS3.5 6.2.1)."""
    family, given, middle, prefix, suffix = (*text.split("=")[0].split("^"), "", "", "", "", "")[:5]
    return PersonName(family=family, given=given, middle=middle, prefix=prefix, suffix=suffix)
