"""PACS: takes images for it (storage SCP), sends them on (storage SCU), and tells its HL7 listener of patients."""

from adapters.pacs.inbound import INBOUND
from adapters.pacs.outbound import HL7_OUTBOUND, OUTBOUND

__all__ = ["HL7_OUTBOUND", "INBOUND", "OUTBOUND"]
