"""Modalities: they pull worklists. Rows go into the broker's own register; the SCP answers from it."""

from adapters.modality.inbound import INBOUND
from adapters.modality.outbound import OUTBOUND

__all__ = ["INBOUND", "OUTBOUND"]
