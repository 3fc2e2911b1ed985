"""Messages on their way to the EPJ, over MLLP. What they say is `render.py`'s; the connection is `broker.net`'s."""

from __future__ import annotations

from adapters.epj.render import render_hl7
from broker.adapter import OutboundSpec
from broker.net.hl7_sender import Hl7Destination, Hl7Sender

OUTBOUND = OutboundSpec(
    name="epj",
    summary="HL7 v2 to the patient record",
    kind="hl7",
    config=Hl7Destination,
    render=render_hl7,
    factory=Hl7Sender,
)
