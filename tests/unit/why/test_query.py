from __future__ import annotations

import pytest

from broker.dicom.matching import STEPS
from broker.why.query import QueryError, typed


def test_a_key_stands_where_dicom_has_it() -> None:
    query = typed(["PatientID=7*", "Modality=CT", "ScheduledStationAETitle=CT1\\CT2"])

    assert query is not None
    assert query.attributes == {
        "PatientID": "7*",
        STEPS: ({"Modality": "CT", "ScheduledStationAETitle": ("CT1", "CT2")},),
    }
    assert query.stations == ("CT1", "CT2")


def test_nothing_typed_is_no_query() -> None:
    assert typed([]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Modality", "write KEY=VALUE"),
        ("Modalty=CT", "Did you mean 'Modality'"),
        ("ScheduledProcedureStepSequence=1", "not a DICOM keyword with one value"),
        ("=1", "write KEY=VALUE"),
    ],
)
def test_what_is_no_key_is_named(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        typed([text])
