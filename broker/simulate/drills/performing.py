"""What a modality says of an examination that it performs (MPPS), made of the row that it picked. Pure.

PS3.4 F.7.2; IHE RAD-6, RAD-7. As devices do, everything of the patient is what the row said when it was picked.
"""

from __future__ import annotations

from broker.dicom import uid
from broker.dicom.attributes import Attributes
from broker.simulate.modality import SECONDARY_CAPTURE, SOP_CLASSES, text
from broker.simulate.story import Exam


def instance_uid(exam: Exam) -> str:
    """Of the MPPS."""
    return uid.derive(f"simulate|mpps|{exam.accession}|{exam.step}")


def begun(exam: Exam, row: Attributes) -> Attributes:
    """The attribute list of the N-CREATE."""
    identity = ("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence")
    scheduled: Attributes = {
        "StudyInstanceUID": text(row, "StudyInstanceUID"),
        "ReferencedStudySequence": (),
        "AccessionNumber": exam.accession,
        "RequestedProcedureID": "",
        "RequestedProcedureDescription": "",
        "ScheduledProcedureStepID": text(row, "ScheduledProcedureStepID"),
        "ScheduledProcedureStepDescription": "",
        "ScheduledProtocolCodeSequence": (),
    }
    return {
        **{keyword: row[keyword] for keyword in identity if row.get(keyword)},
        "PatientBirthDate": text(row, "PatientBirthDate"),
        "PatientSex": text(row, "PatientSex"),
        "ScheduledStepAttributesSequence": (scheduled,),
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": exam.aet,
        "PerformedStationName": "",
        "PerformedLocation": "",
        "PerformedProcedureStepStartDate": text(row, "ScheduledProcedureStepStartDate"),
        "PerformedProcedureStepStartTime": text(row, "ScheduledProcedureStepStartTime"),
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepDescription": "",
        "PerformedProcedureTypeDescription": "",
        "ProcedureCodeSequence": (),
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "Modality": exam.modality,
        "StudyID": "1",
        "PerformedProtocolCodeSequence": (),
        "PerformedSeriesSequence": (),
    }


def completed(exam: Exam, row: Attributes, images: int) -> Attributes:
    """The modification list of the N-SET that ends it, with so many images."""
    sop_class = SOP_CLASSES.get(exam.modality, SECONDARY_CAPTURE)
    series: Attributes = {
        "PerformingPhysicianName": "",
        "OperatorsName": "",
        "ProtocolName": "1",
        "SeriesInstanceUID": uid.derive(f"simulate|series|{exam.accession}|{exam.step}"),
        "SeriesDescription": "",
        "RetrieveAETitle": "",
        "ReferencedImageSequence": tuple(
            {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": exam.sop_instance_uid(number)}
            for number in range(1, images + 1)
        ),
        "ReferencedNonImageCompositeSOPInstanceSequence": (),
    }
    return {
        "PerformedProcedureStepStatus": "COMPLETED",
        "PerformedProcedureStepEndDate": text(row, "ScheduledProcedureStepStartDate"),
        "PerformedProcedureStepEndTime": text(row, "ScheduledProcedureStepStartTime"),
        "PerformedSeriesSequence": (series,),
    }
