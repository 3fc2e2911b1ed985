"""A rejection note made here, of what the registers know (IHE IOCM): for a study, some of its instances, or an MPPS's.

It is only made: stored at the broker's own storage SCP it goes the way of every object, to the archive and the EPJ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.dicom import attributes as dicom
from broker.dicom import key_object, part10, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.dicom.key_object import Frame, Note
from broker.dicom_identity import patient_module
from broker.errors import ConfigError
from broker.event import Code, Event, InstanceReference, Patient, PerformedStep
from broker.registers import patients, rejections
from broker.store.transaction import Transaction

MANUFACTURER = "HL7/DICOM integration broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A note, ready to be stored."""

    note: Note
    sop_instance_uid: str
    file: bytes
    """Part 10."""


def chosen(
    tx: Transaction, study_uid: str, *, only: Sequence[str] = (), mpps: str = "", restoring: bool = False
) -> tuple[InstanceReference, ...]:
    """The instances that a note is to name: of the study, those of `only`, those that came of an MPPS; out of use
    already, or for a note that gives back, not. Raises `ConfigError` saying what is not so."""
    rows = tx.rows(
        "SELECT sop_instance_uid, sop_class_uid, series_uid FROM instance WHERE study_uid=? ORDER BY series_uid,"
        " sop_instance_uid",
        (study_uid,),
    )
    known = {
        row[0]: InstanceReference(sop_instance_uid=row[0], sop_class_uid=row[1], series_uid=row[2])
        for row in rows
        if row[1] != uid.KEY_OBJECT_SELECTION
    }
    if not known:
        raise ConfigError("no images of this study came here; `broker studies list` shows those that did")
    wanted = set(only) or (_made_by(tx, mpps, study_uid) if mpps else set(known))
    if strangers := wanted - set(known) if only else set():
        raise ConfigError(
            f"{len(strangers)} of the instances are not of this study, or never came here;"
            " without --instance, --dry-run lists those that did"
        )
    out = {one.sop_instance_uid for one in rejections.of_study(tx, study_uid)}
    found = tuple(one for number, one in known.items() if number in wanted and (number in out) == restoring)
    if not found:
        stands = "nothing of it is out of use" if restoring else "all of it is out of use already"
        raise ConfigError(f"{stands}; `broker studies show` says what is")
    if any(not one.sop_class_uid or not one.series_uid for one in found):
        raise ConfigError(
            "some of it came so long ago that its SOP classes are not known any more; reject it in the archive"
        )
    return found


def make(
    tx: Transaction,
    study_uid: str,
    instances: tuple[InstanceReference, ...],
    title: Code,
    *,
    now: datetime,
    description: str = "",
) -> Made:
    """The note as a file. `description` must hold no patient's value: it leaves with the note.

    Raises `ConfigError` where the instances are of several patients: a note is one patient's.
    """
    note = Note(title=title, study_uid=study_uid, instances=instances)
    seed = f"note|{now.isoformat()}|{title.code}|" + "|".join(one.sop_instance_uid for one in instances)
    row = tx.one("SELECT accession FROM study WHERE study_uid=?", (study_uid,))
    frame = Frame(
        patient=_patient(tx, study_uid, instances),
        study={"AccessionNumber": row[0] if row else ""},
        sop_instance_uid=uid.derive(seed),
        series_uid=uid.derive(f"{seed}|series"),
        at=f"{now.astimezone():%Y%m%d%H%M%S}",
        manufacturer=MANUFACTURER,
    )
    document = key_object.build(note, frame, description=description)
    head = part10.head(
        sop_class_uid=uid.KEY_OBJECT_SELECTION,
        sop_instance_uid=frame.sop_instance_uid,
        transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
        calling_aet="BROKER",
    )
    return Made(note=note, sop_instance_uid=frame.sop_instance_uid, file=head + encode(document))


def _made_by(tx: Transaction, mpps: str, study_uid: str) -> set[str]:
    row = tx.one("SELECT body FROM mpps WHERE uid=?", (mpps,))
    if row is None:
        raise ConfigError("there is no such MPPS; `broker studies show` lists those of a study")
    performed = PerformedStep.model_validate_json(row[0])
    made_for = tx.rows(
        "SELECT study_uid FROM mpps_step JOIN step ON step.key=mpps_step.step WHERE mpps_step.mpps=?", (mpps,)
    )
    if study_uid not in {*(one.study_uid for one in performed.steps), *(one for (one,) in made_for)}:
        raise ConfigError("this MPPS is not of the study; `broker studies show` lists those that are")
    return rejections.made_by(tx, study_uid, performed)


def _patient(tx: Transaction, study_uid: str, instances: Sequence[InstanceReference]) -> Attributes:
    """As PAS has the patient, under the number that the images have in the archive; where PAS knows nobody, as the
    first instance said."""
    rows = tx.rows("SELECT sop_instance_uid, patient FROM instance WHERE study_uid=?", (study_uid,))
    named = {one.sop_instance_uid for one in instances}
    owners = {patient for uid, patient in rows if patient and uid in named}
    if len(owners) > 1:
        raise ConfigError(
            f"these instances are of {len(owners)} patients, and a note is one patient's: name those of one with"
            " --instance; `broker exceptions list` tells which (instance-patient-differs)"
        )
    if owners:
        (key,) = owners
        patient = patients.get(tx, key).patient
        said = tx.one(
            "SELECT said_issuer, said_value FROM instance WHERE sop_instance_uid=?",
            (instances[0].sop_instance_uid,),
        )
        first = sorted(patient.identifiers, key=lambda one: one.key != said)
        return patient_module(patient.model_copy(update={"identifiers": tuple(first)}))
    row = tx.one(
        "SELECT event.body FROM event JOIN instance ON instance.event=event.id WHERE sop_instance_uid=?",
        (instances[0].sop_instance_uid,),
    )
    stated = Event.model_validate_json(row[0]).data.patient if row else None
    return _as_said(stated) if stated is not None else {"PatientName": "", "PatientID": ""}


def _as_said(said: Patient) -> Attributes:
    if said.identifiers:
        return patient_module(said.model_copy(update={"identifiers": said.identifiers[:1]}))
    name = dicom.person_name(said.name) if said.name else ""
    return {"PatientName": name, "PatientID": "", "PatientBirthDate": said.birth_date or ""}
