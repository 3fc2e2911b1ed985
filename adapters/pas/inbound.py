"""PAS feeds: ADT and SIU over MLLP. The mapping is next door; the socket and the answering are `broker.net`'s."""

from __future__ import annotations

from pydantic import Field

from adapters.pas import clinics
from adapters.pas.mapping import MAKES, mappers
from broker.adapter import InboundSpec, ListenerPlace
from broker.net.hl7_listener import Hl7Listener, Listener, profile
from broker.reception import Hl7Reader
from broker.scalars import Text


class PasListener(Hl7Listener):
    """Options of a PAS listener."""

    clinics: Text = Field(
        default="",
        description="Places whose visits are shown to devices without an order: place, site, modality, aets,"
        " description, location (docs/worklist.md). Empty: none.",
    )


def reader(config: PasListener, place: ListenerPlace) -> Hl7Reader:
    """A PAS listener without its socket. Raises `ConfigError` for a table that cannot be used."""
    table = clinics.read(place.config_folder / config.clinics) if config.clinics else ()
    return Hl7Reader(profile=profile(config, place), mappers=mappers(table))


INBOUND = InboundSpec(
    name="pas",
    summary="ADT and SIU from the patient administration system",
    config=PasListener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes=MAKES,
    needs={"step.scheduled": "clinics"},
)
