"""Worklist rows on their way to modalities: written into the broker's own register in commit 2, so nothing is sent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from adapters.modality.render import render_row
from broker.adapter import OutboundSpec


class WorklistDestination(BaseModel):
    """A worklist of the broker; it has no options."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


OUTBOUND = OutboundSpec(
    name="modality",
    summary="Rows of the broker's modality worklist",
    kind="worklist",
    config=WorklistDestination,
    render=render_row,
    factory=None,
)
