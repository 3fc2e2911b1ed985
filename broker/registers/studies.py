"""Studies: how much of each is here, what its MPPS list, what archives notify of (IAN).

When a study counts as complete is decided by the clock (`broker.runtime.studies`) and comes as an event; what archives
commit to is `commitments`', what was rejected `rejections`'. Whose a study is, its instances say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.dicom import uid
from broker.event import Event, Instance, PerformedStep, Study
from broker.registers import commitments, exceptions, rejections
from broker.store.transaction import Transaction

RECEIVING: Final = "receiving"
COMPLETE: Final = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How much of a study is here."""

    instances: int
    expected: int
    """Instances that its MPPS list; 0: none does."""
    missing: int
    """Of these, those that are not here."""
    performing: bool
    """An MPPS of it is in progress."""


def received(tx: Transaction, event: Event, instance: Instance) -> None:
    """An instance came: its study goes on, also one that was complete. What names none (a hanging protocol) is of none:
    together such objects would be a study, and archives be asked for one without a number, which is every one."""
    if instance.study_uid:
        _go_on(tx, event, instance.study_uid, instance.accession_number)


def expected(tx: Transaction, event: Event, performed: PerformedStep) -> None:
    """What an MPPS says it made. A list that comes again is whole (PS3.4 F.7.2.2): what it leaves out was deleted.

    Not what another MPPS of the study lists too: one of an appended series may repeat a reference image."""
    made = {uid for series in performed.series for uid in series.instances}
    for study_uid, accession in {step.study_uid: step.accession_number for step in performed.steps}.items():
        if not study_uid:
            continue
        rows = tx.rows(
            "SELECT sop_instance_uid FROM study_expected WHERE study_uid=? AND mpps=?",
            (study_uid, performed.uid),
        )
        known = {uid for (uid,) in rows}
        tx.each(
            "DELETE FROM study_expected WHERE study_uid=? AND sop_instance_uid=? AND mpps=?",
            [(study_uid, uid, performed.uid) for uid in sorted(known - made)],
        )
        tx.each(
            "INSERT INTO study_expected (study_uid, sop_instance_uid, mpps) VALUES (?,?,?)",
            [(study_uid, uid, performed.uid) for uid in sorted(made - known)],
        )
        if made:
            _go_on(tx, event, study_uid, accession)
        rejections.wrong_entries(tx, event, study_uid)


def fold(tx: Transaction, event: Event, said: Study) -> None:
    """What is said of a study as such."""
    if event.type == "study.completed":
        _complete(tx, event, said)
        rejections.wrong_entries(tx, event, said.study_uid)
    elif event.type == "study.stored":
        commitments.stored(tx, event, said)
    elif event.type in ("study.rejected", "study.restored"):
        rejections.fold(tx, event, said)
    elif event.type == "study.available":
        tx.execute(
            "INSERT INTO availability (study_uid, retrieve_aet, availability, instances, since, event)"
            " VALUES (?,?,?,?,?,?) ON CONFLICT (study_uid, retrieve_aet) DO UPDATE SET"
            " availability=excluded.availability, instances=excluded.instances, since=excluded.since,"
            " event=excluded.event",
            (
                said.study_uid,
                said.retrieve_aet,
                said.availability,
                len(said.instances),
                event.time.isoformat(),
                event.id,
            ),
        )


def _complete(tx: Transaction, event: Event, said: Study) -> None:
    """Unless something came while that was decided: then it goes on, and is looked at again."""
    now = counted(tx, said.study_uid)
    if (now.instances, now.expected) != (said.number, said.expected):
        return
    tx.execute(
        "UPDATE study SET state=?, completed=?, event=? WHERE study_uid=?",
        (COMPLETE, event.time.isoformat(), event.id, said.study_uid),
    )
    if said.basis == "mpps":
        exceptions.clear(tx, "study-incomplete", said.study_uid)


def counted(tx: Transaction, study_uid: str) -> Counted:
    """How much of it is here."""
    (instances,) = tx.one("SELECT count(*) FROM instance WHERE study_uid=?", (study_uid,)) or (0,)
    listed, missing = tx.one(
        "SELECT count(*), coalesce(sum(CASE WHEN instance.sop_instance_uid IS NULL THEN 1 ELSE 0 END), 0)"
        " FROM (SELECT DISTINCT sop_instance_uid FROM study_expected WHERE study_uid=?) AS listed"
        " LEFT JOIN instance ON instance.sop_instance_uid=listed.sop_instance_uid",
        (study_uid,),
    ) or (0, 0)
    performing = tx.one(
        "SELECT 1 FROM mpps JOIN mpps_step ON mpps_step.mpps=mpps.uid JOIN step ON step.key=mpps_step.step"
        " WHERE step.study_uid=? AND mpps.status='IN PROGRESS' LIMIT 1",
        (study_uid,),
    )
    return Counted(
        instances=instances, expected=listed, missing=int(missing), performing=performing is not None
    )


def waiting(tx: Transaction) -> dict[str, int]:
    """How many studies go on, and how many requests of devices for commitment are not reported on yet."""
    return {
        name: (tx.one(f"SELECT count(*) FROM {what}") or (0,))[0]
        for name, what in (
            ("receiving", f"study WHERE state='{RECEIVING}'"),
            ("requests", "commitment_request WHERE reported=''"),
        )
    }


def completed_of(tx: Transaction, mpps: str) -> bool:
    """Whether the study that an MPPS is of has images here, and nothing of it came for long."""
    row = tx.one(
        "SELECT 1 FROM mpps_step JOIN step ON step.key=mpps_step.step JOIN study ON study.study_uid=step.study_uid"
        " JOIN instance ON instance.study_uid=study.study_uid WHERE mpps_step.mpps=? AND study.state=? LIMIT 1",
        (mpps, COMPLETE),
    )
    return row is not None


def owner(tx: Transaction, study_uid: str) -> str:
    """Key of the patient whose instances it has, key objects apart, where that is one; else empty."""
    found = tx.rows(
        "SELECT DISTINCT patient FROM instance WHERE study_uid=? AND patient<>'' AND sop_class_uid<>?",
        (study_uid, uid.KEY_OBJECT_SELECTION),
    )
    return str(found[0][0]) if len(found) == 1 else ""


def _go_on(tx: Transaction, event: Event, study_uid: str, accession: str) -> None:
    """Written at most once for each second of the events' time: nobody asks to the millisecond when the last one came,
    and of hundreds of instances a second next to none costs a write."""
    at = event.time.isoformat()
    tx.execute(
        "INSERT INTO study (study_uid, accession, since, last, state, completed, event) VALUES (?,?,?,?,?,'',?)"
        " ON CONFLICT (study_uid) DO UPDATE SET last=excluded.last, state=excluded.state, event=excluded.event,"
        " accession=CASE WHEN study.accession='' THEN excluded.accession ELSE study.accession END"
        " WHERE study.state<>excluded.state OR substr(study.last,1,19)<substr(excluded.last,1,19)"
        " OR (study.accession='' AND excluded.accession<>'')",
        (study_uid, accession, at, at, RECEIVING, event.id),
    )
