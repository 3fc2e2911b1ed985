"""`broker.dicom.key_object`: the documents satisfy two foreign readers, and what is read is what was written."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from broker.dicom import attributes as dicom
from broker.dicom import key_object, part10, uid
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset
from broker.dicom.encode import encode
from broker.dicom.key_object import Frame, Note
from broker.event import Code, InstanceReference
from tests.support.needs import needs

CT = "1.2.840.10008.5.1.4.1.1.2"
ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"

FRAME = Frame(
    patient={
        "PatientName": "Sørby^Áile",
        "PatientID": "30908299902",
        "IssuerOfPatientID": "NNNOR",
        "PatientBirthDate": "19820910",
        "PatientSex": "F",
    },
    study={"AccessionNumber": "A2026000201"},
    sop_instance_uid="2.25.1",
    series_uid="2.25.2",
    at="20261126093000",
    manufacturer="HL7/DICOM integration broker",
)


def note(code: str, *instances: InstanceReference) -> Note:
    title = Code(code=code, text=key_object.TITLES.get(code, ""), system="DCM")
    return Note(title=title, study_uid="2.25.3", instances=instances)


def of(sop_class_uid: str, number: int, series: int = 1) -> InstanceReference:
    return InstanceReference(
        sop_class_uid=sop_class_uid, sop_instance_uid=f"2.25.4.{number}", series_uid=f"2.25.5.{series}"
    )


def file_of(document: Attributes) -> bytes:
    return part10.head(
        sop_class_uid=uid.KEY_OBJECT_SELECTION,
        sop_instance_uid=str(document["SOPInstanceUID"]),
        transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
        calling_aet="BROKER",
    ) + encode(document)


@pytest.mark.parametrize("code", key_object.TITLES)
def test_dciodvfy_and_dcmtk_read_it(tmp_path: Path, code: str) -> None:
    made = key_object.build(note(code, of(CT, 1), of(ECG, 2, 2), of(PDF, 3, 3)), FRAME, description="Blurred")
    path = tmp_path / "note.dcm"
    path.write_bytes(file_of(made))
    judged = subprocess.run(
        [needs("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False
    ).stderr
    assert not [line for line in judged.splitlines() if line.startswith("Error")], judged
    dump = subprocess.run([needs("dsrdump"), "+Pu", str(path)], capture_output=True, text=True, check=True)
    assert "Key Object Selection Document" in dump.stdout
    assert key_object.TITLES[code] in dump.stdout
    assert "2.25.4.1" in dump.stdout
    assert not [line for line in dump.stderr.splitlines() if line.startswith("E:")], dump.stderr


def test_what_was_wrong_is_said_of_quality_only() -> None:
    """PS3.16 TID 2010 row 2."""
    for code in key_object.TITLES:
        items = dicom.items_of(key_object.build(note(code, of(CT, 1)), FRAME)["ContentSequence"])
        modified = [item for item in items if item["RelationshipType"] == "HAS CONCEPT MOD"]
        assert bool(modified) == (code == key_object.QUALITY)


def test_kinds_of_references() -> None:
    made = key_object.build(note(key_object.SAFETY, of(CT, 1), of(ECG, 2), of(PDF, 3)), FRAME)
    kinds = [item["ValueType"] for item in dicom.items_of(made["ContentSequence"])]
    assert kinds == ["IMAGE", "WAVEFORM", "COMPOSITE"]


references = st.builds(
    of, st.sampled_from((CT, ECG, PDF)), st.integers(min_value=1, max_value=10**6), st.integers(1, 4)
)


@given(
    st.sampled_from(sorted(key_object.TITLES)),
    st.lists(references, min_size=1, max_size=12, unique_by=lambda one: one.sop_instance_uid),
)
def test_what_is_written_is_read(code: str, instances: list[InstanceReference]) -> None:
    ordered = sorted(instances, key=lambda one: one.series_uid)
    made = note(code, *ordered)
    read = key_object.read(from_dataset(dcmread(BytesIO(file_of(key_object.build(made, FRAME))))))
    assert [(one.title, one.study_uid) for one in read] == [(made.title, made.study_uid)]
    assert set(read[0].instances) == set(made.instances)
    assert not read[0].restores


def test_a_title_that_takes_rejections_back() -> None:
    made = Note(title=key_object.RESTORE, study_uid="2.25.3", instances=(of(CT, 1),))
    document = key_object.build(made, FRAME)
    (read,) = key_object.read(document)
    assert read.restores
    assert key_object.read(document, restore=Code(code="X", system="99OTHER")) == ()


def test_other_documents_reject_nothing() -> None:
    made = note(key_object.QUALITY, of(CT, 1))
    document = dict(key_object.build(made, FRAME))
    of_interest: Attributes = {
        "CodeValue": "113000",
        "CodingSchemeDesignator": "DCM",
        "CodeMeaning": "Of Interest",
    }
    assert key_object.read({**document, "ConceptNameCodeSequence": (of_interest,)}) == ()
    assert key_object.read({**document, "SOPClassUID": CT}) == ()
    assert key_object.read({**document, "CurrentRequestedProcedureEvidenceSequence": ()}) == ()
    assert key_object.read({"SOPClassUID": uid.KEY_OBJECT_SELECTION}) == ()
    private: Attributes = {"CodeValue": "113001", "CodingSchemeDesignator": "99X", "CodeMeaning": "?"}
    assert key_object.read({**document, "ConceptNameCodeSequence": (private,)}) == ()
