"""Order-less worklists (IHE EBIW): the table of clinics, and the step that a visit there makes for each device group.

Pure but for reading the table. That a step ends with its visit, or gives way to an order, is the visit register's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker import csvfile
from broker.dicom import uid
from broker.dicom.vr_faults import vr_faults
from broker.errors import ConfigError
from broker.event import Code, Draft, Encounter, EventData, Patient, Step
from broker.reception import Profile

SH: Final = 16  # PS3.5 6.2
_CS: Final = re.compile(r"[A-Z0-9 _]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinic:
    """One row: the devices of a place that show its visits."""

    place: str
    """Point of care, or point of care `^` room (PV1-3), or `service:<PV1-10>`."""
    site: str
    """PV1-3.4, else the listener's site; empty: any."""
    modality: str
    aets: tuple[str, ...]
    description: str
    location: str

    def takes(self, encounter: Encounter, site: str) -> bool:
        return encounter.is_at(self.place) and self.site in ("", encounter.facility or site)


def read(path: Path) -> tuple[Clinic, ...]:
    """The table of clinics. Raises `ConfigError` with every fault."""
    found: list[Clinic] = []
    faults = []
    for row in csvfile.read(
        path, required=("place", "modality", "aets"), optional=("site", "description", "location")
    ):
        cells = row.cells
        clinic = Clinic(
            place=cells["place"],
            site=cells.get("site", ""),
            modality=cells["modality"],
            aets=tuple(a.strip() for a in cells["aets"].split("|") if a.strip()),
            description=cells.get("description", ""),
            location=cells.get("location", ""),
        )
        problems = [b.text for a in clinic.aets for b in vr_faults({"ScheduledStationAETitle": a})]
        if not clinic.place or not clinic.aets:
            problems.append(f"'{'aets' if clinic.place else 'place'}' is empty.")
        if _CS.fullmatch(clinic.modality) is None:
            problems.append("'modality' is no code of DICOM (PS3.5 6.2: CS).")
        if len(clinic.location) > SH:
            problems.append(f"'location' is longer than the {SH} characters that DICOM holds.")
        if any(_key(clinic) == _key(other) for other in found):
            problems.append("this place has the modality twice; write all AE titles in one row.")
        faults += [csvfile.fault(path, row, problem) for problem in problems]
        found.append(clinic)
    if faults:
        raise ConfigError(faults)
    return tuple(found)


def _key(clinic: Clinic) -> tuple[str, str, str]:
    return clinic.place, clinic.site, clinic.modality


def drafts(
    clinics: tuple[Clinic, ...],
    patient: Patient,
    encounter: Encounter,
    start: str,
    time: str,
    profile: Profile,
) -> Iterator[Draft]:
    """A `step.scheduled` for each device group of the place. None where nothing numbers the visit: it could not end."""
    number = encounter.visit_number or encounter.appointment
    for clinic in clinics:
        if number is None or not clinic.takes(encounter, profile.site):
            continue
        key = "|".join(("visit", number.issuer or profile.site, number.value, clinic.place, clinic.modality))
        study_uid = uid.derive(key)
        procedure = Code(text=clinic.description) if clinic.description else None
        step = Step(
            key=key,
            clinic=clinic.place,
            step_id=clinic.modality,
            requested_procedure_id=_fitting(number.value) or f"V{study_uid[-SH + 1 :]}",
            study_uid=study_uid,
            study_uid_derived=True,
            modality=clinic.modality,
            station_aets=clinic.aets,
            location=clinic.location,
            start_date=start[:8],
            start_time=start[8:14],
            description=clinic.description,
            procedure=procedure,
        )
        # Only who is meant: what PAS says of the patient was said by the event before.
        data = EventData(
            patient=Patient(identifiers=patient.identifiers),
            encounter=encounter.model_copy(update={"restores": ()}),
            step=step,
        )
        yield Draft(type="step.scheduled", time=time, data=data)


def _fitting(text: str) -> str:
    """The number as a value of VR SH, where it is one: two cut ids could become one."""
    return text if len(text) <= SH and "\\" not in text and text.isprintable() else ""
