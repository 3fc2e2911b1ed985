from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker.adapter import WorklistQuery
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import Query
from broker.runtime.queries import AE_TITLES, CHARACTERS, QUERIES, Queries, tried

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
STEPS = "ScheduledProcedureStepSequence"
ROW: Attributes = {"PatientID": "700123", "AccessionNumber": "A1", STEPS: ({"Modality": "CT"},)}


def query(keys: Attributes) -> Query:
    return Query.read(to_dataset(keys))


def asked(aet: str, keys: Attributes, minute: int = 0, *, answers: int = 0) -> WorklistQuery:
    at = NOW + timedelta(minutes=minute)
    return WorklistQuery(calling_aet=aet, at=at, query=query(keys), answers=answers, whole=True)


def test_a_device_is_told_of_newest_first_with_each_key_held_against_the_row() -> None:
    queries = Queries()
    queries.note(asked("CT2", {STEPS: ({"Modality": "MR"},)}, 1))
    queries.note(asked("CT2", {"AccessionNumber": "A1"}, 2, answers=1))
    queries.note(asked("MR1", {}, 3))

    assert queries.told("CT2", ROW) == [
        {
            "at": "2026-03-09T08:02:00+00:00",
            "answers": 1,
            "whole": True,
            "lossy": 0,
            "charset": "",
            "limited": False,
            "asked": ["AccessionNumber"],
            "keys": [{"key": "AccessionNumber", "wanted": "A1", "matches": True}],
        },
        {
            "at": "2026-03-09T08:01:00+00:00",
            "answers": 0,
            "whole": True,
            "lossy": 0,
            "charset": "",
            "limited": False,
            "asked": [STEPS, f"{STEPS}.Modality"],
            "keys": [{"key": f"{STEPS}.Modality", "wanted": "MR", "matches": False}],
        },
    ]
    assert queries.told("NOBODY", ROW) == []


def test_what_names_a_patient_is_matched_but_not_told() -> None:
    queries = Queries()
    queries.note(asked("CT2", {"PatientID": "700999", "PatientName": "PRØVE*"}))
    (found,) = queries.told("CT2", ROW)

    assert found["keys"] == [
        {"key": "PatientName", "wanted": "given", "matches": False},
        {"key": "PatientID", "wanted": "given", "matches": False},
    ]


def test_without_a_row_there_is_no_verdict() -> None:
    queries = Queries()
    queries.note(asked("CT2", {"AccessionNumber": "A1"}))

    assert [key["matches"] for key in queries.told("CT2", None)[0]["keys"]] == [None]


def test_what_is_remembered_is_bounded() -> None:
    queries = Queries()
    for number in range(QUERIES + 5):
        queries.note(asked("CT2", {"AccessionNumber": f"A{number}"}, number))
    queries.note(asked("CT2", {"AccessionNumber": "A" * CHARACTERS}))
    told = queries.told("CT2", None)
    for number in range(AE_TITLES):
        queries.note(asked(f"X{number}", {}))

    assert len(told) == QUERIES
    assert told[0]["keys"][0]["wanted"] == f"A{QUERIES + 4}"
    assert queries.told("CT2", None) == []
    assert len(queries.told(f"X{AE_TITLES - 1}", None)) == 1


def test_what_is_typed_may_be_shown() -> None:
    found = tried(query({"PatientID": "700999", STEPS: ({"Modality": "CT"},)}), ROW)

    assert found == [
        {"key": "PatientID", "wanted": "700999", "matches": False},
        {"key": f"{STEPS}.Modality", "wanted": "CT", "matches": True},
    ]
