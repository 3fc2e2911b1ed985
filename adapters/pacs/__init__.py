"""PACS: takes images for it (storage SCP), sends them on and asks what it keeps (SCU), hears what can be had
of it (IAN), tells its HL7 listener of patients."""

from adapters.pacs.availability import INBOUND as AVAILABILITY
from adapters.pacs.inbound import INBOUND
from adapters.pacs.outbound import HL7_OUTBOUND, OUTBOUND

__all__ = ["AVAILABILITY", "HL7_OUTBOUND", "INBOUND", "OUTBOUND"]
