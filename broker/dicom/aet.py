"""An AE title as an option of a settings file. PS3.5 6.2 (VR AE)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from broker.dicom import vr
from broker.scalars import Text


def _title(text: str) -> str:
    broken = vr.broken_rule("AE", text)
    if broken:
        raise ValueError(broken)
    return text


AeTitle = Annotated[Text, StringConstraints(min_length=1, max_length=16), AfterValidator(_title)]
"""1 to 16 characters of printable ASCII, without backslash."""
