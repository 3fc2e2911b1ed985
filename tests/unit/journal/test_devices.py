"""What devices sent, whom it reached, and who was told of patients."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from broker.adapter import Rendered, Target, Verdict
from broker.delivery import ledger
from broker.journal import audit, devices
from broker.journal.devices import Sent
from broker.journal.intake import append
from broker.store.database import Transaction
from tests.support.events import START, cause, event, reception

SINCE = START.isoformat()


def arrives(tx: Transaction, number: int, type: str, aet: str = "CT1", **fields: Any) -> None:
    said = event("step.started", number)
    append(tx, reception(number, said, protocol="dicom", message_type=type, sender=aet, **fields))


def test_messages_are_added_up_by_device_service_and_verdict(tx: Transaction) -> None:
    arrives(tx, 1, "C-STORE")
    arrives(tx, 2, "C-STORE")
    arrives(tx, 3, "C-STORE", verdict=Verdict.REJECTED)
    arrives(tx, 4, "N-CREATE")
    arrives(tx, 5, "N-CREATE", flags=("mpps-without-end", "mpps-unscheduled"))
    arrives(tx, 6, "N-SET", "CT2")
    arrives(tx, 7, "ADT^A01")

    at = [(START + timedelta(minutes=n)).isoformat() for n in range(8)]
    assert devices.sent(tx, SINCE) == [
        Sent(aet="CT1", type="C-STORE", verdict="accepted", number=2, last=at[2]),
        Sent(aet="CT1", type="C-STORE", verdict="rejected", number=1, last=at[3]),
        Sent(aet="CT1", type="N-CREATE", verdict="accepted", number=2, last=at[5], scheduled=1),
        Sent(aet="CT2", type="N-SET", verdict="accepted", number=1, last=at[6]),
    ]
    assert devices.sent(tx, at[6]) == [
        Sent(aet="CT2", type="N-SET", verdict="accepted", number=1, last=at[6])
    ]


@pytest.mark.parametrize(
    ("kind", "delivered", "expected"),
    [
        ("hl7", True, {"CT1": ("epj",)}),
        ("hl7", False, {}),
        ("dicom", True, {}),
    ],
)
def test_only_what_an_hl7_destination_took_reached_it(
    tx: Transaction, kind: Any, delivered: bool, expected: dict[str, tuple[str, ...]]
) -> None:
    arrives(tx, 1, "N-CREATE")
    target = Target(route="r", version="v", place="r.yaml:1", kind=kind, destination="epj")
    if delivered:
        ledger.record(tx, cause(), "P1", target, Rendered(payload=b"x"), "MSA-1 AA")
    else:
        ledger.enqueue(tx, cause(), "P1", target, Rendered(payload=b"x"))

    assert devices.reached(tx, SINCE) == expected
    assert devices.reached(tx, (START + timedelta(days=1)).isoformat()) == {}


def test_who_was_told_of_somebody_stands_in_the_audit(tx: Transaction) -> None:
    for who, patients in (("CT1", ["P1"]), ("CT2", [])):
        entry = audit.note(tx, at=START, who=who, action="C-FIND PATIENT", reason="", detail={})
        audit.disclose(tx, entry, patients)

    assert devices.told(tx, SINCE) == {"CT1"}
    assert devices.told(tx, (START + timedelta(seconds=1)).isoformat()) == frozenset()
