"""`broker.dicom.vr_faults`: no rule is broken in silence."""

from __future__ import annotations

from broker.dicom.vr_faults import vr_faults
from tests.unit.dicom.test_dataset import ROW


def test_faults_name_place_and_rule_and_never_the_value() -> None:
    secret = "13116900216-much-too-long"
    found = vr_faults(
        {
            "AccessionNumber": secret,
            "PatientName": "x",
            "PatientSex": ("M", "F"),
            "NoSuchKeyword": "x",
            "RequestedProcedureCodeSequence": "x",
            "PatientID": ({"PatientID": "x"},),
            "ScheduledProcedureStepSequence": ({"ScheduledStationAETitle": ("OK", secret)},),
        }
    )
    assert found == [
        ("AccessionNumber", "SH: at most 16 characters"),
        ("PatientSex", "CS: one value only (VM 1)"),
        ("NoSuchKeyword", "not a DICOM keyword"),
        ("RequestedProcedureCodeSequence", "SQ: a sequence needs items"),
        ("PatientID", "LO: text, not items"),
        ("ScheduledProcedureStepSequence.ScheduledStationAETitle", "AE: at most 16 characters"),
    ]
    assert secret not in repr(found)


def test_a_good_row_has_no_faults() -> None:
    assert vr_faults(ROW) == []
