"""DICOM services for an association server, each of which does what a function says; and three that do the usual."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.dicom import status, uid
from broker.dicom.dataset import to_dataset
from broker.net.association import (
    STORAGE_SOP_CLASSES,
    ActionRequest,
    Answer,
    AssociationServer,
    FindRequest,
    Peer,
    StoreRequest,
)
from tests.support.dimse import WORKLIST, encoded
from tests.support.images import dataset_bytes

FindFunction = Callable[[FindRequest, Peer], Iterator[Answer]]
StoreFunction = Callable[[StoreRequest, Peer], Answer]
ActFunction = Callable[[ActionRequest, Peer], Answer]


@dataclass
class Finder:
    """A worklist."""

    find: FindFunction
    sop_classes = (WORKLIST,)


@dataclass
class Storage:
    """Takes objects of every standard class."""

    store: StoreFunction
    sop_classes = STORAGE_SOP_CLASSES


@dataclass
class Commitment:
    """Storage commitment: is asked, and is told."""

    act: ActFunction
    sop_classes = scu_classes = (uid.STORAGE_COMMITMENT,)


class Services:
    """A worklist of `rows` rows, a store that keeps digests, and commitment, which knows no action of type 9."""

    def __init__(self) -> None:
        self.rows = 3
        self.answered = 0
        self.digests: list[str] = []
        self.actions: list[ActionRequest] = []

    def register(self, server: AssociationServer) -> None:
        for service in (Finder(self._find), Storage(self._store), Commitment(self._act)):
            server.register(service)

    def _find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        row = encoded(to_dataset({"PatientID": "T1", "PatientComments": "x" * 3000}))
        for _ in range(self.rows):
            self.answered += 1
            yield Answer(status=status.PENDING, identifier=row)

    def _store(self, request: StoreRequest, peer: Peer) -> Answer:
        self.digests.append(digest(request.path))
        return Answer(status=status.SUCCESS)

    def _act(self, request: ActionRequest, peer: Peer) -> Answer:
        self.actions.append(request)
        if request.type_id == 9:
            raise ValueError("no such action")
        return Answer(status=status.SUCCESS)


def digest(file: Path) -> str:
    """Of what C-STORE carries."""
    return hashlib.sha256(dataset_bytes(file.read_bytes())).hexdigest()
