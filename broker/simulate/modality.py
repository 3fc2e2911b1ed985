"""Modalities: they ask for their worklist, and store images of the examination that they picked from it.

What is in an image is made of the row that the broker answered, as a device does it, not of what we know.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from broker.dicom import part10, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN
from broker.errors import BrokerError
from broker.net.find_scu import FindScu
from broker.net.store_scu import StoreScu
from broker.simulate.records import Lookup, Query, Records, Seen, Storing
from broker.simulate.story import Exam

SOP_CLASSES: Final[Mapping[str, str]] = {
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "OP": "1.2.840.10008.5.1.4.1.1.77.1.5.1",
}
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
"""Of every other modality."""
ROW_WITHIN: Final = 10.0
"""Seconds after its acknowledgement in which an order's row must be seen."""
_LOOK_EVERY: Final = 0.2
_STORE_ATTEMPTS: Final = 5
_SIDE: Final = 64
_IDENTITY: Final = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
)


def query(*, aet: str = "", accession: str = "", date: str = "") -> Attributes:
    """A worklist query (PS3.4 K.6.1.2) with the keys that devices return; `date` as `YYYYMMDD` or a range."""
    step = {
        "Modality": "",
        "ScheduledStationAETitle": aet,
        "ScheduledProcedureStepStartDate": date,
        "ScheduledProcedureStepStartTime": "",
        "ScheduledProcedureStepID": "",
    }
    return {
        **dict.fromkeys(_IDENTITY, ""),
        "IssuerOfPatientIDQualifiersSequence": (),
        "AccessionNumber": accession,
        "AdmissionID": "",
        "StudyInstanceUID": "",
        "ScheduledProcedureStepSequence": (step,),
    }


def text(row: Attributes, keyword: str) -> str:
    """A value of the row or, where it has none of that name, of its step."""
    steps = row.get("ScheduledProcedureStepSequence", ())
    step = steps[0] if steps and isinstance(steps[0], Mapping) else {}
    value = row.get(keyword, step.get(keyword, ""))
    return value if isinstance(value, str) else "\\".join(str(part) for part in value)


def image(exam: Exam, number: int, row: Attributes) -> bytes:
    """A small Part 10 file of the examination, its patient as the row has it."""
    sop_class, instance = SOP_CLASSES.get(exam.modality, SECONDARY_CAPTURE), exam.sop_instance_uid(number)
    attributes: Attributes = {
        **{keyword: row[keyword] for keyword in _IDENTITY if row.get(keyword)},
        "SOPClassUID": sop_class,
        "SOPInstanceUID": instance,
        "StudyInstanceUID": text(row, "StudyInstanceUID") or exam.study_uid,
        "SeriesInstanceUID": uid.derive(f"simulate|series|{exam.accession}|{exam.step}"),
        "AccessionNumber": exam.accession,
        "Modality": exam.modality,
        "StudyID": "1",
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "SamplesPerPixel": "1",
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": str(_SIDE),
        "Columns": str(_SIDE),
        "BitsAllocated": "16",
        "BitsStored": "12",
        "HighBit": "11",
        "PixelRepresentation": "0",
    }
    head = part10.head(
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        calling_aet=exam.aet,
    )
    pixels = bytes((number % 256, 0)) * (_SIDE * _SIDE)
    return head + encode(attributes) + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels


class Modalities:
    """The devices of one worker: an association for queries and one for images for each AE title. One thread."""

    def __init__(self, host: str, port: int, called_aet: str, folder: Path, records: Records) -> None:
        self._host, self._port, self._called = host, port, called_aet
        self._folder, self._records = folder, records
        self._finders: dict[str, FindScu] = {}
        self._stores: dict[str, StoreScu] = {}
        self._picked: dict[str, Attributes] = {}

    def poll(self, aet: str, date: str = "") -> int:
        """Asks for the device's worklist; how many rows there are, -1 when the query failed."""
        began = time.monotonic()
        try:
            count = self._finder(aet).count(query(aet=aet, date=date))
        except BrokerError:
            self._records.queries.append(Query(seconds=None))
            return -1
        self._records.queries.append(Query(seconds=time.monotonic() - began))
        return count

    def rows(self, aet: str, date: str = "") -> list[Attributes]:
        """The device's worklist, read. Raises what `FindScu.find` raises."""
        return self._finder(aet).find(query(aet=aet, date=date))

    def see(self, aet: str) -> None:
        """Notes every row of the device."""
        try:
            rows = self.rows(aet)
        except BrokerError:
            self._records.queries.append(Query(seconds=None))
            return
        for row in rows:
            self._records.seen.append(
                Seen(
                    aet=aet,
                    accession=text(row, "AccessionNumber"),
                    step=text(row, "ScheduledProcedureStepID"),
                    patient_id=text(row, "PatientID"),
                    name=text(row, "PatientName"),
                )
            )

    def examine(self, exam: Exam, stopping: Callable[[], bool], row: Attributes | None = None) -> None:
        """Finds the row, unless it is given or was picked before, and stores the images."""
        row = row or self._picked.get(exam.step) or self._pick(exam, stopping)
        for number in range(exam.first, exam.last + 1):
            path = self._folder / f"{exam.sop_instance_uid(number)}.dcm"
            path.write_bytes(image(exam, number, row))
            taken = self._store(exam.aet, path, stopping)
            path.unlink()
            self._records.storings.append(
                Storing(sop_instance_uid=exam.sop_instance_uid(number), owners=exam.owners, taken=taken)
            )

    def close(self) -> None:
        """Releases every association."""
        for finder in self._finders.values():
            finder.close()
        for store in self._stores.values():
            store.close()

    def _pick(self, exam: Exam, stopping: Callable[[], bool]) -> Attributes:
        """The row of the examination; where it is not there in time, only what the order said."""
        began = time.monotonic()
        while time.monotonic() - began < ROW_WITHIN and not stopping():
            try:
                found = self._finder(exam.aet).find(query(aet=exam.aet, accession=exam.accession))
            except BrokerError:
                found = []
            for row in found:
                if (
                    text(row, "ScheduledProcedureStepID") == exam.step
                    and text(row, "PatientID") in exam.patient
                ):
                    self._records.lookups.append(Lookup(exam=exam, seconds=time.monotonic() - began))
                    self._picked[exam.step] = row
                    return row
            time.sleep(_LOOK_EVERY)
        self._records.lookups.append(Lookup(exam=exam, seconds=None))
        return {"PatientID": exam.patient[0]}

    def _store(self, aet: str, path: Path, stopping: Callable[[], bool]) -> bool:
        for attempt in range(_STORE_ATTEMPTS):
            try:
                if self._scu(aet).send(path) == 0:
                    return True
            except BrokerError:
                if stopping():
                    return False
            time.sleep(_LOOK_EVERY * 2**attempt)
        return False

    def _finder(self, aet: str) -> FindScu:
        if aet not in self._finders:
            self._finders[aet] = FindScu(self._host, self._port, called_aet=self._called, calling_aet=aet)
        return self._finders[aet]

    def _scu(self, aet: str) -> StoreScu:
        if aet not in self._stores:
            self._stores[aet] = StoreScu(self._host, self._port, called_aet=self._called, calling_aet=aet)
        return self._stores[aet]
