"""Whose a DICOM object says it is: Patient ID with its issuer, name, birth date and sex, read and written. Pure.

What it states is taken as it stands: whose it really is, the registers say. PS3.3 C.7.1.1 (Patient module).
"""

from __future__ import annotations

from dataclasses import dataclass

from broker import identity, nationalid
from broker.dicom import attributes as dicom
from broker.dicom.attributes import Attributes, Value
from broker.errors import LocalProtocolError
from broker.event import Identifier, Patient, PersonName
from broker.hl7.demographics import SEX, Issuers


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one DICOM service reads what it is sent."""

    name: str
    site: str
    issuers: Issuers
    national: tuple[Identifier, ...] = ()
    """Issuers of national numbers, tried for an id that names no issuer and has the length of one."""
    neonatal_aets: frozenset[str] = frozenset()
    """Calling AE titles of devices that examine newborns only."""


def stated(head: Attributes, profile: Profile) -> Patient:
    """The patient that the object names; without a Patient ID one without identifiers."""
    name, sex = text(head, "PatientName"), text(head, "PatientSex").upper()
    return Patient(
        identifiers=_identifiers(head, profile),
        name=person_name(name) if name else None,
        birth_date=text(head, "PatientBirthDate") or None,
        sex=SEX.get(sex, "") if sex else None,
    )


def text(head: Attributes, keyword: str) -> str:
    """A single text, trimmed; empty when absent or not a text."""
    value = head.get(keyword, "")
    return value.strip() if isinstance(value, str) else ""


def issuer(head: Attributes) -> tuple[str, str, str]:
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
    namespace, oid, oid_type = issuer(head)
    own = profile.issuers.complete(value, namespace, oid, oid_type, "")
    if namespace or oid or not nationalid.has_length(value):
        return (own,)
    return (own, *(known.model_copy(update={"value": value}) for known in profile.national))


def remarks(said: Patient | None, profile: Profile) -> tuple[str, ...]:
    """What is to be remarked of the id (`identity.FLAGS`); an object is taken whatever it is.

    Of an id that names no issuer, its shape must say which national number it may be.
    """
    if said is None or not said.identifiers:
        return ()
    own, *tried = said.identifiers
    number = nationalid.read(own.value) if tried else None
    if number is not None and number.valid:
        own = next((i for i in tried if nationalid.kind_of(i.issuer) == number.kind), own)
    return identity.flags(own, profile.issuers.rules, birth_date=said.birth_date or "")


def person_name(text: str) -> PersonName:
    """The alphabetic group of a PN (PS3.5 6.2.1)."""
    family, given, middle, prefix, suffix = (*text.split("=")[0].split("^"), "", "", "", "", "")[:5]
    return PersonName(family=family, given=given, middle=middle, prefix=prefix, suffix=suffix)


def patient_module(patient: Patient) -> Attributes:
    """The Patient module: the first identifier is Patient ID, the others stand beside it."""
    if not patient.identifiers:
        raise LocalProtocolError("a patient in the register has an identifier")
    first, *others = patient.identifiers
    birth_date = patient.birth_date or ""
    found: dict[str, Value] = {
        "PatientName": dicom.person_name(patient.name) if patient.name else "",
        "PatientBirthDate": birth_date if len(birth_date) == 8 else "",
        "PatientSex": patient.sex or "",
        **dicom.patient_id(first),
    }
    if others:
        # PS3.3 C.7.1.1: an item of it, unlike the Patient ID itself, must say its type.
        typed = {"TypeOfPatientID": "TEXT"}
        found["OtherPatientIDsSequence"] = tuple({**dicom.patient_id(other), **typed} for other in others)
    return found
