"""Each line of a device's sheet."""

from __future__ import annotations

from typing import Any

import pytest

from broker.journal.devices import Asked, Filed, Sent
from broker.why.checkup import Line, Listed, Seen, Verdict, sheet
from broker.why.facts import Device
from broker.why.showable import Peer

NO_ROWS = Listed(query="a query", stand=0, matched=0)
ASKED = Device(at="2026-03-09T08:00:00+00:00", answers=1)


def seen(**fields: Any) -> Seen:
    given: dict[str, Any] = {
        "ae": "CT1",
        "days": 7,
        "listed": True,
        "admitted": True,
        "echo": "",
        "rows": NO_ROWS,
    }
    return Seen(**(given | fields))


def sent(type: str = "C-STORE", verdict: str = "accepted", last: str = "1", **fields: Any) -> Sent:
    return Sent(**{"aet": "CT1", "type": type, "verdict": verdict, "number": 1, "last": last} | fields)


def line(check: str, **fields: Any) -> Line:
    (found,) = (one for one in sheet(seen(**fields)) if one.check == check)
    return found


def peer(rows: int, unshown: int) -> Peer:
    return Peer(
        name="CT1",
        kind="device",
        charsets=("ISO_IR 100",),
        declared=True,
        rows=rows,
        rows_unshown=unshown,
    )


@pytest.mark.parametrize(
    ("check", "fields", "verdict"),
    [
        ("association", {}, "pass"),
        ("association", {"listed": False}, "pass"),
        ("association", {"listed": False, "admitted": False}, "fail"),
        ("echo", {}, "pass"),
        ("echo", {"echo": "no connection"}, "fail"),
        ("echo", {"echo": None}, "not known"),
        ("query", {}, "not known"),
        ("query", {"silent": "no broker answers"}, "not known"),
        ("query", {"asked": (ASKED,)}, "pass"),
        ("worklist", {}, "not known"),
        ("worklist", {"rows": Listed(query="q", stand=2, matched=1, excluded_by=("Modality",))}, "pass"),
        ("worklist", {"rows": Listed(query="q", stand=2, matched=0, excluded_by=("Modality",))}, "fail"),
        ("charset", {}, "not known"),
        ("charset", {"peer": peer(0, 0)}, "not known"),
        ("charset", {"peer": peer(2, 0)}, "pass"),
        ("charset", {"peer": peer(2, 1)}, "fail"),
        ("store", {}, "not known"),
        ("store", {"sent": (sent("N-SET"),)}, "not known"),
        ("store", {"sent": (sent(),)}, "pass"),
        ("store", {"sent": (sent(last="2"), sent(verdict="rejected", last="1"))}, "pass"),
        ("store", {"sent": (sent(last="1"), sent(verdict="rejected", last="2"))}, "fail"),
        ("mpps", {"sent": (sent("N-CREATE", last="1"), sent("N-SET", last="2"))}, "pass"),
        ("mpps", {"sent": (sent("N-CREATE", last="1"), sent("N-SET", "rejected", last="2"))}, "fail"),
        ("patient", {}, "not known"),
        ("patient", {"filed": Filed(number=3)}, "pass"),
        ("patient", {"filed": Filed(number=3, unknown=1)}, "fail"),
        ("merge", {"filed": Filed(number=3)}, "not known"),
        ("merge", {"filed": Filed(number=3, ended=1)}, "pass"),
        ("outcome", {}, "not known"),
        ("outcome", {"performed": {"begun": 2}}, "not known"),
        ("outcome", {"performed": {"begun": 2, "discontinued": 1}}, "pass"),
        ("commitment", {}, "not known"),
        ("commitment", {"asked_commitment": Asked(number=2, last="1")}, "not known"),
        ("commitment", {"asked_commitment": Asked(number=2, last="1", reported=1)}, "pass"),
        ("commitment", {"asked_commitment": Asked(number=2, last="1", reported=1, stuck=1)}, "fail"),
        ("commitment", {"asked_commitment": Asked(number=2, last="1"), "commits": False}, "fail"),
        ("reports", {}, "not known"),
        ("reports", {"reports": ""}, "pass"),
        ("reports", {"reports": "CT1 refuses SOP class"}, "not known"),
        (
            "reports",
            {"reports": "CT1 refuses SOP class", "asked_commitment": Asked(number=1, last="1")},
            "fail",
        ),
    ],
)
def test_a_line_is_judged_by_what_was_seen(check: str, fields: dict[str, Any], verdict: Verdict) -> None:
    assert line(check, **fields).verdict == verdict


def test_what_fails_says_what_to_do() -> None:
    lines = sheet(
        seen(
            admitted=False,
            echo="no connection",
            rows=Listed(query="q", stand=1, matched=0, excluded_by=("Modality",)),
            peer=peer(1, 1),
            sent=(sent(verdict="rejected"), sent("N-SET", "rejected")),
            filed=Filed(number=1, unknown=1),
            asked_commitment=Asked(number=1, last="1", stuck=1),
            reports="CT1 refuses SOP class",
        )
    )

    failed = [one for one in lines if one.verdict == "fail"]
    assert [one.check for one in failed] == [
        *("association", "echo", "worklist", "charset", "store", "patient", "mpps", "commitment", "reports")
    ]
    assert all(one.do for one in failed)
    assert "Modality" in failed[2].do


def test_messages_are_counted_by_verdict() -> None:
    found = line("store", sent=(sent(number=3, last="2"), sent(verdict="rejected", last="1"))).found

    assert "3 accepted, 1 rejected in 7 days" in found


def test_reports_are_not_tried_where_nobody_answers() -> None:
    assert line("reports", echo="no connection").found == "not tried: it did not answer a C-ECHO"
    assert "is not known" in line("reports").found
