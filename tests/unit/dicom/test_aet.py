"""AE titles as settings hold them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from broker.dicom.aet import AeTitle


@pytest.mark.parametrize("text", ["CT1", "A" * 16, "EYE CAM.1"])
def test_a_title(text: str) -> None:
    assert TypeAdapter(AeTitle).validate_python(text) == text


@pytest.mark.parametrize("text", ["", "A" * 17, "EYE\\CAM", "ØYE", "   ", "A\tB"])
def test_no_title(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AeTitle).validate_python(text)
