"""Instances that a rejection note took out of use (IHE IOCM), and those of a wrong worklist entry that nobody has yet.

A note may reject what is its own patient's. The objects stay where they are: hiding them is the archive's, which gets
the note like any object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.dicom import uid as uids
from broker.event import Event, PerformedStep, Study
from broker.registers import exceptions, patients
from broker.registers.performed import WRONG_ENTRY
from broker.store.transaction import Transaction

NOTES: Final = uids.KEY_OBJECT_SELECTION
"""Key object selections: what a study's rest is counted without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An instance that is out of use."""

    sop_instance_uid: str
    code: str
    note: str
    since: str


def foreign(tx: Transaction, event: Event, said: Study) -> bool:
    """Whether a note names another patient than one of its instances has: reported, and it changes nothing."""
    stated = event.data.patient.identifiers if event.data.patient is not None else ()
    owners = _owners(tx, said)
    found, values = set(patients.find(tx, stated)), {one.value for one in stated}
    # By its number alone, because devices leave the issuer out.
    if all(key in found or values & set(patients.values_of(tx, key)) for key in owners):
        return False
    reason = (
        "a rejection note names another patient than its instances have, or none; nothing is rejected by it"
    )
    exceptions.report(tx, "rejection-patient-differs", said.note or said.study_uid, reason, event)
    return True


def _owners(tx: Transaction, said: Study) -> set[str]:
    """Keys of the patients of what a note names: wherever that stands, not only in the study that the note says."""
    rows = tx.rows("SELECT sop_instance_uid, patient FROM instance WHERE study_uid=?", (said.study_uid,))
    here = dict(rows)
    owners = set[str]()
    for one in said.instances:
        uid = one.sop_instance_uid
        row = (
            (here[uid],)
            if uid in here
            else tx.one("SELECT patient FROM instance WHERE sop_instance_uid=?", (uid,))
        )
        owners.add(row[0] if row else "")
    return owners - {""}


def fold(tx: Transaction, event: Event, said: Study) -> None:
    """Rejects, or takes back."""
    uids = [one.sop_instance_uid for one in said.instances]
    if event.type == "study.restored":
        tx.each("DELETE FROM rejection WHERE sop_instance_uid=?", [(uid,) for uid in uids])
    else:
        code, at = said.reason.code if said.reason else "", event.time.isoformat()
        tx.each(
            "INSERT INTO rejection (sop_instance_uid, study_uid, code, note, since, event) VALUES (?,?,?,?,?,?)"
            " ON CONFLICT (sop_instance_uid) DO UPDATE SET code=excluded.code, note=excluded.note,"
            " since=excluded.since, event=excluded.event",
            [(uid, said.study_uid, code, said.note, at, event.id) for uid in uids],
        )
    wrong_entries(tx, event, said.study_uid)


def remaining(tx: Transaction, study_uid: str) -> int:
    """How many instances of a study are here and in use, notes not counted."""
    row = tx.one(
        "SELECT count(*) FROM instance WHERE study_uid=? AND sop_class_uid<>? AND NOT EXISTS"
        " (SELECT 1 FROM rejection WHERE rejection.sop_instance_uid=instance.sop_instance_uid)",
        (study_uid, NOTES),
    )
    return int(row[0]) if row else 0


def of_study(tx: Transaction, study_uid: str) -> list[Rejected]:
    """What of a study is out of use."""
    rows = tx.rows(
        "SELECT sop_instance_uid, code, note, since FROM rejection WHERE study_uid=? ORDER BY since, sop_instance_uid",
        (study_uid,),
    )
    return [Rejected(sop_instance_uid=uid, code=code, note=note, since=at) for uid, code, note, at in rows]


def wrong_entries(tx: Transaction, event: Event, study_uid: str) -> None:
    """An MPPS that ended because its worklist entry was the wrong one leaves images of the wrong patient, perhaps:
    they stand here until somebody rejects them."""
    rows = tx.rows(
        "SELECT DISTINCT mpps.uid, mpps.body FROM mpps JOIN mpps_step ON mpps_step.mpps=mpps.uid"
        " JOIN step ON step.key=mpps_step.step WHERE step.study_uid=? AND mpps.status='DISCONTINUED' ORDER BY 1",
        (study_uid,),
    )
    for uid, body in rows:
        performed = PerformedStep.model_validate_json(body)
        if performed.discontinuation != WRONG_ENTRY:
            continue
        left = _left(tx, study_uid, performed)
        if left:
            reason = (
                f"the worklist entry was the wrong one (110514) and {left} instances came of it; reject them:"
                f" broker studies reject {study_uid} --title wrong-entry --mpps {uid}"
            )
            exceptions.report(tx, "wrong-entry-images", uid, reason, event)
        else:
            exceptions.clear(tx, "wrong-entry-images", uid)


def made_by(tx: Transaction, study_uid: str, performed: PerformedStep) -> set[str]:
    """Images that are of an MPPS: those that it lists. Where it lists none, what is here of the study and no other MPPS
    lists: its row is served again, and the examination that follows has the same study."""
    listed = {uid for series in performed.series for uid in series.instances}
    if listed:
        return listed
    rows = tx.rows(
        "SELECT sop_instance_uid FROM instance WHERE study_uid=? AND sop_class_uid<>? AND NOT EXISTS (SELECT 1"
        " FROM study_expected AS other WHERE other.study_uid=instance.study_uid"
        " AND other.sop_instance_uid=instance.sop_instance_uid AND other.mpps<>?)",
        (study_uid, NOTES, performed.uid),
    )
    return {uid for (uid,) in rows}


def _left(tx: Transaction, study_uid: str, performed: PerformedStep) -> int:
    """How many images of an MPPS are here and in use."""
    rows = tx.rows(
        "SELECT sop_instance_uid FROM instance WHERE study_uid=? AND NOT EXISTS"
        " (SELECT 1 FROM rejection WHERE rejection.sop_instance_uid=instance.sop_instance_uid)",
        (study_uid,),
    )
    return len(made_by(tx, study_uid, performed) & {uid for (uid,) in rows})
