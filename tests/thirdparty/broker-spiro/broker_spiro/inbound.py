"""The drop folder of a spirometer's PC. Watching it, answering and the journal are the broker's."""

from __future__ import annotations

from broker.adapter import InboundSpec, ListenerPlace
from broker.net.folder import FolderListener, FolderSource
from broker.net.hl7_listener import profile
from broker.reception import Hl7Reader
from broker.scalars import Text
from pydantic import Field

from broker_spiro.mapping import MAPPERS
from broker_spiro.table import unfold


class SpiroFolder(FolderSource):
    """Options of the folder; files are kept, because the journal has the messages and not the CSV."""

    pattern: Text = Field(default="*.csv", min_length=1, description="Names that are taken.")
    done: Text = Field(min_length=1, description="Folder for files that were taken.")


def reader(config: SpiroFolder, place: ListenerPlace) -> Hl7Reader:
    """Judges the messages that `table.unfold` makes: what `broker explain` and `broker test` are given."""
    return Hl7Reader(profile=profile(config, place), mappers=MAPPERS)


INBOUND = InboundSpec(
    name="spiro",
    summary="Lung function measurements from a folder of CSV files",
    config=SpiroFolder,
    factory=lambda config, context: FolderListener(config, context, reader, unfold),
    reader=reader,
    makes={"ORU^R01": ("result.available",)},
)
