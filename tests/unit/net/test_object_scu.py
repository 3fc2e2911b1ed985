"""Objects made and changed at a peer, which is an association server of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from broker.dicom import status, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.net.association import Answer, AssociationServer, ObjectRequest, Peer
from broker.net.object_scu import ObjectScu
from broker.store.lease import LostLeaseError

SAID: Attributes = {"PerformedProcedureStepStatus": "IN PROGRESS"}


class Performed:
    """Keeps what is made and changed."""

    sop_classes = (uid.PERFORMED_STEP,)

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    def operate(self, request: ObjectRequest, peer: Peer) -> Answer:
        self.taken.append((request.operation, request.sop_instance_uid))
        return Answer(status=status.SUCCESS)


@pytest.fixture
def performed() -> Performed:
    return Performed()


@pytest.fixture
def scu(performed: Performed, tmp_path: Path) -> Iterator[ObjectScu]:
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path, admit=lambda _: True)
    server.register(performed)
    server.start()
    found = ObjectScu(
        "127.0.0.1",
        server.port,
        sop_class_uid=uid.PERFORMED_STEP,
        called_aet="BROKER",
        calling_aet="BROKER",
    )
    yield found
    found.close()
    server.stop()


@pytest.mark.parametrize("operation", ["N-CREATE", "N-SET"])
def test_what_another_node_may_send_by_now_does_not_leave(
    scu: ObjectScu, performed: Performed, operation: Literal["N-CREATE", "N-SET"]
) -> None:
    def lost() -> None:
        raise LostLeaseError("way mpps 0: it was not renewed in time")

    said = encode(SAID, explicit=scu.syntax() == uid.EXPLICIT_LITTLE_ENDIAN)
    with pytest.raises(LostLeaseError):
        scu.send(operation, "2.25.1", said, lost)
    assert performed.taken == []
    assert scu.send(operation, "2.25.2", said).status == status.SUCCESS, "over an association of its own"
    assert performed.taken == [(operation, "2.25.2")]
