"""A worklist query as somebody types it: `Modality=CT`, `ScheduledProcedureStepStartDate=20260310-`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.datadict import keyword_dict

from broker.dicom import attributes as dicom
from broker.dicom.matching import STEPS, Query
from broker.errors import BrokerError, did_you_mean

_STEP: Final = ("Scheduled", "Modality", "CommentsOnTheScheduled", "RequestedContrastAgent", "PreMedication")
"""How the keywords begin that stand in the one item of (0040,0100) (PS3.4 K.6.1.2.2)."""


class QueryError(BrokerError):
    """A key cannot be asked for; the text says which, and what is near."""


def typed(keys: Iterable[str]) -> Query | None:
    """The query of some `KEY=VALUE`; None for none. Raises `QueryError`."""
    top: dict[str, dicom.Value] = {}
    step: dict[str, dicom.Value] = {}
    for text in keys:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise QueryError(f"--query {text}: write KEY=VALUE, as in Modality=CT")
        if key not in keyword_dict or dicom.vr_of(key) == "SQ":
            hint = did_you_mean(key, keyword_dict)
            raise QueryError(f"--query {key}: not a DICOM keyword with one value. {hint}".strip())
        values = tuple(value.split("\\"))
        (step if key.startswith(_STEP) else top)[key] = values if len(values) > 1 else value
    if not top and not step:
        return None
    whole = {**top, STEPS: (step,)} if step else top
    return Query(whole)
