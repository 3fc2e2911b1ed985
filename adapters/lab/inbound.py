"""Result feeds: ORU over MLLP. The mapping is next door; the socket and the answering are `broker.net`'s."""

from __future__ import annotations

from adapters.lab.mapping import MAPPERS
from broker.adapter import InboundSpec, ListenerPlace
from broker.net.hl7_listener import Hl7Listener, Listener, profile
from broker.reception import Hl7Reader


def reader(config: Hl7Listener, place: ListenerPlace) -> Hl7Reader:
    """A result listener without its socket."""
    return Hl7Reader(profile=profile(config, place), mappers=MAPPERS)


INBOUND = InboundSpec(
    name="lab",
    summary="Results (ORU) from LAB, devices and report writers",
    config=Hl7Listener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes={"ORU^R01": ("result.available",)},
)
