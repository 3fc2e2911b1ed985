"""What is here held against what an archive has."""

from __future__ import annotations

import pytest

from broker.errors import TransientDeliveryError
from broker.event import Code, InstanceReference, Study
from broker.runtime.archive_check import Compared, compared, lately
from broker.store.transaction import Transaction
from tests.support.events import instance, local, patient
from tests.support.registers import Registers

STUDY = "2.25.1"
KARI = patient(local("700123"))


class There:
    """An archive."""

    def __init__(self, **studies: set[str]) -> None:
        self.studies = {name.replace("_", "."): uids for name, uids in studies.items()}

    def instances_of(self, study_uid: str) -> frozenset[str]:
        return frozenset(self.studies.get(study_uid, ()))

    def close(self) -> None: ...


@pytest.fixture
def here(tx: Transaction) -> Registers:
    """One complete study of four instances, whose patient PAS knows."""
    registers = Registers()
    registers.tx = tx
    registers.said("patient.registered", patient=KARI)
    for number in range(1, 5):
        received(registers, f"2.25.1.{number}", str(number))
    complete(registers)
    return registers


def received(registers: Registers, uid: str, content: str, study_uid: str = STUDY) -> None:
    said = instance(uid, study_uid=study_uid, content=content)
    registers.said("instance.received", source="images", patient=KARI, instance=said)


def complete(registers: Registers) -> None:
    registers.said("study.completed", source="clock", study=Study(study_uid=STUDY, basis="quiet", number=4))


def delivery(tx: Transaction, uid: str, state: str, destination: str = "pacs") -> None:
    """As routing writes it, without what nobody reads here."""
    (name,) = tx.one("SELECT event FROM instance WHERE sop_instance_uid=?", (uid,)) or ("",)
    found = tx.one("SELECT seq FROM event WHERE id=?", (name,))
    if found is None:
        tx.execute(
            "INSERT INTO event (id, message, type, body) VALUES (?,0,'instance.received','{}')", (name,)
        )
        found = tx.one("SELECT seq FROM event WHERE id=?", (name,))
    assert found is not None
    tx.execute(
        "INSERT INTO delivery (event, day, source, destination, kind, lane, route, place, version, state, due,"
        " summary, created) VALUES (?,'','images',?,'dicom','','','','',?,0,'','')",
        (found[0], destination, state),
    )


def stored(registers: Registers, *uids: str, archive: str = "pacs") -> None:
    said = tuple(
        InstanceReference(sop_class_uid="1.2", sop_instance_uid=uid, series_uid="2.25.1.1") for uid in uids
    )
    registers.said(
        "study.stored", source="clock", study=Study(study_uid=STUDY, archive=archive, instances=said)
    )


def differences(registers: Registers, there: There, archive: str = "pacs") -> Compared:
    (found,) = compared(lately(registers.tx, archive, "").studies, there)
    return found


def test_what_an_archive_took_is_there(here: Registers) -> None:
    for number in range(1, 5):
        delivery(here.tx, f"2.25.1.{number}", "delivered")

    found = differences(here, There(**{"2_25_1": {f"2.25.1.{n}" for n in range(1, 5)}}))

    assert found.agrees
    assert (found.there, found.waiting) == (4, 0)


def test_what_is_missing_waits_or_never_came(here: Registers) -> None:
    delivery(here.tx, "2.25.1.1", "delivered")
    delivery(here.tx, "2.25.1.2", "delivered")
    delivery(here.tx, "2.25.1.3", "parked")
    delivery(here.tx, "2.25.1.4", "delivered", "elsewhere")

    found = differences(here, There(**{"2_25_1": {"2.25.1.1", "2.25.9"}}))

    assert (found.missing, found.waiting, found.unknown) == (("2.25.1.2",), 1, ("2.25.9",))
    assert not found.agrees


def test_one_that_is_there_though_its_delivery_is_not_finished_is_no_fault(here: Registers) -> None:
    delivery(here.tx, "2.25.1.1", "queued")

    found = differences(here, There(**{"2_25_1": {"2.25.1.1"}}))

    assert found.agrees
    assert found.waiting == 0


def test_what_the_ledger_has_forgotten_the_registers_know(here: Registers) -> None:
    stored(here, "2.25.1.1", "2.25.1.2")

    assert differences(here, There()).missing == ("2.25.1.1", "2.25.1.2")
    assert differences(here, There(), "other").agrees, "another archive has nothing to have"


def test_a_file_that_was_given_up_cannot_be_sent_again(here: Registers) -> None:
    stored(here, "2.25.1.1", "2.25.1.2")
    here.tx.execute("INSERT INTO freed (sop_instance_uid, at) VALUES ('2.25.1.2', '2026-03-09')")

    found = differences(here, There())

    assert (found.missing, found.lost) == (("2.25.1.1", "2.25.1.2"), ("2.25.1.2",))


def test_what_was_rejected_may_be_there_or_not(here: Registers) -> None:
    stored(here, "2.25.1.1", "2.25.1.2")
    rejected = (InstanceReference(sop_class_uid="1.2", sop_instance_uid="2.25.1.1"),)
    note = Study(study_uid=STUDY, reason=Code(code="113001"), note="2.25.7", instances=rejected)
    here.said("study.rejected", source="images", patient=KARI, study=note)

    assert differences(here, There(**{"2_25_1": {"2.25.1.2"}})).agrees
    assert differences(here, There(**{"2_25_1": {"2.25.1.1", "2.25.1.2"}})).agrees


def test_studies_that_go_on_are_not_compared(here: Registers) -> None:
    received(here, "2.25.2.1", "x", "2.25.2")

    found = lately(here.tx, "pacs", "")

    assert ([one.study_uid for one in found.studies], found.receiving) == ([STUDY], 1)
    assert lately(here.tx, "pacs", "2027").studies == ()


def test_an_archive_that_does_not_answer_is_no_difference(here: Registers) -> None:
    class Silent(There):
        def instances_of(self, study_uid: str) -> frozenset[str]:
            raise TransientDeliveryError("no answer in time")

    with pytest.raises(TransientDeliveryError):
        differences(here, Silent())
