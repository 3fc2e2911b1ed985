"""A PACS that answers each C-STORE with the status it was told: no real archive can be made to fail at will."""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.support.ports import free_port


class RefusingPacs:
    """`status` may be changed at any time. `stored` lists what was answered 0000 or Bxxx."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.port = free_port()
        self._stored: list[str] = []
        self._lock = threading.Lock()
        self._server: Any = None

    @property
    def stored(self) -> list[str]:
        with self._lock:
            return list(self._stored)

    def start(self) -> None:
        ae = AE("REFUSES")
        ae.supported_contexts = AllStoragePresentationContexts
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._answer)]
        )

    def stop(self) -> None:
        self._server.shutdown()

    def _answer(self, event: Any) -> int:
        status = self.status
        if status == 0 or status >> 12 == 0xB:
            with self._lock:
                self._stored.append(str(event.request.AffectedSOPInstanceUID))
        return status
