"""Which archive keeps what, what was asked of it and answered, and what devices ask of us."""

from __future__ import annotations

from typing import Any

import pytest

from broker.event import InstanceReference, Study
from broker.registers import commitments
from broker.registers.commitments import COMMITTED, FAILED, STORED
from broker.registers.fold import Folded
from tests.support.events import START, event, instance, local, patient
from tests.support.registers import Registers

STUDY, UIDS = "2.25.1", ("2.25.1.1", "2.25.1.2")
WHO = patient(local("700123"))


def references(*uids: str, failure: int = 0) -> tuple[InstanceReference, ...]:
    sop_class = instance().sop_class_uid
    return tuple(
        InstanceReference(sop_class_uid=sop_class, sop_instance_uid=uid, failure=failure) for uid in uids
    )


@pytest.fixture
def registers() -> Registers:
    found = Registers()
    found.said("patient.registered", patient=WHO)
    for number, uid in enumerate(UIDS):
        found.said("instance.received", patient=WHO, instance=instance(uid, content=str(number)))
    return found


def stored(registers: Registers, *uids: str, archive: str = "pacs") -> str:
    """The Transaction UID under which the archive is asked."""
    said = event(
        "study.stored",
        registers.next(),
        study=Study(study_uid=STUDY, archive=archive, instances=references(*(uids or UIDS))),
    )
    registers.fold(said)
    return commitments.transaction_of(said)


def answered(registers: Registers, transaction: str, *instances: InstanceReference) -> Folded:
    return registers.said(
        "study.committed", study=Study(transaction_uid=transaction, instances=tuple(instances))
    )


def states(registers: Registers, archive: str = "pacs") -> dict[str, tuple[str, int]]:
    rows = registers.tx.rows("SELECT sop_instance_uid, state, failure FROM copy WHERE archive=?", (archive,))
    return {uid: (state, failure) for uid, state, failure in rows}


def test_what_an_archive_took_is_committed_once_it_says_so(registers: Registers) -> None:
    transaction = stored(registers)
    assert states(registers) == dict.fromkeys(UIDS, (STORED, 0))
    assert commitments.copies(registers.tx, UIDS[0]) == 0

    folded = answered(registers, transaction, *references(*UIDS))

    assert states(registers) == dict.fromkeys(UIDS, (COMMITTED, 0))
    assert commitments.copies(registers.tx, UIDS[0]) == 1
    view = folded.view
    assert view is not None
    assert view.event.data.study is not None
    assert (view.event.data.study.archive, view.event.data.study.study_uid) == ("pacs", STUDY)
    assert view.patient == WHO, "routes see whose it is"


def test_what_it_does_not_keep_is_known_one_by_one(registers: Registers) -> None:
    transaction = stored(registers)
    answered(registers, transaction, *references(UIDS[0]), *references(UIDS[1], failure=0x0112))

    assert states(registers) == {UIDS[0]: (COMMITTED, 0), UIDS[1]: (FAILED, 0x0112)}


def test_several_archives_count_each_for_itself(registers: Registers) -> None:
    for archive in ("pacs", "far"):
        answered(registers, stored(registers, archive=archive), *references(*UIDS))
    stored(registers, archive="third")

    assert commitments.copies(registers.tx, UIDS[0]) == 2


def test_what_nobody_asked_is_not_believed(registers: Registers) -> None:
    stored(registers)
    folded = answered(registers, "2.25.404", *references(*UIDS))

    assert folded.view is None
    assert states(registers) == dict.fromkeys(UIDS, (STORED, 0))
    assert registers.reported("commitment-unknown") == ["2.25.404"]


def test_a_report_that_comes_again_changes_nothing(registers: Registers) -> None:
    first = stored(registers)
    answered(registers, first, *references(*UIDS, failure=0x0112))
    second = stored(registers)
    answered(registers, second, *references(*UIDS))

    assert answered(registers, first, *references(*UIDS, failure=0x0112)).view is None
    assert states(registers) == dict.fromkeys(UIDS, (COMMITTED, 0))


def test_a_late_answer_to_a_request_that_was_made_anew_counts(registers: Registers) -> None:
    first = stored(registers)
    stored(registers)
    answered(registers, first, *references(*UIDS))

    assert states(registers) == dict.fromkeys(UIDS, (COMMITTED, 0))


def test_what_a_report_leaves_out_is_still_owed(registers: Registers) -> None:
    transaction = stored(registers)
    answered(registers, transaction, *references(UIDS[0]))

    assert states(registers)[UIDS[1]] == (STORED, 0)
    (row,) = registers.tx.rows("SELECT answered FROM commitment")
    assert row == ("",)
    answered(registers, transaction, *references(UIDS[1]))
    assert commitments.copies(registers.tx, UIDS[1]) == 1


# --- devices ---


def asked(registers: Registers, *uids: str, device: str = "CT1_STO", **fields: Any) -> Folded:
    study = Study(requester=device, transaction_uid="2.25.9", instances=references(*uids))
    return registers.said("commitment.requested", study=study, **fields)


def requests(registers: Registers) -> list[tuple[Any, ...]]:
    return registers.tx.rows("SELECT requester, asked, reported FROM commitment_request ORDER BY requester")


def items(registers: Registers, device: str = "CT1_STO") -> list[str]:
    rows = registers.tx.rows(
        "SELECT sop_instance_uid FROM commitment_item WHERE requester=? ORDER BY 1", (device,)
    )
    return [uid for (uid,) in rows]


def test_devices_ask_each_for_itself_and_are_a_lane_each(registers: Registers) -> None:
    first, second = asked(registers, *UIDS), asked(registers, "2.25.5", device="MR1_STO")

    assert [folded.view and folded.view.patient_key for folded in (first, second)] == [
        "device|CT1_STO",
        "device|MR1_STO",
    ]
    assert (items(registers), items(registers, "MR1_STO")) == (list(UIDS), ["2.25.5"])


def test_what_is_asked_again_is_asked_anew_and_the_newer_list_counts(registers: Registers) -> None:
    asked(registers, *UIDS)
    (before,) = requests(registers)
    registers.said(
        "commitment.reported",
        study=Study(requester="CT1_STO", transaction_uid="2.25.9", instances=references(*UIDS)),
    )
    assert requests(registers)[0][2] > START.isoformat(), "it was told"
    asked(registers, "2.25.5")

    ((device, at, reported),) = requests(registers)
    assert (device, reported, items(registers)) == ("CT1_STO", "", ["2.25.5"])
    assert at > before[1]


def test_a_report_closes_the_request_of_its_device_only(registers: Registers) -> None:
    asked(registers, *UIDS)
    asked(registers, *UIDS, device="MR1_STO")
    folded = registers.said(
        "commitment.reported",
        study=Study(requester="MR1_STO", transaction_uid="2.25.9", instances=references(*UIDS)),
    )

    assert [(device, bool(reported)) for device, _, reported in requests(registers)] == [
        ("CT1_STO", False),
        ("MR1_STO", True),
    ]
    assert folded.view is not None
    assert folded.view.patient_key == "device|MR1_STO"
