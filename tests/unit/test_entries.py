"""Entries of the settings; what is wrong with them is told in test_settings.py, where files are read."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, field_validator

from broker.adapter import Options
from broker.entries import entry_model
from broker.settings import InboundEntry


def test_an_adapters_own_rules_hold_in_its_entry() -> None:
    class Strict(Options):
        host: str = Field(description="Where.")

        @field_validator("host")
        @classmethod
        def _whole(cls, value: str) -> str:
            if "." not in value:
                raise ValueError("must be a whole name")
            return value

    model: type[BaseModel] = entry_model(InboundEntry, Strict)
    assert model.model_validate({"adapter": "x", "host": "a.b"}).model_dump()["host"] == "a.b"
    with pytest.raises(ValueError, match="must be a whole name"):
        model.model_validate({"adapter": "x", "host": "a"})
