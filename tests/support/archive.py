"""An archive that can be asked, and made to fail at will: pynetdicom as the SCP of the study root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydicom import Dataset, FileDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.support.ports import free_port
from tests.support.processes import wait_until

LEVELS = {
    "STUDY": ("StudyInstanceUID",),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
KEPT = (CTImageStorage, SecondaryCaptureImageStorage)
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit]
STUDY_KEYS = ("PatientID", "AccessionNumber", "StudyDate")


class Archive:
    """Holds what `keep` was last given.

    `ends`: the status of every retrieval instead of doing it. `waits_after`: so many answers, then it waits for a
    C-CANCEL. `says_classes`: whether it tells SOP Class UIDs. `asked`: the identifiers of all requests, in order.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._server: Any = None
        self.keep([])

    def keep(self, instances: list[FileDataset], moves: Mapping[str, tuple[str, int]] | None = None) -> None:
        """Begins anew with these instances. `moves`: AE title to (host, port)."""
        self.instances, self.moves = instances, moves or {}
        self.ends: int | None = None
        self.says_classes = True
        self.asked: list[Dataset] = []
        self.waits_after: int | None = None

    def start(self) -> Archive:
        ae = AE("ARCHIVE")
        for model in (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
            StudyRootQueryRetrieveInformationModelMove,
        ):
            ae.add_supported_context(model)
        for sop_class in KEPT:
            ae.add_supported_context(sop_class, SYNTAXES, scu_role=True, scp_role=True)
            for syntax in SYNTAXES:
                ae.add_requested_context(sop_class, syntax)
        handlers = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
        ]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def stop(self) -> None:
        self._server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        self.asked.append(wanted)
        keys = LEVELS[wanted.QueryRetrieveLevel]
        told: set[str] = set()
        for one in self._matching(wanted):
            if (number := str(one.get(keys[-1]))) in told:
                continue
            if self._cancelled(event, len(told)):
                yield 0xFE00, None
                return
            told.add(number)
            answer = Dataset()
            answer.QueryRetrieveLevel = wanted.QueryRetrieveLevel
            for element in wanted:
                known = (
                    one.get(element.keyword) if self.says_classes or element.keyword != "SOPClassUID" else ""
                )
                if element.keyword != "QueryRetrieveLevel":
                    setattr(answer, element.keyword, known if known is not None else element.value)
            yield 0xFF00, answer

    def _get(self, event: Any) -> Iterator[Any]:
        yield from self._sent(event)

    def _move(self, event: Any) -> Iterator[Any]:
        address = self.moves.get(event.move_destination)
        if address is None:
            yield None, None
            return
        yield address
        yield from self._sent(event)

    def _sent(self, event: Any) -> Iterator[Any]:
        self.asked.append(event.identifier)
        found = list(self._matching(event.identifier))
        yield len(found)
        if self.ends is not None:
            yield self.ends, None
            return
        for number, one in enumerate(found):
            if self._cancelled(event, number):
                yield 0xFE00, None
                return
            yield 0xFF00, one

    def _cancelled(self, event: Any, answers: int) -> bool:
        if answers != self.waits_after:
            return False
        wait_until(lambda: bool(event.is_cancelled), "the request is cancelled", 10.0)
        return True  # it says so only once

    def _matching(self, wanted: Dataset) -> Iterator[FileDataset]:
        keys = [*LEVELS["IMAGE"], *STUDY_KEYS]
        given = {key: value for key in keys if (value := wanted.get(key))}
        for one in list(self.instances):
            if all(str(one.get(key, "")) == str(value) for key, value in given.items()):
                yield one
