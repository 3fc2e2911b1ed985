"""Rejection notes: Key Object Selection documents that take instances out of use (IHE IOCM). Builds them, reads them.

Attributes in, attributes out. Whether a note is obeyed is the archive's; who may reject is not asked here. PS3.3 A.35.4
(IOD), C.17.6 (Key Object Document), C.18 (content), PS3.16 TID 2010, CID 7010 (titles), CID 7011 (why of quality).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom._uid_dict import UID_dictionary

from broker.dicom import uid
from broker.dicom.attributes import Attributes, Value, items_of, text_of
from broker.event import Code, InstanceReference

QUALITY: Final = "113001"
SAFETY: Final = "113037"
WRONG_ENTRY: Final = "113038"
EXPIRED: Final = "113039"

TITLES: Final = {
    QUALITY: "Rejected for Quality Reasons",
    SAFETY: "Rejected for Patient Safety Reasons",
    WRONG_ENTRY: "Incorrect Modality Worklist Entry",
    EXPIRED: "Data Retention Policy Expired",
}
"""The titles of CID 7010 that reject, with the meanings they have there."""

RESTORE: Final = Code(code="REVOKE_REJECTION", text="Restore rejected Instances", system="99DCM4CHEE")
"""No title of the standard takes a rejection back; this is the one that dcm4chee made for it."""

_TITLE_MODIFIER: Final = Code(code="113011", text="Document Title Modifier", system="DCM")
_UNKNOWN_FAILURE: Final = Code(code="111221", text="Unknown failure", system="DCM")
_DESCRIPTION: Final = Code(code="113012", text="Key Object Description", system="DCM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a rejection note says, or one that takes another back."""

    title: Code
    study_uid: str
    instances: tuple[InstanceReference, ...]

    @property
    def restores(self) -> bool:
        """It takes rejections back."""
        return self.title.code not in TITLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the document says beside its content: Patient and General Study modules as attributes, its own numbers."""

    patient: Attributes
    study: Attributes
    """StudyDate, StudyTime, StudyID, AccessionNumber, ReferringPhysicianName as far as they are known."""
    sop_instance_uid: str
    series_uid: str
    at: str
    """`YYYYMMDDHHMMSS`, local time."""
    manufacturer: str = ""


def build(note: Note, frame: Frame, *, description: str = "") -> Attributes:
    """The document. `description` is for people, and leaves with it: no patient's values.

    One study, one document: (0040,A375) names its instances by series.
    """
    day, time = frame.at[:8], frame.at[8:]
    evidence: Attributes = {
        "StudyInstanceUID": note.study_uid,
        "ReferencedSeriesSequence": tuple(_by_series(note.instances)),
    }
    content: list[Attributes] = []
    if note.title.code == QUALITY:  # TID 2010 row 2: then it must be said what was wrong
        content.append(
            {
                "RelationshipType": "HAS CONCEPT MOD",
                "ValueType": "CODE",
                "ConceptNameCodeSequence": _code(_TITLE_MODIFIER),
                "ConceptCodeSequence": _code(_UNKNOWN_FAILURE),
            }
        )
    if description:
        content.append(
            {
                "RelationshipType": "CONTAINS",
                "ValueType": "TEXT",
                "ConceptNameCodeSequence": _code(_DESCRIPTION),
                "TextValue": description,
            }
        )
    content += [
        {
            "RelationshipType": "CONTAINS",
            "ValueType": _value_type(one.sop_class_uid),
            "ReferencedSOPSequence": (_reference(one),),
        }
        for one in note.instances
    ]
    study: dict[str, Value] = {
        "StudyDate": "",
        "StudyTime": "",
        "StudyID": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        **frame.study,
    }
    return {
        "SOPClassUID": uid.KEY_OBJECT_SELECTION,
        "SOPInstanceUID": frame.sop_instance_uid,
        "InstanceCreationDate": day,
        "InstanceCreationTime": time,
        **frame.patient,
        **study,
        "StudyInstanceUID": note.study_uid,
        "Modality": "KO",
        "SeriesInstanceUID": frame.series_uid,
        "SeriesNumber": "1",
        "SeriesDate": day,
        "SeriesTime": time,
        "ReferencedPerformedProcedureStepSequence": (),
        "Manufacturer": frame.manufacturer,
        "InstanceNumber": "1",
        "ContentDate": day,
        "ContentTime": time,
        "CurrentRequestedProcedureEvidenceSequence": (evidence,),
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": _code(note.title),
        "ContinuityOfContent": "SEPARATE",
        "ContentTemplateSequence": ({"MappingResource": "DCMR", "TemplateIdentifier": "2010"},),
        "ContentSequence": tuple(content),
    }


def read(document: Attributes, *, restore: Code = RESTORE) -> tuple[Note, ...]:
    """The note that a Key Object Selection is, one for each study that it names; none where it rejects nothing.

    `restore`: the title that takes rejections back here. Instances without both UIDs are passed over.
    """
    title = _title(document)
    known = (title.code in TITLES and title.system == "DCM") or (title.code, title.system) == (
        restore.code,
        restore.system,
    )
    if text_of(document, "SOPClassUID") != uid.KEY_OBJECT_SELECTION or not known:
        return ()
    return tuple(
        Note(title=title, study_uid=text_of(study, "StudyInstanceUID"), instances=found)
        for study in items_of(document.get("CurrentRequestedProcedureEvidenceSequence", ""))
        if (found := tuple(_referenced(study))) and text_of(study, "StudyInstanceUID")
    )


READ: Final = (
    "SOPClassUID",
    "ConceptNameCodeSequence",
    "CurrentRequestedProcedureEvidenceSequence",
)
"""What `read` looks at."""


def _title(document: Attributes) -> Code:
    for item in items_of(document.get("ConceptNameCodeSequence", "")):
        return Code(
            code=text_of(item, "CodeValue"),
            text=text_of(item, "CodeMeaning"),
            system=text_of(item, "CodingSchemeDesignator"),
        )
    return Code()


def _referenced(study: Attributes) -> Iterable[InstanceReference]:
    for series in items_of(study.get("ReferencedSeriesSequence", "")):
        for item in items_of(series.get("ReferencedSOPSequence", "")):
            one = InstanceReference(
                sop_class_uid=text_of(item, "ReferencedSOPClassUID"),
                sop_instance_uid=text_of(item, "ReferencedSOPInstanceUID"),
                series_uid=text_of(series, "SeriesInstanceUID"),
            )
            if one.sop_class_uid and one.sop_instance_uid:
                yield one


def _by_series(instances: Sequence[InstanceReference]) -> Iterable[Attributes]:
    for series in dict.fromkeys(one.series_uid for one in instances):
        members = tuple(_reference(one) for one in instances if one.series_uid == series)
        yield {"SeriesInstanceUID": series, "ReferencedSOPSequence": members}


def _reference(one: InstanceReference) -> Attributes:
    return {"ReferencedSOPClassUID": one.sop_class_uid, "ReferencedSOPInstanceUID": one.sop_instance_uid}


def _value_type(sop_class_uid: str) -> str:
    """PS3.3 C.18.3, C.18.4, C.18.5: an image, a waveform, or any other composite object."""
    name = UID_dictionary.get(sop_class_uid, ("",))[0]
    if ("Waveform" in name and "Presentation" not in name) or "ECG" in name:
        return "WAVEFORM"
    return "IMAGE" if "Image Storage" in name or "Video" in name else "COMPOSITE"


def _code(code: Code) -> tuple[Attributes, ...]:
    return (
        {
            "CodeValue": code.code,
            "CodingSchemeDesignator": code.system,
            "CodeMeaning": code.text or code.code,
        },
    )
