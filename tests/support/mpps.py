"""A modality's MPPS: data sets as devices send them, pynetdicom as its SCU, and an SCP that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep  # type: ignore[attr-defined]

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from tests.support.ports import free_port

MPPS = str(ModalityPerformedProcedureStep)
WRONG_ENTRY = "110514"


def scheduled(study_uid: str, step_id: str = "", accession: str = "") -> Attributes:
    """An item of (0040,0270)."""
    return {
        "StudyInstanceUID": study_uid,
        "ReferencedStudySequence": (),
        "AccessionNumber": accession,
        "RequestedProcedureID": "",
        "RequestedProcedureDescription": "",
        "ScheduledProcedureStepID": step_id,
        "ScheduledProcedureStepDescription": "",
        "ScheduledProtocolCodeSequence": (),
    }


def begun(*steps: Attributes, **fields: Any) -> dict[str, Any]:
    """What an N-CREATE says; `fields` replace attributes, None takes one away."""
    given: dict[str, Any] = {
        "PatientName": "SORBY^AILE",
        "PatientID": "700123",
        "PatientBirthDate": "",
        "PatientSex": "F",
        "ScheduledStepAttributesSequence": steps,
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "CT1_STO",
        "PerformedStationName": "CT1",
        "PerformedLocation": "",
        "PerformedProcedureStepStartDate": "20260310",
        "PerformedProcedureStepStartTime": "093500",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepDescription": "",
        "PerformedProcedureTypeDescription": "",
        "ProcedureCodeSequence": (),
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "Modality": "CT",
        "StudyID": "1",
        "PerformedProtocolCodeSequence": (),
        "PerformedSeriesSequence": (),
    } | fields
    return {keyword: value for keyword, value in given.items() if value is not None}


def ended(
    status: str = "COMPLETED", *, reason: str = "", instances: tuple[str, ...] = ("2.25.9.1",)
) -> dict[str, Any]:
    """What the last N-SET says."""
    series = {
        "PerformingPhysicianName": "",
        "OperatorsName": "",
        "ProtocolName": "Thorax",
        "SeriesInstanceUID": "2.25.9",
        "SeriesDescription": "",
        "RetrieveAETitle": "",
        "ReferencedImageSequence": tuple(
            {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": uid}
            for uid in instances
        ),
        "ReferencedNonImageCompositeSOPInstanceSequence": (),
    }
    found: dict[str, Any] = {
        "PerformedProcedureStepStatus": status,
        "PerformedProcedureStepEndDate": "20260310",
        "PerformedProcedureStepEndTime": "095000",
        "PerformedSeriesSequence": (series,),
    }
    if reason:
        code = {"CodeValue": reason, "CodingSchemeDesignator": "DCM", "CodeMeaning": "reason"}
        found["PerformedProcedureStepDiscontinuationReasonCodeSequence"] = (code,)
    return found


class MppsScu:
    """pynetdicom as a modality, with one association a request, as many devices have it."""

    def __init__(self, port: int, aet: str = "CT1_STO", *, syntax: str = ExplicitVRLittleEndian) -> None:
        self._port = port
        self._ae = AE(aet)
        self._ae.add_requested_context(ModalityPerformedProcedureStep, syntax)

    def create(self, attributes: Mapping[str, Any], uid: str | None) -> Dataset:
        """The answer's command set."""
        return self._sent("send_n_create", to_dataset(attributes), uid)

    def set(self, attributes: Mapping[str, Any], uid: str) -> Dataset:
        return self._sent("send_n_set", to_dataset(attributes), uid)

    def _sent(self, request: str, dataset: Dataset, uid: str | None) -> Dataset:
        heard: list[Dataset] = []
        handlers = [(evt.EVT_DIMSE_RECV, lambda event: heard.append(event.message.command_set))]
        association = self._ae.associate(
            "127.0.0.1",
            self._port,
            ae_title="BROKER",
            evt_handlers=handlers,  # type: ignore[arg-type]
        )
        assert association.is_established
        try:
            getattr(association, request)(dataset, ModalityPerformedProcedureStep, uid)
        finally:
            association.release()
        return heard[0]


class MppsScp:
    """A RIS that takes MPPS: keeps (operation, UID, data set) in order, and answers as it is told."""

    def __init__(self, aet: str = "RIS", *, syntaxes: tuple[str, ...] = (ImplicitVRLittleEndian,)) -> None:
        self.port = free_port()
        self.taken: list[tuple[str, str, Dataset]] = []
        self.answers: list[int] = []
        """Statuses of the next requests; then 0000."""
        self._ae = AE(aet)
        self._ae.add_supported_context(ModalityPerformedProcedureStep, list(syntaxes))
        self._server: Any = None

    def start(self) -> None:
        handlers = [(evt.EVT_N_CREATE, self._create), (evt.EVT_N_SET, self._set)]
        self._server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _create(self, event: Any) -> tuple[int, Dataset]:
        return self._keep("N-CREATE", event.request.AffectedSOPInstanceUID, event.attribute_list)

    def _set(self, event: Any) -> tuple[int, Dataset]:
        return self._keep("N-SET", event.request.RequestedSOPInstanceUID, event.modification_list)

    def _keep(self, operation: str, uid: str, dataset: Dataset) -> tuple[int, Dataset]:
        if self.answers and (status := self.answers.pop(0)):
            return status, Dataset()
        self.taken.append((operation, str(uid), dataset))
        return 0x0000, dataset
