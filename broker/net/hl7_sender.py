"""An HL7 destination over MLLP: one message in flight per connection, and what its acknowledgement means.

What is sent was rendered and stored before; nothing is built here.
"""

from __future__ import annotations

from pydantic import Field

from broker.adapter import Delivery, Options, OutboundContext, Receipt
from broker.errors import PermanentDeliveryError, TransientDeliveryError, Unreadable
from broker.hl7.ack import read_ack
from broker.net.mllp import MllpClient
from broker.scalars import Duration, Text


class Hl7Destination(Options):
    """Options of an HL7 destination."""

    host: Text = Field(description="Host name or address.")
    port: int = Field(ge=1, le=65535, description="TCP port (MLLP).")
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    ack_timeout: Duration = Field(default=30.0, description="Longest wait for the acknowledgement.")


class Hl7Sender:
    """A kept connection to the destination (`broker.adapter.Outbound`)."""

    def __init__(self, config: Hl7Destination, context: OutboundContext) -> None:
        self._name = context.name
        self._client = MllpClient(
            config.host, config.port, connect_timeout=config.connect_timeout, ack_timeout=config.ack_timeout
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends and waits. AA and CA are taken; anything else is not, and the peer's text is kept, not told."""
        answer = self._client.send(delivery.payload)
        if not answer:
            return Receipt(detail="sent; the message asks for no acknowledgement")
        try:
            ack = read_ack(answer)
        except Unreadable as exc:
            raise TransientDeliveryError(f"the acknowledgement cannot be read: {exc}") from exc
        if not ack.positive:
            code = f", error {ack.error_code}" if ack.error_code.isalnum() else ""
            raise PermanentDeliveryError(f"MSA-1 {ack.code}{code}")
        return Receipt(detail=f"MSA-1 {ack.code}", answer=answer)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()
