"""A request of a DICOM service: what is kept of it when it is taken, and when it is refused."""

from __future__ import annotations

from broker.adapter import Verdict
from broker.dicom import status
from broker.dicom_request import Request
from broker.event import Draft, EventData, Study
from tests.support.events import START

REQUEST = Request(
    source="availability",
    site="STO",
    message_id="M1",
    received=START,
    message_type="IAN",
    calling_aet="PACS",
    raw=b"file",
)


def test_one_that_is_taken_has_its_events_numbered_and_can_be_found() -> None:
    said = [
        Draft(type="study.available", data=EventData(study=Study(study_uid=uid)))
        for uid in ("1.2.3", "1.2.4")
    ]
    reception = REQUEST.taken(said, flags=["remark"])

    assert (reception.verdict, reception.answer_code, reception.reason) == (Verdict.ACCEPTED, "0000", "")
    assert [(one.id, one.message_id, one.time) for one in reception.events] == [
        ("M1.0", "M1", START),
        ("M1.1", "M1", START),
    ]
    assert reception.keys == (("study", "1.2.3"), ("study", "1.2.4"))
    assert (reception.peer, reception.sender, reception.raw) == ("PACS", "PACS", b"file")
    assert reception.flags == ("remark",)


def test_one_that_is_refused_says_why_and_comes_to_nothing() -> None:
    reception = REQUEST.refused(status.MISSING_ATTRIBUTE, "(0020,000D) is missing", [("instance", "1.2")])

    assert (reception.verdict, reception.answer_code) == (Verdict.REJECTED, "0120")
    assert (reception.reason, reception.keys) == ("(0020,000D) is missing", (("instance", "1.2"),))
    assert reception.events == ()
    assert reception.raw == b"file"
