"""What devices sent, whom it reached, and who was told of patients."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from broker.adapter import Rendered, Target, Verdict
from broker.delivery import ledger
from broker.event import InstanceReference, Study
from broker.journal import audit, devices
from broker.journal.devices import Asked, Filed, Safe, Sent
from broker.journal.intake import append
from broker.registers.fold import fold
from broker.store.transaction import Transaction
from tests.support.events import START, cause, event, instance, local, patient, reception

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


KARI, OLD, NOBODY = patient(local("700123")), patient(local("700001")), patient(local("4711"))


def comes(tx: Transaction, number: int, kind: str, type: str, aet: str = "CT1", **data: Any) -> None:
    """A message of the device, and its event folded."""
    said = event(kind, number, source="images", **data)
    append(tx, reception(number, said, protocol="dicom", message_type=type, sender=aet))
    fold(tx, said, None)


@pytest.fixture
def stored(tx: Transaction) -> Transaction:
    """CT1 sent an object of KARI, one under the number that a merge had ended, and one of nobody; CT2 sent one."""
    fold(tx, event("patient.registered", 1, patient=OLD), None)
    fold(tx, event("patient.registered", 2, patient=KARI), None)
    fold(tx, event("patient.merged", 3, patient=KARI, prior=OLD.identifiers), None)
    for number, (who, aet) in enumerate(((KARI, "CT1"), (OLD, "CT1"), (NOBODY, "CT1"), (KARI, "CT2")), 4):
        made = instance(f"2.25.1.{number}", content=str(number))
        comes(tx, number, "instance.received", "C-STORE", aet, patient=who, instance=made)
    return tx


def test_whose_the_objects_of_a_device_are(stored: Transaction) -> None:
    assert devices.filed(stored, "CT1", SINCE) == Filed(number=3, unknown=1, ended=1)
    assert devices.filed(stored, "CT2", SINCE) == Filed(number=1)
    assert devices.filed(stored, "CT1", (START + timedelta(days=1)).isoformat()) == Filed()


def references(*numbers: int) -> tuple[InstanceReference, ...]:
    return tuple(InstanceReference(sop_class_uid="1.2", sop_instance_uid=f"2.25.1.{n}") for n in numbers)


def test_how_much_of_it_an_archive_has_committed_to(stored: Transaction) -> None:
    for number, archive in ((20, "pacs"), (21, "vna")):
        said = Study(study_uid="2.25.1", archive=archive, instances=references(4, 5, 7))
        fold(stored, event("study.stored", number, source="clock", study=said), None)
    (transaction,) = stored.one("SELECT transaction_uid FROM commitment WHERE archive='pacs'") or ("",)
    done = Study(transaction_uid=transaction, instances=references(4, 7))
    fold(stored, event("study.committed", 22, source="commitment", study=done), None)

    assert devices.safe(stored, SINCE) == {
        "CT1": Safe(stored=2, committed=1),
        "CT2": Safe(stored=1, committed=1),
    }


def test_what_steps_came_to(tx: Transaction) -> None:
    for number, kind in enumerate(("step.started", "step.started", "step.changed", "step.completed"), 1):
        append(
            tx, reception(number, event(kind, number), protocol="dicom", message_type="N-SET", sender="CT1")
        )

    assert devices.performed(tx, "CT1", SINCE) == {"begun": 2, "completed": 1}
    assert devices.performed(tx, "CT2", SINCE) == {}


@pytest.mark.parametrize(("delivered", "taken"), [(True, 1), (False, 0)])
def test_commitments_that_a_device_asked_for(tx: Transaction, delivered: bool, taken: int) -> None:
    asking = Study(transaction_uid="2.25.70", requester="CT1", instances=references(1))
    comes(tx, 1, "commitment.requested", "N-ACTION", study=asking)
    comes(tx, 2, "commitment.reported", "CLOCK", study=asking)
    (number,) = tx.one("SELECT seq FROM event WHERE type='commitment.reported'") or (0,)
    target = Target(route="r", version="v", place="r.yaml:1", kind="dicom", destination="devices")
    said = cause(number)
    if delivered:
        ledger.record(tx, said, "device|CT1", target, Rendered(payload=b"x"), "0000")
    else:
        ledger.enqueue(tx, said, "device|CT1", target, Rendered(payload=b"x"))

    last = (START + timedelta(minutes=1)).isoformat()
    assert devices.asked(tx, "CT1", SINCE) == Asked(number=1, last=last, reported=taken)
    assert devices.asked(tx, "CT2", SINCE) == Asked()
