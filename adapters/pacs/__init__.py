"""PACS: takes images for it (storage SCP), sends them on (C-STORE, STOW-RS), and tells its HL7 listener of patients."""

from adapters.pacs.inbound import INBOUND
from adapters.pacs.outbound import HL7_OUTBOUND, OUTBOUND
from adapters.pacs.stow import STOW_OUTBOUND

__all__ = ["HL7_OUTBOUND", "INBOUND", "OUTBOUND", "STOW_OUTBOUND"]
