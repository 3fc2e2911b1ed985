"""An AE title as an option of a settings file. PS3.5 6.2 (VR AE)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from broker.dicom import vr
from broker.scalars import Text


def _title(text: str) -> str:
    broken = vr.broken_rule("AE", text)
    if broken:
        raise ValueError(broken)
    return text


AeTitle = Annotated[
    Text, AfterValidator(_title), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 16})
]
"""1 to 16 characters of printable ASCII, without backslash."""
