"""The worklist SCU against our own association server and against pynetdicom's, over loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification  # type: ignore[attr-defined]

from broker.dicom import status
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.errors import PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.net.association import Answer, AssociationServer, FindRequest, Peer
from broker.net.find_scu import FindScu

QUERY: Attributes = {
    "PatientName": "",
    "ScheduledProcedureStepSequence": ({"ScheduledStationAETitle": "CT1"},),
}
NAMES = ["Sørby^Áile", "Čoahkkin^Márjá", "N" * 60]


Make = Callable[..., FindScu]


class Worklist:
    """Answers what it is told to; keeps what it was asked."""

    sop_classes = (str(ModalityWorklistInformationFind),)

    def __init__(self) -> None:
        self.answers = [
            Answer(status=status.PENDING, identifier=to_dataset({"PatientName": name})) for name in NAMES
        ]
        self.asked: list[tuple[FindRequest, Peer]] = []

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        self.asked.append((request, peer))
        yield from self.answers


@pytest.fixture
def worklist() -> Worklist:
    return Worklist()


@pytest.fixture
def server(tmp_path: Path, worklist: Worklist) -> Iterator[AssociationServer]:
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path, admit=lambda peer: peer.calling_aet == "CT1")
    server.register(worklist)
    server.start()
    yield server
    server.stop(grace=1.0)


@pytest.fixture
def scu() -> Iterator[Make]:
    """Makes modalities, and releases their associations."""
    made: list[FindScu] = []

    def make(port: int, calling: str = "CT1") -> FindScu:
        made.append(FindScu("127.0.0.1", port, called_aet="BROKER", calling_aet=calling, response_timeout=10))
        return made[-1]

    yield make
    for finder in made:
        finder.close()


def test_rows_come_decoded_and_the_association_is_kept(
    scu: Make, server: AssociationServer, worklist: Worklist
) -> None:
    finder = scu(server.port)
    assert [row["PatientName"] for row in finder.find(QUERY)] == NAMES
    assert finder.count(QUERY) == 3

    (first, peer), (_, again) = worklist.asked
    assert first.identifier.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT1"
    assert (peer.calling_aet, peer.called_aet) == ("CT1", "BROKER")
    assert peer.port == again.port, "one association"


def test_no_rows_are_no_failure(scu: Make, server: AssociationServer, worklist: Worklist) -> None:
    worklist.answers = []

    assert scu(server.port).find(QUERY) == []


def test_a_failure_status_is_raised_and_the_next_query_goes(
    scu: Make, server: AssociationServer, worklist: Worklist
) -> None:
    finder, answers = scu(server.port), worklist.answers
    worklist.answers = [*answers, Answer(status=status.OUT_OF_RESOURCES)]
    with pytest.raises(TransientDeliveryError, match="A700"):
        finder.find(QUERY)
    worklist.answers = answers

    assert finder.count(QUERY) == 3


def test_a_stranger_is_rejected(scu: Make, server: AssociationServer) -> None:
    with pytest.raises(UnreachableError, match="rejected"):
        scu(server.port, "STRANGER").find(QUERY)


def test_after_the_server_went_away_the_next_query_opens_a_new_association(
    scu: Make, server: AssociationServer, worklist: Worklist
) -> None:
    finder = scu(server.port)
    finder.count(QUERY)
    port = server.port
    server.stop(grace=1.0)
    with pytest.raises(TransientDeliveryError):
        finder.count(QUERY)
    again = AssociationServer("127.0.0.1", port, spool=server.spool, admit=lambda _: True)
    again.register(worklist)
    again.start()
    try:
        assert finder.count(QUERY) == 3
    finally:
        again.stop(grace=1.0)


@pytest.fixture
def other() -> Iterator[AE]:
    """pynetdicom: implicit little endian only, or no worklist at all."""
    ae = AE("BROKER")
    yield ae
    ae.shutdown()


def test_a_peer_that_speaks_implicit_only_is_understood(scu: Make, other: AE) -> None:
    def answer(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        assert event.identifier.PatientName == ""
        for name in NAMES:
            yield 0xFF00, to_dataset({"PatientName": name})

    other.add_supported_context(ModalityWorklistInformationFind, "1.2.840.10008.1.2")
    server = other.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])

    assert [row["PatientName"] for row in scu(server.socket.getsockname()[1]).find(QUERY)] == NAMES


def test_a_peer_without_a_worklist_is_a_lasting_failure(scu: Make, other: AE) -> None:
    other.add_supported_context(Verification)
    server = other.start_server(("127.0.0.1", 0), block=False)

    with pytest.raises(PermanentDeliveryError, match="refuses SOP class"):
        scu(server.socket.getsockname()[1]).find(QUERY)
