"""PACS: takes images for it (storage SCP), sends them on (C-STORE, STOW-RS), asks what it keeps, hears what can be
had of it (IAN), and tells its HL7 listener of patients."""

from adapters.pacs.availability import INBOUND as AVAILABILITY
from adapters.pacs.inbound import INBOUND
from adapters.pacs.outbound import HL7_OUTBOUND, OUTBOUND
from adapters.pacs.stow import STOW_OUTBOUND

__all__ = ["AVAILABILITY", "HL7_OUTBOUND", "INBOUND", "OUTBOUND", "STOW_OUTBOUND"]
