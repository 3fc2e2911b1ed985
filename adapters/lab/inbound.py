"""Result feeds: ORU over MLLP. The mapping is next door; the socket and the answering are `broker.net`'s."""

from __future__ import annotations

from adapters.lab.mapping import MAPPERS
from broker.adapter import InboundSpec, ListenerPlace
from broker.net.hl7_listener import Hl7Listener, Listener, profile
from broker.reception import Hl7Reader
from broker.statement import IheClaim, Statement


def reader(config: Hl7Listener, place: ListenerPlace) -> Hl7Reader:
    """A result listener without its socket."""
    return Hl7Reader(profile=profile(config, place), mappers=MAPPERS)


STATEMENT = Statement(
    means={"ORU^R01": "a result or a report, one event whatever it holds"},
    claims=(
        IheClaim(
            transaction="RAD-28",
            name="Structured Report Export",
            profile="RD, SINR",
            actor="Report Manager",
            how="relayed",
            limits="a result passes on whole, as its sender wrote it; no report is made or read here",
        ),
    ),
)

INBOUND = InboundSpec(
    name="lab",
    summary="Results (ORU) from LAB, devices and report writers",
    config=Hl7Listener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes={"ORU^R01": ("result.available",)},
    statement=lambda _config: STATEMENT,
)
