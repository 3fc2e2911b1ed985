"""What an archive notifies of, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.pacs import notified
from adapters.pacs.notified import Fault, Said, map_studies, receive
from broker.adapter import ListenerPlace, Verdict
from broker.dicom import status
from broker.event import InstanceReference
from tests.support.golden import MESSAGE_ID, NOW
from tests.support.ian import CT, notification

PLACE = ListenerPlace(name="availability", site="STO", config_folder=Path())


def said(attributes: dict[str, Any], uid: str = "2.25.9") -> Said:
    return Said(uid=uid, calling_aet="PACS", attributes=attributes)


def test_instances_by_where_they_can_be_had() -> None:
    near, far = map_studies(
        said(notification(("2.25.3", "ONLINE", "NEAR\\FAR"), ("2.25.4", "ONLINE", "NEAR")))
    )

    assert (near.study_uid, near.retrieve_aet, near.availability) == ("2.25.1", "NEAR", "ONLINE")
    assert near.instances == tuple(
        InstanceReference(sop_class_uid=CT, sop_instance_uid=uid, series_uid="2.25.2")
        for uid in ("2.25.3", "2.25.4")
    )
    assert (far.retrieve_aet, [one.sop_instance_uid for one in far.instances]) == ("FAR", ["2.25.3"])


@pytest.mark.parametrize(
    ("both", "farthest"),
    [
        (("ONLINE", "NEARLINE"), "NEARLINE"),
        (("OFFLINE", "NEARLINE"), "OFFLINE"),
        (("UNAVAILABLE", "ONLINE"), "UNAVAILABLE"),
        (("ONLINE", "ONLINE"), "ONLINE"),
    ],
)
def test_a_study_is_as_far_as_its_farthest_instance(both: tuple[str, str], farthest: str) -> None:
    (study,) = map_studies(said(notification(("2.25.3", both[0], "PACS"), ("2.25.4", both[1], "PACS"))))

    assert study.availability == farthest


def test_one_event_for_each_place() -> None:
    reception = receive(
        said(notification(("2.25.3", "ONLINE", "NEAR\\FAR"))),
        PLACE,
        message_id=MESSAGE_ID,
        now=NOW,
        raw=b"raw",
    )

    assert (reception.verdict, reception.answer_code, reception.message_type) == (
        Verdict.ACCEPTED,
        "0000",
        "IAN",
    )
    assert [(one.id, one.type) for one in reception.events] == [
        (f"{MESSAGE_ID}.0", "study.available"),
        (f"{MESSAGE_ID}.1", "study.available"),
    ]
    assert reception.keys == (("study", "2.25.1"),)


ONE = ("2.25.3", "ONLINE", "PACS")


@pytest.mark.parametrize(
    ("attributes", "code", "place"),
    [
        ({}, status.MISSING_ATTRIBUTE, "no data set"),
        (notification(ONE, StudyInstanceUID=None), status.MISSING_ATTRIBUTE, "(0020,000D) is missing"),
        (notification(ONE, StudyInstanceUID=""), status.MISSING_ATTRIBUTE_VALUE, "(0020,000D) has no value"),
        (notification(ONE, StudyInstanceUID="x"), status.INVALID_ATTRIBUTE_VALUE, "(0020,000D) is no UID"),
        (
            notification(ONE, ReferencedSeriesSequence=None),
            status.MISSING_ATTRIBUTE,
            "(0008,1115) is missing",
        ),
        (notification(), status.MISSING_ATTRIBUTE_VALUE, "(0008,1199) has no value"),
        (notification(("2.25.3", "ONLINE", "")), status.MISSING_ATTRIBUTE_VALUE, "(0008,0054) has no value"),
        (notification(("2.25.3", "NEAR", "PACS")), status.INVALID_ATTRIBUTE_VALUE, "(0008,0056)"),
        (notification(("3..5", "ONLINE", "PACS")), status.INVALID_ATTRIBUTE_VALUE, "(0008,1155) is no UID"),
    ],
)
def test_what_cannot_be_taken_names_its_place(attributes: dict[str, Any], code: int, place: str) -> None:
    reception = receive(said(attributes), PLACE, message_id=MESSAGE_ID, now=NOW, raw=b"raw")

    assert (reception.verdict, reception.answer_code) == (Verdict.REJECTED, f"{code:04X}")
    assert place in reception.reason
    assert reception.raw == b"raw", "kept, so that it can be looked at"
    assert code in notified.ANSWERED


def test_an_object_without_a_uid_is_none() -> None:
    with pytest.raises(Fault, match="SOP Instance UID"):
        map_studies(said(notification(ONE), uid="1.02"))


VALUES = st.recursive(
    st.text(max_size=5) | st.sampled_from(["ONLINE", "2.25.1"]),
    lambda inner: (
        st.lists(st.text(max_size=3), max_size=2).map(tuple)
        | st.lists(
            st.dictionaries(
                st.sampled_from(
                    [
                        *("SeriesInstanceUID", "ReferencedSOPSequence", "ReferencedSOPClassUID"),
                        *("ReferencedSOPInstanceUID", "InstanceAvailability", "RetrieveAETitle"),
                    ]
                ),
                inner,
            ),
            max_size=2,
        ).map(tuple)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["StudyInstanceUID", "ReferencedSeriesSequence"]), VALUES))
def test_whatever_is_said_is_answered(attributes: dict[str, Any]) -> None:
    reception = receive(said(attributes), PLACE, message_id=MESSAGE_ID, now=NOW, raw=b"raw")

    assert int(reception.answer_code, 16) in notified.ANSWERED
    assert bool(reception.events) == (reception.verdict is Verdict.ACCEPTED)
