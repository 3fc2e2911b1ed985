"""An HL7 destination over MLLP: one message in flight per connection, and what its acknowledgement means.

What is sent was rendered and stored before; nothing is built here.
"""

from __future__ import annotations

from pydantic import Field

from broker.adapter import Delivery, Options, OutboundContext, Receipt
from broker.errors import (
    RECORD_LOCKED,
    DeliveryError,
    PermanentDeliveryError,
    TransientDeliveryError,
    Unreadable,
)
from broker.hl7.ack import Acknowledgement, read_ack
from broker.hl7.charset import Charset
from broker.net.mllp_client import MllpClient
from broker.scalars import Duration, Text


class Hl7Destination(Options):
    """Options of an HL7 destination."""

    host: Text = Field(description="Host name or address.")
    port: int = Field(ge=1, le=65535, description="TCP port (MLLP).")
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    ack_timeout: Duration = Field(default=30.0, description="Longest wait for the acknowledgement.")
    charsets: tuple[Charset, ...] = Field(
        default=(),
        description="Character sets that it takes, as MSH-18 names them, in order of preference: the first that shows"
        " the whole message is taken, else the one in which least is transliterated (docs/charsets.md). Empty: what is"
        " passed on stays in its sender's set, what is built is UTF-8.",
    )


class Hl7Sender:
    """A kept connection to the destination (`broker.adapter.Outbound`)."""

    def __init__(self, config: Hl7Destination, context: OutboundContext) -> None:
        self._name = context.name
        self._client = MllpClient(
            config.host, config.port, connect_timeout=config.connect_timeout, ack_timeout=config.ack_timeout
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends and waits. AA and CA are taken; anything else raises what `failure` says of it."""
        answer = self._client.send(delivery.payload, delivery.confirm)
        if not answer:
            return Receipt(detail="sent; the message asks for no acknowledgement")
        try:
            ack = read_ack(answer)
        except Unreadable as exc:
            raise TransientDeliveryError(f"the acknowledgement cannot be read: {exc}") from exc
        if not ack.positive:
            raise failure(ack)
        return Receipt(detail=f"MSA-1 {ack.code}", answer=answer)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


def failure(ack: Acknowledgement) -> DeliveryError:
    """What a negative acknowledgement means for the lane (HL7 v2.5.1 2.9.2, tables 0008 and 0357).

    CE says that the message could not be kept, and error 206 that a record is locked: both pass. Everything else is
    a refusal of this message. The peer's own text may hold anything and is not told.
    """
    code = f", error {ack.error_code}" if ack.error_code.isalnum() else ""
    text = f"MSA-1 {ack.code}{code}"
    if ack.code == "CE" or ack.error_code == RECORD_LOCKED:
        return TransientDeliveryError(text)
    return PermanentDeliveryError(text)
