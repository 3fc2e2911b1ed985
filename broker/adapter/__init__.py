"""The adapter author's API: what an adapter is given, what it hands back. No adapter is loaded here.

An adapter is a folder: `inbound.py` speaks the system's protocol, `mapping.py` turns what came into drafts (pure),
`render.py` turns a routed event into what the destination takes (pure), `outbound.py` delivers it. Its `__init__`
holds the specs that the entry-point groups `broker.inbound` and `broker.outbound` name.

Everything public is imported from here; where it stands inside may change: the way in (`inbound`, and what it hands in,
`intake`), the way out (`outbound`), what both are set up with (`options`), and the registers as an adapter reads them
(`worklist`, `patients`).
"""

from broker.adapter.inbound import Inbound, InboundContext, InboundSpec, ListenerPlace, Reader
from broker.adapter.intake import REPEAT_WINDOW, Claim, Intake, Reception, Stored, Verdict
from broker.adapter.options import API_VERSION, Options
from broker.adapter.outbound import (
    Archive,
    Delivery,
    Kind,
    Outbound,
    OutboundContext,
    OutboundSpec,
    Receipt,
    Rendered,
    Renderer,
    Send,
    Target,
)
from broker.adapter.patients import NamePart, Nobody, PatientDirectory, PatientWanted
from broker.adapter.worklist import WorklistQuery, WorklistReader, WorklistRow

__all__ = [
    "API_VERSION",
    "REPEAT_WINDOW",
    "Archive",
    "Claim",
    "Delivery",
    "Inbound",
    "InboundContext",
    "InboundSpec",
    "Intake",
    "Kind",
    "ListenerPlace",
    "NamePart",
    "Nobody",
    "Options",
    "Outbound",
    "OutboundContext",
    "OutboundSpec",
    "PatientDirectory",
    "PatientWanted",
    "Reader",
    "Receipt",
    "Reception",
    "Rendered",
    "Renderer",
    "Send",
    "Stored",
    "Target",
    "Verdict",
    "WorklistQuery",
    "WorklistReader",
    "WorklistRow",
]
