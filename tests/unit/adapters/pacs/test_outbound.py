"""The storage SCU's files: the kept object on the shared spool, and its coerced copy in a folder of the node's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from pydicom import dcmread

from adapters.pacs.inbound import StorageScp, StorageService
from adapters.pacs.outbound import PacsSender, StorageDestination
from broker.adapter import Delivery, InboundContext, OutboundContext, Reception, Stored
from broker.errors import AskPersonError, TransientDeliveryError
from broker.net.service import Peer, StoreRequest
from broker.runtime.offline import instance
from broker.store.lease import LostLeaseError
from tests.support.golden import NOW
from tests.support.images import dataset_bytes

ATTRIBUTES = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "SOPInstanceUID": "2.25.3",
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.2",
    "PatientID": "700123",
    "PatientName": "Sørby^Áile",
}
OBJECT = instance(ATTRIBUTES)
COERCED = {"PatientName": "Sørby^Ny"}


class Pacs:
    """Takes everything, as far as it is a file (`broker.net.store_scu.StoreScu`)."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def send(self, file: BinaryIO, confirm: Callable[[], None]) -> int:
        confirm()
        file.seek(0)
        self.taken.append(file.read())
        return 0

    def close(self) -> None:
        pass


class Node:
    """What a node has of the storage adapter: its own folder, and the spool that all share."""

    def __init__(self, spool: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spool, self.own, self.pacs = spool, spool / "nodes" / name, Pacs()
        context = OutboundContext(name="pacs", spool=spool, work=self.own / "tmp", clock=lambda: NOW)
        self.sender = PacsSender(StorageDestination(host="h", port=1, called_aet="PACS"), context)
        monkeypatch.setattr(self.sender, "_scu", self.pacs)

    def receive(self, **more: str) -> str:
        """Stores the object; its path in the journal."""
        kept: list[Reception] = []

        class Intake:
            def accept_blocking(self, reception: Reception) -> Stored:
                kept.append(reception)
                return Stored(answers=(), answer_code="0000")

        context: Any = InboundContext(
            name="images",
            site="STO",
            bind="",
            config_folder=self.spool,
            spool=self.spool,
            intake=Intake(),  # type: ignore[arg-type]
            worklist=None,  # type: ignore[arg-type]
            clock=lambda: NOW,
            register_dicom=lambda _: None,
            known_aets=frozenset(),
            count=lambda _name, _labels: None,
        )
        path = self.own / "incoming" / "x.part"
        path.parent.mkdir(parents=True)
        content = instance({**ATTRIBUTES, **more})
        path.write_bytes(content)
        inode = path.stat().st_ino
        scp = StorageScp(StorageService(issuer="STO&2.999.7001&ISO"), context)
        request = StoreRequest(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
            sop_instance_uid="2.25.3",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=path,
            dataset_offset=len(content) - len(dataset_bytes(content)),
            sha256=sha256(content).hexdigest(),
        )
        assert scp.store(request, Peer(calling_aet="CT1", called_aet="B", host="h", port=1)).status == 0
        assert (context.spool / kept[0].blob).stat().st_ino == inode, "not copied"
        return kept[0].blob

    def forward(
        self,
        path: str,
        coerced: dict[str, Any] | None = None,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        order = {"path": path, "coerce": coerced, "time": "20260309080000", "source": "PAS"}
        self.sender.deliver(
            Delivery(
                id=7,
                destination="pacs",
                lane="P1",
                route="r",
                attempt=1,
                payload=json.dumps(order).encode(),
                confirm=confirm,
            )
        )


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    return [Node(tmp_path, name, monkeypatch) for name in ("a", "b")]


def test_what_one_node_stored_another_forwards(nodes: list[Node]) -> None:
    path = nodes[0].receive()
    nodes[1].forward(path)

    assert nodes[1].pacs.taken == [OBJECT]


def test_what_pas_says_is_put_in_on_the_way_and_written_nowhere(nodes: list[Node], tmp_path: Path) -> None:
    path = nodes[0].receive()
    before = sorted(tmp_path.rglob("*"))
    nodes[1].forward(path, COERCED)

    (content,) = nodes[1].pacs.taken
    assert dcmread(BytesIO(content)).PatientName == "Sørby^Ny"
    assert (nodes[1].spool / path).read_bytes() == OBJECT
    assert sorted(tmp_path.rglob("*")) == before


def test_an_object_whose_lease_ran_out_does_not_leave(nodes: list[Node]) -> None:
    def lost() -> None:
        raise LostLeaseError("way pacs 0")

    path = nodes[0].receive()
    with pytest.raises(LostLeaseError):
        nodes[1].forward(path, COERCED, lost)

    assert nodes[1].pacs.taken == []


def test_an_address_leaves_in_no_image_of_a_patient_that_pas_knows(nodes: list[Node]) -> None:
    path = nodes[0].receive(PatientAddress="HEMMELIGVEIEN 7", PatientTelephoneNumbers="99000001")
    nodes[1].forward(path, COERCED)

    (content,) = nodes[1].pacs.taken
    assert b"HEMMELIGVEIEN" not in content
    assert b"99000001" not in content
    assert dcmread(BytesIO(content)).PatientName == COERCED["PatientName"]


def test_an_object_of_an_unknown_patient_is_passed_on_unchanged(nodes: list[Node]) -> None:
    path = nodes[0].receive(PatientAddress="HEMMELIGVEIEN 7")
    nodes[1].forward(path)

    (content,) = nodes[1].pacs.taken
    assert content == (nodes[1].spool / path).read_bytes()


@pytest.mark.parametrize("coerced", [None, COERCED])
def test_while_the_share_is_not_mounted_nothing_seems_to_be_gone(
    nodes: list[Node], tmp_path: Path, coerced: dict[str, Any] | None
) -> None:
    """Parked, a whole day's images would wait for a person."""
    path = nodes[0].receive()
    (tmp_path / "instances").rename(tmp_path / "elsewhere")

    with pytest.raises(TransientDeliveryError, match="mounted"):
        nodes[1].forward(path, coerced)


def test_a_share_that_goes_at_this_moment_is_no_file_that_is_gone(
    nodes: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = nodes[0].receive(), Path.open

    def goes(file: Path, *mode: Any) -> Any:
        (tmp_path / "instances").rename(tmp_path / "elsewhere")
        return opened(file, *mode)

    monkeypatch.setattr(Path, "open", goes)
    with pytest.raises(TransientDeliveryError, match="mounted"):
        nodes[1].forward(path, COERCED)


def test_a_file_that_is_gone_is_for_a_person(nodes: list[Node]) -> None:
    path = nodes[0].receive()
    (nodes[0].spool / path).unlink()

    with pytest.raises(AskPersonError, match="gone"):
        nodes[1].forward(path, COERCED)
