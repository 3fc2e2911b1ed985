"""Order feeds: ORM, OMG and OMI over MLLP, with the tables that say what an order's codes mean."""

from __future__ import annotations

from pydantic import Field

from adapters.ris.mapping import EVENTS, MAPPERS, STATUS_TABLE, STATUSES
from adapters.ris.step import MODALITY_TABLE
from broker.adapter import InboundSpec, ListenerPlace
from broker.net.hl7_listener import Hl7Listener, Listener, profile, read_table
from broker.reception import Hl7Reader
from broker.scalars import Text


class OrderListener(Hl7Listener):
    """Options of an order listener."""

    order_status: Text = Field(
        default="order-status.csv",
        description="What ORC-1 and ORC-5 mean: columns control, order_status, status.",
    )
    modalities: Text = Field(
        default="modalities.csv",
        description="Diagnostic service codes that stand for a modality: code, modality.",
    )


def reader(config: OrderListener, place: ListenerPlace) -> Hl7Reader:
    """An order listener without its socket. Raises `ConfigError` for a table that cannot be used."""
    folder = place.config_folder
    keys = ("control", "order_status")
    tables = {
        STATUS_TABLE: read_table(folder, config.order_status, keys, "status", allowed=STATUSES),
        MODALITY_TABLE: read_table(folder, config.modalities, ("code",), "modality"),
    }
    return Hl7Reader(profile=profile(config, place, tables), mappers=MAPPERS)


INBOUND = InboundSpec(
    name="ris",
    summary="Orders (ORM, OMG, OMI) from RIS or EPJ",
    config=OrderListener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes=dict.fromkeys(MAPPERS, EVENTS),
)
