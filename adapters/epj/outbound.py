"""Messages on their way to the EPJ, over MLLP. What they say is `render.py`'s; the connection is `broker.net`'s."""

from __future__ import annotations

from adapters.epj.render import render_hl7
from broker.adapter import OutboundSpec
from broker.net.hl7_sender import Hl7Destination, Hl7Sender
from broker.statement import IheClaim, Statement

STATEMENT = Statement(
    claims=(
        IheClaim(
            transaction="RAD-3",
            name="Filler Order Management",
            profile="SWF.b",
            actor="Department System Scheduler/Order Filler",
            how="relayed",
            limits="only the status of orders that came from elsewhere (ORC-1 SC); no order is begun here (SN), and no"
            " ORR is awaited",
        ),
    )
)

OUTBOUND = OutboundSpec(
    name="epj",
    summary="HL7 v2 to the patient record",
    kind="hl7",
    config=Hl7Destination,
    render=render_hl7,
    factory=Hl7Sender,
    statement=lambda _config: STATEMENT,
)
