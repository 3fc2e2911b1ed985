"""What devices and archives say: performed steps, instances, studies. No pixel, no data set."""

from __future__ import annotations

from typing import Literal

from broker.event.values import Code, Payload

PerformedStatus = Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
"""(0040,0252), PS3.3 C.4.14."""


class StepReference(Payload):
    """A scheduled step that a modality says it performs: an item of (0040,0270)."""

    study_uid: str
    accession_number: str = ""
    step_id: str = ""
    """(0040,0009); empty: nothing was scheduled."""


class PerformedSeries(Payload):
    """A series that came of it: an item of (0040,0340)."""

    series_uid: str
    instances: tuple[str, ...] = ()
    """SOP Instance UIDs, of images and of everything else."""


class PerformedStep(Payload):
    """A modality performed procedure step (PS3.3 C.4.13 to C.4.16) as one N-CREATE or N-SET says it: empty keeps."""

    uid: str
    status: PerformedStatus | None = None
    calling_aet: str
    station_aet: str = ""
    modality: str = ""
    started: str = ""
    """`YYYYMMDDHHMMSS`, the modality's local time."""
    ended: str = ""
    discontinuation: str = ""
    """Code value of (0040,0281), CID 9300: `110514` is the wrong worklist entry."""
    steps: tuple[StepReference, ...] = ()
    series: tuple[PerformedSeries, ...] = ()
    issuer_stated: bool = False
    """It names the issuer of its Patient ID itself."""


class Instance(Payload):
    """One DICOM instance that was received and stands on disk."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax_uid: str
    accession_number: str = ""
    modality: str = ""
    path: str
    """Relative to the data folder."""
    size: int
    sha256: str
    """Of the data set, under its transfer syntax."""
    calling_aet: str
    issuer_stated: bool = False
    """The object itself names the issuer of its Patient ID."""
    neonatal: bool = False
    """It came from a device that stands where only newborns are examined (the listener's settings)."""


class InstanceReference(Payload):
    """An instance that something is said of: an item of (0008,1199), (0008,1198) and the like."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str = ""
    failure: int = 0
    """(0008,1197), PS3.3 C.14.1.1; 0: none."""


class Study(Payload):
    """What is said of a study, or of some of its instances. Which parts stand depends on the event's type."""

    study_uid: str = ""
    """Empty: of a storage commitment, whose instances may be of several."""
    accession_number: str = ""
    basis: Literal["", "mpps", "quiet"] = ""
    """Why it counts as complete: everything that its MPPS list is here, or nothing came for a while."""
    number: int = 0
    """Instances of it that are here; of a rejection, and of one that is taken back: that stay in use."""
    expected: int = 0
    """Instances that its MPPS list; 0: none does."""
    archive: str = ""
    """The destination that has them (stored), or answers for them (committed)."""
    transaction_uid: str = ""
    """(0008,1195) of a storage commitment."""
    requester: str = ""
    """AE title of the device that asked for the commitment."""
    reason: Code | None = None
    """Title of a rejection note (PS3.16 CID 7010), or of one that takes another back."""
    note: str = ""
    """SOP Instance UID of that note."""
    retrieve_aet: str = ""
    """Of an availability: where they can be retrieved (0008,0054)."""
    availability: Literal["", "ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE"] = ""
    """(0008,0056)."""
    instances: tuple[InstanceReference, ...] = ()
    """Those that it is about; of a rejection: none means all of the study."""
