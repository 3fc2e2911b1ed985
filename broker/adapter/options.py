"""What every adapter's spec rests on: the base of its options, and the number of the API that it was made for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

API_VERSION = 1
"""Goes up when an adapter that worked before would not; one that is made for another is refused at the start."""


class Options(BaseModel):
    """Base of an adapter's options: frozen, strict, unknown keys refused, values never shown in errors.

    Every option has a description; it becomes the editor's help and the settings page.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)
