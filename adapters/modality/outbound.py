"""Worklist rows on their way to modalities: written into the broker's own register in commit 2, so nothing is sent."""

from __future__ import annotations

from adapters.modality.render import render_row
from broker.adapter import Options, OutboundSpec


class WorklistDestination(Options):
    """A worklist of the broker; it has no options."""


OUTBOUND = OutboundSpec(
    name="modality",
    summary="Rows of the broker's modality worklist",
    kind="worklist",
    config=WorklistDestination,
    render=render_row,
    factory=None,
)
