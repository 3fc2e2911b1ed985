"""Modalities: they pull worklists, say what they perform (MPPS), and RIS and PACS are told of it.

Rows go into the broker's own register; the worklist SCP answers from it.
"""

from adapters.modality.forward import OUTBOUND as MPPS_OUTBOUND
from adapters.modality.inbound import INBOUND
from adapters.modality.mpps import INBOUND as MPPS_INBOUND
from adapters.modality.outbound import OUTBOUND

__all__ = ["INBOUND", "MPPS_INBOUND", "MPPS_OUTBOUND", "OUTBOUND"]
