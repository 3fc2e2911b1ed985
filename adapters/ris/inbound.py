"""Order feeds: ORM, OMG and OMI over MLLP, with the tables that say what an order's codes mean."""

from __future__ import annotations

from pydantic import Field

from adapters.ris.mapping import EVENTS, MAPPERS, STATUS_TABLE, STATUSES
from adapters.ris.step import MODALITY_TABLE
from broker.adapter import InboundSpec, ListenerPlace
from broker.net.hl7_listener import Hl7Listener, Listener, profile, read_table
from broker.reception import Hl7Reader
from broker.scalars import Text
from broker.statement import IheClaim, Statement


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


STATEMENT = Statement(
    means={
        "ORM^O01": "orders; each OBR a step; the Study Instance UID in ZDS",
        "OMG^O19": "orders; each OBR a step; its time in TQ1",
        "OMI^O23": "imaging orders; each IPC a step",
    },
    claims=(
        IheClaim(
            transaction="RAD-4",
            name="Procedure Scheduled",
            profile="SWF.b",
            actor="Image Manager (what is scheduled)",
            limits="ORM with or without ZDS, OMG and OMI; a Study Instance UID that the order lacks is derived from"
            " its numbers and never changes; no RAD-42 or RAD-48",
        ),
        IheClaim(
            transaction="RAD-13",
            name="Procedure Update",
            profile="SWF.b",
            actor="Image Manager (what is scheduled)",
            limits="what ORC-1 and ORC-5 mean stands in the table `order_status`; objects that were stored are not"
            " changed by it",
        ),
    ),
)

INBOUND = InboundSpec(
    name="ris",
    summary="Orders (ORM, OMG, OMI) from RIS or EPJ",
    config=OrderListener,
    factory=lambda config, context: Listener(config, context, reader),
    reader=reader,
    makes=dict.fromkeys(MAPPERS, EVENTS),
    statement=lambda _config: STATEMENT,
)
