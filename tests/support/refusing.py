"""A PACS that answers each C-STORE with the status it was told: no real archive can be made to fail at will."""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.support.ports import free_port


class RefusingPacs:
    """`status` may be changed at any time. What was answered 0000 or Bxxx is kept."""

    def __init__(self, status: int, host: str = "127.0.0.1") -> None:
        self.status = status
        self.host, self.port = host, free_port()
        self._stored: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self._server: Any = None

    @property
    def stored(self) -> list[str]:
        """SOP Instance UIDs in order of arrival."""
        return [uid for uid, _ in self.objects]

    @property
    def objects(self) -> list[tuple[str, bytes]]:
        """(SOP Instance UID, data set as it came) in order of arrival."""
        with self._lock:
            return list(self._stored)

    def start(self) -> None:
        ae = AE("REFUSES")
        ae.supported_contexts = AllStoragePresentationContexts
        self._server = ae.start_server(
            (self.host, self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._answer)]
        )

    def stop(self) -> None:
        self._server.shutdown()

    def _answer(self, event: Any) -> int:
        status = self.status
        if status == 0 or status >> 12 == 0xB:
            with self._lock:
                self._stored.append(
                    (str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue())
                )
        return status
