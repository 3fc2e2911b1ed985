"""A PACS: a storage SCP that notes which image came under which Patient ID, and keeps none."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread

from broker.dicom import status
from broker.net.association import AssociationServer
from broker.net.service import STORAGE_SOP_CLASSES, Answer, Peer, StoreRequest
from broker.simulate.records import ImageArrival


class Pacs:
    """A running PACS. `refuses` is asked of each instance with how often it has come before: True answers A700."""

    sop_classes = STORAGE_SOP_CLASSES

    def __init__(
        self,
        host: str,
        port: int,
        ae_title: str,
        spool: Path,
        note: Callable[[ImageArrival], None],
        refuses: Callable[[str, int], bool],
    ) -> None:
        self._server = AssociationServer(host, port, ae_title=ae_title, spool=spool, admit=lambda _: True)
        self._server.register(self)
        self._note, self._refuses = note, refuses
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def start(self) -> None:
        """Listens. `OSError` when the port cannot be had."""
        self._server.start()

    def stop(self) -> None:
        """Stops listening and ends every association."""
        self._server.stop(grace=2.0)

    def store(self, request: StoreRequest, peer: Peer) -> Answer:  # noqa: ARG002 - the service's signature
        """See `broker.net.service.StoreService`."""
        number = request.sop_instance_uid
        with self._lock:
            before = self._times[number]
            self._times[number] += 1
            if self._refuses(number, before):
                return Answer(status=status.OUT_OF_RESOURCES, comment="busy")
        found = dcmread(
            request.path, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"]
        )
        with self._lock:
            self._note(
                ImageArrival(
                    sop_instance_uid=number,
                    patient_id=str(found.get("PatientID", "")),
                    study_uid=str(found.get("StudyInstanceUID", "")),
                )
            )
        return Answer(status=status.SUCCESS)
