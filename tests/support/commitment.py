"""Storage commitment from outside: data sets as peers send them, a device that waits for its report, an archive."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from broker.dicom import part10, uid
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.encode import encode
from tests.support.ports import free_port

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def asked(transaction: str, *instances: str, sop_class: str = SECONDARY_CAPTURE) -> Attributes:
    """Action information (PS3.4 table J.3-1)."""
    return {"TransactionUID": transaction, "ReferencedSOPSequence": references(instances, sop_class)}


def references(instances: Sequence[str], sop_class: str = SECONDARY_CAPTURE) -> tuple[Attributes, ...]:
    """Items of (0008,1199)."""
    return tuple(
        {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": instance} for instance in instances
    )


def file_of(information: Attributes, *, remark: bytes = b"", calling: str = "CT1_STO") -> bytes:
    """A Part 10 file of it, as the journal keeps it; `remark`: `A1 ` of an N-ACTION, `E2` of a report."""
    head = part10.head(
        sop_class_uid=uid.STORAGE_COMMITMENT,
        sop_instance_uid=uid.STORAGE_COMMITMENT_INSTANCE,
        transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
        calling_aet=calling,
        information=remark,
    )
    return head + encode(information)


class Device:
    """A modality (pynetdicom): asks on `port_of_broker`, and takes reports on its own port and on its own associations.

    `heard` are (on which: new or same, Event Type ID, event information) in order.
    """

    def __init__(
        self,
        aet: str = "CT1_STO",
        *,
        port: int = 0,
        takes_role: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.aet = aet
        self.port = port or free_port()
        self.answers: list[int] = []
        """Statuses of the next reports; then 0000."""
        self._heard: list[tuple[str, int, Dataset]] = []
        self._changed = threading.Condition()
        self._takes_role = takes_role
        self._tls = tls
        self._server: Any = None

    def start(self) -> None:
        """Listens for reports."""
        ae = AE(self.aet)
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=self._takes_role)
        handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: self._hear("new", event))]
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self._tls
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    @contextlib.contextmanager
    def association(self, port_of_broker: int) -> Iterator[Any]:
        """One of its own, released at the end."""
        ae = AE(self.aet)
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: self._hear("same", event))]
        association = ae.associate("127.0.0.1", port_of_broker, ae_title="BROKER", evt_handlers=handlers)  # type: ignore[arg-type]
        assert association.is_established
        try:
            yield association
        finally:
            association.release()

    def ask(
        self,
        port_of_broker: int,
        information: Attributes,
        *,
        action: int = 1,
        instance: str = uid.STORAGE_COMMITMENT_INSTANCE,
    ) -> int:
        """The status of an N-ACTION on an association that is released then."""
        with self.association(port_of_broker) as association:
            return send_action(association, information, action=action, instance=instance)

    def wait_for_reports(self, number: int = 1, timeout: float = 30.0) -> list[tuple[str, int, Dataset]]:
        """All that it heard, once that is so much."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._heard) >= number, timeout), self._heard
            return list(self._heard)

    @property
    def heard(self) -> list[tuple[str, int, Dataset]]:
        with self._changed:
            return list(self._heard)

    def forget(self) -> None:
        """What it heard, and what it was to answer."""
        with self._changed:
            self._heard.clear()
            self.answers.clear()

    def _hear(self, where: str, event: Any) -> tuple[int, None]:
        with self._changed:
            status = self.answers.pop(0) if self.answers else 0x0000
            if not status:
                self._heard.append((where, event.event_type, event.event_information))
                self._changed.notify_all()
            return status, None


def send_action(
    association: Any,
    information: Attributes,
    *,
    action: int = 1,
    instance: str = uid.STORAGE_COMMITMENT_INSTANCE,
) -> int:
    """The status of an N-ACTION on a pynetdicom association."""
    answer, _ = association.send_n_action(
        to_dataset(information), action, StorageCommitmentPushModel, instance
    )
    return int(answer.Status)


def outcome(report: Dataset) -> tuple[list[str], dict[str, int]]:
    """Instances that are committed to, and those that are not, with the reason."""
    committed = [item.ReferencedSOPInstanceUID for item in report.get("ReferencedSOPSequence", ())]
    failed = {
        item.ReferencedSOPInstanceUID: item.FailureReason for item in report.get("FailedSOPSequence", ())
    }
    return committed, failed


class Archive:
    """An archive (pynetdicom) that takes every object, and reports on those that it was asked for when it is told to.

    `missing` are SOP Instance UIDs that it says it has not.
    """

    def __init__(self, aet: str = "ORTHANC") -> None:
        self.aet = aet
        self.port = free_port()
        self.stored: list[str] = []
        self.missing: set[str] = set()
        self.answers: list[int] = []
        """Statuses of the next N-ACTIONs; then 0000."""
        self._asked: list[Dataset] = []
        self._changed = threading.Condition()
        self._server: Any = None

    def start(self) -> None:
        ae = AE(self.aet)
        ae.supported_contexts = AllStoragePresentationContexts
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._act)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def wait_for_requests(self, number: int = 1, timeout: float = 30.0) -> list[Dataset]:
        """Action information of all requests, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._asked) >= number, timeout), self._asked
            return list(self._asked)

    def report(self, port_of_broker: int, request: Dataset, *, role: bool = True) -> int:
        """The status that an N-EVENT-REPORT about a request is answered, on an association of its own."""
        whole = outcome(request)[0]
        found: dict[str, Any] = {"TransactionUID": request.TransactionUID}
        if kept := [one for one in whole if one not in self.missing]:
            found["ReferencedSOPSequence"] = references(kept)
        if lost := [one for one in whole if one in self.missing]:
            found["FailedSOPSequence"] = tuple(
                {**item, "FailureReason": str(0x0112)} for item in references(lost)
            )
        ae = AE(self.aet)
        ae.add_requested_context(StorageCommitmentPushModel)
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
        association = ae.associate("127.0.0.1", port_of_broker, ae_title="BROKER", ext_neg=roles)  # type: ignore[arg-type]
        assert association.is_established
        try:
            answer, _ = association.send_n_event_report(
                to_dataset(found),
                2 if lost else 1,
                StorageCommitmentPushModel,
                uid.STORAGE_COMMITMENT_INSTANCE,
            )
            return int(answer.Status)
        finally:
            association.release()

    def _store(self, event: Any) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _act(self, event: Any) -> tuple[int, None]:
        with self._changed:
            status = self.answers.pop(0) if self.answers else 0x0000
            if not status:
                self._asked.append(event.action_information)
                self._changed.notify_all()
            return status, None
