"""The listener of a DICOM service: it opens nothing, because all of them share one association server."""

from __future__ import annotations

from broker.adapter import InboundContext
from broker.net.service import Service


class DicomListener:
    """Has a service served for as long as the broker runs (`broker.adapter.Inbound`)."""

    addresses: tuple[str, ...] = ()

    def __init__(self, context: InboundContext, service: Service) -> None:
        context.register_dicom(service)

    async def start(self) -> None:
        """The association server starts with the broker."""

    async def stop(self) -> None:
        """The association server stops with the broker."""
