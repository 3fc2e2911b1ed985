"""PAS feeds: ADT over MLLP. The mapping is next door; the socket and the answering are `broker.net`'s."""

from __future__ import annotations

from adapters.pas.mapping import MAKES, MAPPERS
from broker.adapter import InboundSpec, ListenerPlace
from broker.net.hl7_listener import Hl7Listener, Listener, profile
from broker.reception import Hl7Reader


def reader(config: Hl7Listener, place: ListenerPlace) -> Hl7Reader:
    """A PAS listener without its socket."""
    return Hl7Reader(profile=profile(config, place), mappers=MAPPERS)


INBOUND = InboundSpec(
    name="pas",
    summary="ADT from the patient administration system",
    config=Hl7Listener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes=MAKES,
)
