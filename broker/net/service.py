"""What a DICOM service of the broker is: requests, answers, the Protocols it fulfils. Nothing runs here.

Fixed early, so that the association layer (`broker.net.acceptor`) can be exchanged without touching a
service. C-ECHO needs none. PS3.7 9.1.1 (C-STORE), 9.1.2 (C-FIND), 9.3.2.3 (C-CANCEL), 10.1.1 (N-EVENT-REPORT), 10.1.2
(N-GET), 10.1.3 (N-SET), 10.1.4 (N-ACTION), 10.1.5 (N-CREATE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset

# Younger than the dictionary (2025): waveform presentation states, label and height map segmentations.
_NEWER = ("9.100.1", "9.100.2", "66.7", "66.8")
STORAGE_SOP_CLASSES: tuple[str, ...] = tuple(
    sorted(
        {
            uid
            for uid, (name, kind, *_) in UID_dictionary.items()
            if kind == "SOP Class" and "Storage" in name and uid.startswith("1.2.840.10008.5.1.4.")
        }.union(f"1.2.840.10008.5.1.4.1.1.{end}" for end in _NEWER)
    )
)
"""Every standard storage SOP class, retired ones included: old archives and devices still send those."""

PRIVATE_STORAGE = "private"
"""Listed among a store service's SOP classes: it takes objects of every class that a vendor defined, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of an association."""

    calling_aet: str
    called_aet: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRequest:
    """A C-FIND-RQ."""

    sop_class: str
    identifier: Dataset
    """Not decoded further than pydicom does by itself: `broker.dicom.matching.Query.read` takes it. Not to be changed:
    others who ask the same may have it too."""
    transfer_syntax_uid: str
    """The negotiated one, which `Answer.identifier` must be in when it is bytes."""
    message_id: int
    encoded: bytes = b""
    """The identifier's bytes as they came; empty: they are not known."""
    cancelled: Callable[[], bool]
    """Whether the peer sent a C-CANCEL. The server looks between answers; look yourself within long work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A C-STORE-RQ whose data set has arrived completely."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path
    """A complete DICOM file in the spool folder, closed, not fsynced, with the calling AE title in
    (0002,0016).

    The service owns it: it renames it away, or links it, when it takes the object. The server removes what is left
    behind.
    """
    dataset_offset: int
    """Where in it the data set begins."""
    sha256: str
    """`broker.dicom.part10.digest` of the object, made while it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRequest:
    """An N-CREATE-RQ or N-SET-RQ."""

    operation: Literal["N-CREATE", "N-SET"]
    sop_class_uid: str
    sop_instance_uid: str
    """Empty: of an N-CREATE that leaves it to this side."""
    transfer_syntax_uid: str
    dataset: bytes
    """Attribute or modification list as it came; empty: there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequest:
    """An N-ACTION-RQ, N-EVENT-REPORT-RQ or N-GET-RQ."""

    operation: Literal["N-ACTION", "N-EVENT-REPORT", "N-GET"]
    sop_class_uid: str
    sop_instance_uid: str
    type_id: int
    """Action or Event Type ID; 0 of N-GET."""
    attributes: tuple[int, ...]
    """Tags that an N-GET asks for; none: all."""
    transfer_syntax_uid: str
    dataset: bytes
    """Action or event information as it came; empty: there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response."""

    status: int
    identifier: Dataset | bytes | None = None
    """The response's data set. Bytes are already in the negotiated transfer syntax."""
    comment: str = ""
    """Error Comment (0000,0902): names the place, never a value. Cut at its 64 characters."""
    error_id: int | None = None
    """Error ID (0000,0903), of DIMSE-N."""
    sop_instance_uid: str = ""
    """Of an object that was created; empty: the one that the request names."""


class FindService(Protocol):
    """Answers C-FIND."""

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """Read once, by `AssociationServer.register`."""

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        """Called in the association's own thread. Yields pending answers; the server adds the final success.

        The first answer that is not pending is final. On C-CANCEL, and when the peer goes, the iterator is
        closed. An exception ends the answers with a failure status.
        """


class StoreService(Protocol):
    """Takes objects."""

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """Read once, by `AssociationServer.register`; `STORAGE_SOP_CLASSES` for everything standard."""

    def store(self, request: StoreRequest, peer: Peer) -> Answer:
        """Called in the association's own thread. Returns success only when the object is durable.

        A `StoreError` or `OSError` is answered A700 (the peer tries again later), any other exception C000.
        """


class ObjectService(Protocol):
    """Keeps objects that peers make and change."""

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """Read once, by `AssociationServer.register`."""

    def operate(self, request: ObjectRequest, peer: Peer) -> Answer:
        """Called in the association's own thread. Returns success only when the change is durable.

        Any exception is answered 0110, so that the peer may try again.
        """


class ActionService(Protocol):
    """Does something with objects, tells of them, or is told: storage commitment from either side."""

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """Read once, by `AssociationServer.register`."""

    @property
    def scu_classes(self) -> tuple[str, ...]:
        """Those of them that this side is the SCU of: the peer may take the role of the SCP (PS3.7 D.3.3.4)."""

    def act(self, request: ActionRequest, peer: Peer) -> Answer:
        """Called in the association's own thread. Returns success only when what it means is durable.

        Any exception is answered 0110, so that the peer may try again.
        """


Service = FindService | StoreService | ObjectService | ActionService
