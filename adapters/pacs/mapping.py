"""The head of a received instance to its events. Pure: attributes in, drafts out; no file is opened.

`instance.received`, and of a rejection note what it rejects. The identity that the object states is taken as it stands;
whose it is, and whether a note may reject that, the registers say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from broker.adapter import Claim, Reception, Verdict
from broker.dicom import key_object, status
from broker.dicom.attributes import Attributes
from broker.dicom_identity import Profile, issuer, remarks, stated, text
from broker.event import Code, Draft, Event, EventData, Instance, Study
from broker.hl7.garbled import MOJIBAKE
from broker.reception import search_keys
from broker.text import LOST, mojibake

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


def receive(
    head: Attributes,
    arrived: Arrived,
    profile: Profile,
    *,
    message_id: str,
    now: datetime,
    raw: bytes = b"",
    restore: Code = key_object.RESTORE,
) -> Reception:
    """An instance that stands on disk, as commit 1 writes it. `restore`: the title of notes that take others back."""
    event, *others = (
        Event(
            id=f"{message_id}.{number}",
            type=draft.type,
            source=profile.name,
            site=profile.site,
            time=now,
            message_id=message_id,
            data=draft.data,
        )
        for number, draft in enumerate(
            (map_instance(head, arrived, profile), *map_note(head, profile, restore))
        )
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
        flags=(*remarks(event.data.patient, profile), *((MOJIBAKE,) if garbled(head) else ())),
        keys=search_keys((event, *others)),
        events=(event, *others),
        claim=_claim(event, arrived, profile),
    )


def _claim(event: Event, arrived: Arrived, profile: Profile) -> Claim:
    """One SOP Instance UID is one object for ever: another under it is refused, and a person asked."""
    instance = event.data.instance
    assert instance is not None, "map_instance made it"

    def otherwise(_state: str) -> Reception:
        refusal = refused(
            "another object came under this SOP Instance UID before: the first one stays",
            profile,
            message_id=event.message_id,
            now=event.time,
            peer=arrived.calling_aet,
            code=status.DUPLICATE_SOP_INSTANCE,
        )
        return replace(refusal, blob=arrived.path, keys=search_keys((event,)))

    return Claim(
        uid=instance.sop_instance_uid,
        after=frozenset({"", arrived.sha256}),
        state=arrived.sha256,
        otherwise=otherwise,
        again=True,
        alert=True,
    )


def refused(
    reason: str,
    profile: Profile,
    *,
    message_id: str,
    now: datetime,
    peer: str = "",
    raw: bytes = b"",
    code: int = status.DATA_SET_MISMATCH,
) -> Reception:
    """What is no DICOM object, not the one that was announced, or another than came before."""
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
        answer_code=f"{code:04X}",
        raw=raw,
    )


def garbled(head: Attributes) -> bool:
    """Whether the name is UTF-8 that was read as Latin-1, or has lost letters. The object is kept as it came."""
    name = text(head, "PatientName")
    return mojibake(name) or LOST.search(name) is not None


def map_instance(head: Attributes, arrived: Arrived, profile: Profile) -> Draft:
    """The object's identity as it states it, and where its bytes are."""
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
        issuer_stated=any(issuer(head)),
        neonatal=arrived.calling_aet in profile.neonatal_aets,
    )
    return Draft(type="instance.received", data=EventData(patient=stated(head, profile), instance=instance))


def map_note(head: Attributes, profile: Profile, restore: Code = key_object.RESTORE) -> Iterator[Draft]:
    """What a rejection note rejects, or takes back, by study; nothing of any other object."""
    for note in key_object.read(head, restore=restore):
        study = Study(
            study_uid=note.study_uid,
            accession_number=text(head, "AccessionNumber"),
            reason=note.title,
            note=text(head, "SOPInstanceUID"),
            instances=note.instances,
        )
        yield Draft(
            type="study.restored" if note.restores else "study.rejected",
            data=EventData(patient=stated(head, profile), study=study),
        )
