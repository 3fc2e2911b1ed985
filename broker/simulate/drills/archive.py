"""A PACS's index: whose each object is, by what it came with, the merges that PAS told of, and what people moved. Pure.

It does what the profiles ask of an image manager (IHE RAD-12), and nothing cleverer: a merge moves what is filed under
the ended id and what comes under it later; nothing undoes a merge but people, study by study.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.hl7.er7 import Message
from broker.simulate.records import ImageArrival

MERGES = ("A40", "A47")


class Archive:
    """The index. One thread at a time."""

    def __init__(self) -> None:
        self._filed: dict[str, str] = {}
        self._studies: dict[str, set[str]] = {}
        self._followed: dict[str, str] = {}

    def stored(self, image: ImageArrival) -> None:
        """An object came."""
        self._filed[image.sop_instance_uid] = self._owner(image.patient_id)
        self._studies.setdefault(image.study_uid, set()).add(image.sop_instance_uid)

    def heard(self, raw: bytes) -> None:
        """A message of PAS came."""
        message = Message.parse(raw)
        if message["MSH-9.2"] not in MERGES:
            return
        ended, survivor = message["MRG-1.1"], message["PID-3(1).1"]
        self._followed.pop(survivor, None)
        self._followed[ended] = survivor
        for uid, owner in self._filed.items():
            if owner == ended:
                self._filed[uid] = survivor

    def moved(self, study_uids: Iterable[str], patient_id: str) -> None:
        """People moved these studies to a patient."""
        self._followed.pop(patient_id, None)
        for study in study_uids:
            for uid in self._studies.get(study, ()):
                self._filed[uid] = patient_id

    def filed(self, sop_instance_uid: str) -> str | None:
        """The Patient ID under which an object is filed; None: it never came."""
        return self._filed.get(sop_instance_uid)

    def _owner(self, patient_id: str) -> str:
        while patient_id in self._followed:
            patient_id = self._followed[patient_id]
        return patient_id
