"""Storage commitment as attributes: there and back, and what cannot be taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import commitment, status
from broker.dicom.commitment import FAILURES_EXIST, SUCCESSFUL, event_type, information, read
from broker.dicom.dataset import from_dataset
from broker.dicom.encode import encode
from broker.errors import RemoteProtocolError
from broker.event import InstanceReference
from tests.support.dimse import decoded

UIDS = st.integers(1, 10**30).map(lambda number: f"2.25.{number}")
INSTANCES = st.lists(
    st.builds(
        InstanceReference,
        sop_class_uid=UIDS,
        sop_instance_uid=UIDS,
        failure=st.sampled_from([0, 0, 0x0110, 0x0112, 0x0119, 0x0122, 0x0131, 0x0213]),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda one: one.sop_instance_uid,
)


def one(uid: str = "2.25.1", failure: int = 0) -> InstanceReference:
    return InstanceReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid=uid, failure=failure)


@given(UIDS, INSTANCES)
def test_what_is_written_is_read(transaction: str, instances: list[InstanceReference]) -> None:
    said = information(transaction, instances)
    found = from_dataset(decoded(encode(said)))

    told, references = read(found)
    assert told == transaction
    assert sorted(references, key=str) == sorted(instances, key=str)
    failing = any(reference.failure for reference in instances)
    assert event_type(found) == (FAILURES_EXIST if failing else SUCCESSFUL)


def test_no_sequence_is_empty() -> None:
    assert set(information("2.25.9", [one()])) == {"TransactionUID", "ReferencedSOPSequence"}
    assert set(information("2.25.9", [one(failure=0x0112)])) == {"TransactionUID", "FailedSOPSequence"}


def test_what_is_named_twice_counts_once_and_as_failed() -> None:
    said = {**information("2.25.9", [one(), one("2.25.2")])}
    said["FailedSOPSequence"] = information("2.25.9", [one(failure=0x0112)])["FailedSOPSequence"]

    assert {r.sop_instance_uid: r.failure for r in read(said)[1]} == {"2.25.1": 0x0112, "2.25.2": 0}


def test_what_failed_without_a_reason_failed() -> None:
    item = {"ReferencedSOPClassUID": "2.25.7", "ReferencedSOPInstanceUID": "2.25.1"}
    _, (reference,) = read({"TransactionUID": "2.25.9", "FailedSOPSequence": (item,)})

    assert reference.failure == status.PROCESSING_FAILURE


GOOD = information("2.25.9", [one()])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"TransactionUID": ""}, "(0008,1195)"),
        ({"TransactionUID": "Hemmelig"}, "(0008,1195)"),
        ({"TransactionUID": ("2.25.1", "2.25.2")}, "(0008,1195)"),
        ({"ReferencedSOPSequence": ()}, "(0008,1199)"),
        ({"ReferencedSOPSequence": "Hemmelig"}, "(0008,1199)"),
        ({"ReferencedSOPSequence": ({},)}, "(0008,1199) item 1 (0008,1150)"),
        (
            {"ReferencedSOPSequence": ({"ReferencedSOPClassUID": "2.25.7"},)},
            "(0008,1199) item 1 (0008,1155)",
        ),
        (
            {"FailedSOPSequence": ({"ReferencedSOPClassUID": "Hemmelig"},)},
            "(0008,1198) item 1 (0008,1150)",
        ),
    ],
)
def test_what_cannot_be_taken_is_named_by_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read({**GOOD, **change})

    assert str(caught.value).startswith(place)
    assert "Hemmelig" not in str(caught.value)


def test_the_same_event_asks_under_the_same_transaction() -> None:
    assert commitment.transaction_of("M1.0") == commitment.transaction_of("M1.0")
    assert commitment.transaction_of("M1.0") != commitment.transaction_of("M2.0")
