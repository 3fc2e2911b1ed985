"""What an archive has of a patient: asked under every number that he ever had, each with its issuer.

An archive that names no issuer is believed where the number is nobody else's here; one that names another issuer speaks
of somebody else. What is not the patient's, or may not be, is counted and not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.dicom import attributes as dicom
from broker.dicom.attributes import Attributes
from broker.dicom_identity import issuer
from broker.event import Identifier
from broker.hl7.demographics import Issuers, read_issuer
from broker.net.retrieve_scu import RetrieveScu
from broker.registers import patients
from broker.settings import Settings
from broker.store.transaction import Transaction

STUDY_KEYS: Attributes = {
    "StudyInstanceUID": "",
    "StudyDate": "",
    "StudyTime": "",
    "AccessionNumber": "",
    "ModalitiesInStudy": "",
    "NumberOfStudyRelatedInstances": "",
    "InstanceAvailability": "",
}
"""What is asked to be told of a study (PS3.4 C.6.2.1.2): nothing that names its patient."""

_ISSUER_KEYS: Attributes = {"IssuerOfPatientID": "", "IssuerOfPatientIDQualifiersSequence": ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A value under which an archive may have the patient's studies."""

    value: str
    issuers: frozenset[str]
    """Under which it is the patient's."""
    shared: bool
    """Under another issuer it is somebody else's."""


def numbers_of(tx: Transaction, key: str) -> tuple[Number, ...]:
    """Every number that leads to the patient, ended ones too."""
    issuers: dict[str, set[str]] = {}
    for owner, value in patients.numbers_of(tx, key):
        issuers.setdefault(value, set()).add(owner)
    return tuple(
        Number(
            value=value,
            issuers=frozenset(owners),
            shared=any(one.patient != key for one in patients.under(tx, value)),
        )
        for value, owners in issuers.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Answers, each once, and how many were left out."""

    answers: tuple[Attributes, ...]
    numbers: int = 0
    """Numbers of the patient that were asked for."""
    others: int = 0
    """Studies of another issuer, or under a number that was not asked for: somebody else's."""
    unsure: int = 0
    """Studies without an issuer under a number that several patients have."""
    whole: bool
    """The archive had no more than were wanted."""


def of_patient(
    scu: RetrieveScu, numbers: Sequence[Number], issuers: Issuers, keys: Attributes, most: int
) -> Found:
    """`keys` narrows the studies. Raises `DeliveryError`."""
    by_value = {number.value: number for number in numbers}
    studies: dict[str, Attributes] = {}
    others, unsure, whole = 0, 0, True
    for number in numbers:
        answers = scu.find("STUDY", {**keys, **_ISSUER_KEYS, "PatientID": number.value}, most=most + 1)
        whole = whole and len(answers) <= most
        for answer in answers[:most]:
            # It may have merged what it has, and say another of his numbers; or not have looked at the key at all.
            under = by_value.get(dicom.text_of(answer, "PatientID") or number.value)
            named = _issuer(answer, issuers)
            if under is None or (named and named not in under.issuers):
                others += 1
            elif not named and under.shared:
                unsure += 1
            else:
                studies.setdefault(dicom.text_of(answer, "StudyInstanceUID"), answer)
    return Found(
        answers=tuple(studies.values())[:most],
        numbers=len(numbers),
        others=others,
        unsure=unsure,
        whole=whole and len(studies) <= most,
    )


def issuers_of(settings: Settings) -> Issuers:
    """Every issuer that a listener knows, so that one named by its name only is the one that has its OID."""
    return Issuers(default=Identifier(value=""), known=tuple(_known(settings)))


def _known(settings: Settings) -> Iterator[Identifier]:
    for setting in settings.inbound:
        for option in ("issuer", "issuers", "national"):
            value = getattr(setting.config, option, ())
            for text in (value,) if isinstance(value, str) else value:
                yield read_issuer(text)


def _issuer(answer: Attributes, issuers: Issuers) -> str:
    """As identifiers have it; empty: the archive names none."""
    namespace, oid, oid_type = issuer(answer)
    return issuers.complete("", namespace, oid, oid_type, "").issuer if namespace or oid else ""
