"""The association server and DCMTK's clients: worklist, storage and verification as devices do them."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from broker.dicom import part10, status
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset, to_dataset
from broker.dicom.elements import read_meta
from broker.dicom.matching import Query
from broker.dicom.uid import WORKLIST_FIND
from broker.net.association import (
    STORAGE_SOP_CLASSES,
    Answer,
    AssociationServer,
    FindRequest,
    Peer,
    StoreRequest,
)
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.needs import needs
from tests.support.ports import free_port, is_open
from tests.support.shared import shared_files

pytestmark = pytest.mark.integration

STEPS = "ScheduledProcedureStepSequence"


def row(
    name: str, patient_id: str, station: str, day: str, time: str = "0930", modality: str = "OP"
) -> Attributes:
    return {
        "PatientName": name,
        "PatientID": patient_id,
        "PatientSex": "F",
        "AccessionNumber": f"A{patient_id}",
        "StudyInstanceUID": f"1.2.3.{patient_id[1:]}",
        "RequestedProcedureID": f"R{patient_id}",
        "RequestedProcedureDescription": "Fundusfoto øye",
        STEPS: (
            {
                "Modality": modality,
                "ScheduledStationAETitle": station,
                "ScheduledProcedureStepStartDate": day,
                "ScheduledProcedureStepStartTime": time,
                "ScheduledProcedureStepDescription": "Fundus begge øyne",
                "ScheduledProcedureStepID": f"S{patient_id}",
                "ScheduledProtocolCodeSequence": ({"CodeValue": "F1", "CodeMeaning": "Øyebunn"},),
            },
        ),
    }


ROWS = [
    row("Ødegård^Kåre", "T1", "FUNDUS1", "20260105"),
    row("Hansen^Kari", "T2", "FUNDUS1", "20260106", "1400"),
    row("Hansson^Ærlend", "T3", "FUNDUS2", "20260107"),
    row("Ås^Øyvind", "T4", "CT1", "20260112", "2330", "CT"),
]


class Worklist:
    """Answers from a list of rows, in one character set."""

    sop_classes = (WORKLIST_FIND,)

    def __init__(self) -> None:
        self.rows = list(ROWS)
        self.term = "ISO_IR 192"

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        query = Query.read(request.identifier)
        value = status.PENDING_UNSUPPORTED_KEYS if query.unsupported else status.PENDING
        for attributes in self.rows:
            if query.matches(attributes):
                yield Answer(status=value, identifier=to_dataset(query.answer(attributes), charset=self.term))


class Store:
    """Keeps every object under its SOP Instance UID."""

    # One vendor's private class too: those are served where they are listed.
    sop_classes = (*STORAGE_SOP_CLASSES, "1.3.46.670589.5.0.1.1")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, request: StoreRequest, peer: Peer) -> Answer:
        request.path.rename(self.folder / request.sop_instance_uid)
        return Answer(status=status.SUCCESS)


@pytest.fixture
def worklist() -> Worklist:
    return Worklist()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "kept").mkdir()
    return Store(tmp_path / "kept")


@pytest.fixture
def server(tmp_path: Path, worklist: Worklist, store: Store) -> Iterator[AssociationServer]:
    server = AssociationServer(
        "127.0.0.1", 0, spool=tmp_path / "spool", admit=lambda peer: peer.calling_aet == "TESTSCU"
    )
    server.register(worklist)
    server.register(store)
    server.start()
    yield server
    server.stop(1)


def step(**keys: str) -> Dataset:
    return to_dataset(keys)


def found(answers: list[Dataset]) -> list[str]:
    return [str(answer.PatientID) for answer in answers]


# --- worklist -----------------------------------------------------------------------------------------------


def test_a_broad_query(server: AssociationServer, dcmtk: Dcmtk) -> None:
    answers = dcmtk.worklist(
        server.port, worklist_query(step=step(ScheduledStationAETitle="FUNDUS1", Modality="OP"))
    )
    assert found(answers) == ["T1", "T2"]


def test_a_patient_query(server: AssociationServer, dcmtk: Dcmtk) -> None:
    assert found(dcmtk.worklist(server.port, worklist_query(PatientID="T3"))) == ["T3"]
    assert found(dcmtk.worklist(server.port, worklist_query(AccessionNumber="AT4"))) == ["T4"]
    assert dcmtk.worklist(server.port, worklist_query(PatientID="T9")) == []


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("HANS*", ["T2", "T3"]),
        ("HANSEN", ["T2"]),
        ("hans?n^k*", ["T2"]),
        ("ødegård*", ["T1"]),
        ("ODEGARD*", ["T1"]),
        ("AAS", ["T4"]),
        ("*", ["T1", "T2", "T3", "T4"]),
    ],
)
def test_names(server: AssociationServer, dcmtk: Dcmtk, name: str, ids: list[str]) -> None:
    assert found(dcmtk.worklist(server.port, worklist_query(PatientName=name))) == ids


@pytest.mark.parametrize(
    ("dates", "times", "ids"),
    [
        ("20260106", "", ["T2"]),
        ("20260106-", "", ["T2", "T3", "T4"]),
        ("-20260106", "", ["T1", "T2"]),
        ("20260106-20260107", "", ["T2", "T3"]),
        ("20260105-20260107", "1000-0900", ["T2"]),
        ("20260112-20260113", "220000-060000", ["T4"]),
    ],
)
def test_dates_and_times(
    server: AssociationServer, dcmtk: Dcmtk, dates: str, times: str, ids: list[str]
) -> None:
    keys = step(ScheduledProcedureStepStartDate=dates, ScheduledProcedureStepStartTime=times)
    assert found(dcmtk.worklist(server.port, worklist_query(step=keys))) == ids


@pytest.mark.parametrize("term", ["ISO_IR 192", "ISO_IR 100"])
@pytest.mark.parametrize("syntax", ["-xe", "-xi"])
def test_norwegian_letters_arrive_intact(
    server: AssociationServer, worklist: Worklist, dcmtk: Dcmtk, term: str, syntax: str
) -> None:
    worklist.term = term
    [answer] = dcmtk.worklist(server.port, worklist_query(PatientID="T1"), syntax)
    assert answer.SpecificCharacterSet == term
    assert answer.PatientName == "Ødegård^Kåre"
    assert answer.RequestedProcedureDescription == "Fundusfoto øye"
    [item] = answer[STEPS].value
    assert item.ScheduledProcedureStepDescription == "Fundus begge øyne"
    assert item.ScheduledProtocolCodeSequence[0].CodeMeaning == "Øyebunn"


def test_letters_that_a_device_cannot_show_are_transliterated(
    server: AssociationServer, worklist: Worklist, dcmtk: Dcmtk
) -> None:
    worklist.term = "ISO_IR 6"
    [answer] = dcmtk.worklist(server.port, worklist_query(PatientID="T4"))
    assert answer.PatientName == "Aas^Oeyvind"


def test_every_requested_key_comes_back(server: AssociationServer, dcmtk: Dcmtk) -> None:
    query = worklist_query(PatientID="T1")
    [answer] = dcmtk.worklist(server.port, query)
    assert [str(element.tag) for element in query if element.tag not in answer] == []
    [asked], [given] = query[STEPS].value, answer[STEPS].value
    assert [str(element.tag) for element in asked if element.tag not in given] == []


def test_the_client_may_cancel(server: AssociationServer, worklist: Worklist, dcmtk: Dcmtk) -> None:
    worklist.rows = ROWS * 500
    outcome = dcmtk.find(server.port, worklist_query(), "-W", "--cancel", "3", "-Xlo", "1")
    assert len(outcome.statuses) == 1
    assert "MatchingTerminatedDueToCancelRequest" in outcome.statuses[0], outcome.output[-2000:]


@pytest.mark.parametrize("dump", shared_files("dicom/mwl/*.dump"), ids=lambda path: path.stem)
def test_queries_that_others_wrote_get_what_dcmtk_s_server_gives(
    server: AssociationServer,
    worklist: Worklist,
    dcmtk: Dcmtk,
    wlmscpfs: int,
    shared_data: Path,
    tmp_path: Path,
    dump: Path,
) -> None:
    query = tmp_path / "query.dcm"
    subprocess.run([needs("dump2dcm"), "-q", "-g", str(dump), str(query)], check=True)
    worklist.rows = [from_dataset(dcmread(path)) for path in worklist_files(shared_data)]
    worklist.term = "ISO_IR 100"
    identifier = dcmread(query, force=True)
    ours = dcmtk.find(server.port, identifier, "-W")
    theirs = dcmtk.find(wlmscpfs, identifier, "-W")
    assert ours.succeeded, ours.output
    names = [sorted(str(answer.PatientName) for answer in outcome.responses) for outcome in (ours, theirs)]
    assert names[0] == names[1]


def worklist_files(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "dicom" / "mwl").glob("*.wl"))


@pytest.fixture(scope="module")
def wlmscpfs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """DCMTK's own worklist server over the same rows: an oracle that shares no code with ours."""
    folder = tmp_path_factory.mktemp("wlmscpfs")
    (folder / "BROKER").mkdir()
    (folder / "BROKER" / "lockfile").touch()
    for path in worklist_files(shared_data):
        (folder / "BROKER" / path.name).write_bytes(path.read_bytes())
    port = free_port()
    with running("wlmscpfs", "-dfp", str(folder), "-dfr", str(port), port=port):
        yield port


@contextmanager
def running(program: str, *arguments: str, port: int) -> Iterator[None]:
    """One of DCMTK's servers, once it listens."""
    process = subprocess.Popen(
        [needs(program), *arguments],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: is_open(port))
        yield
    finally:
        process.terminate()
        process.wait(10)


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("did not happen within 10 s")


def test_the_query_of_a_character_set_test_suite(
    server: AssociationServer, worklist: Worklist, dcmtk: Dcmtk, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "dicom" / "charsets"
    query = tmp_path / "query.dcm"
    dump = folder / "Encodings_issue49-latin1.query"
    subprocess.run([needs("dump2dcm"), "-q", "-g", str(dump), str(query)], check=True)
    original = dcmread(folder / "Encodings_issue49-latin1.wl")
    worklist.rows = [from_dataset(original)]
    [answer] = dcmtk.find(server.port, dcmread(query, force=True), "-W").responses
    assert answer.PatientName == original.PatientName


# --- storage ------------------------------------------------------------------------------------------------


def body(path: Path) -> bytes:
    """What follows the file meta information."""
    with path.open("rb") as file:
        offset = read_meta(file).dataset_offset
    return path.read_bytes()[offset:]


def sendable(path: Path) -> bool:
    """Has what an association needs to know: file meta information with its three UIDs."""
    try:
        meta = dcmread(path, stop_before_pixels=True).file_meta
    except InvalidDicomError:
        return False
    return {"TransferSyntaxUID", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"} <= set(meta.dir())


OBJECTS = [path for path in shared_files("dicom/**/*.dcm") if sendable(path)]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # one vendor's instance UID; taken as it is
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_real_objects_arrive_byte_for_byte(
    server: AssociationServer, store: Store, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Sent by a client that does not touch the bytes; storescu re-encodes lengths and padding."""
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)
    meta = dcmread(path, stop_before_pixels=True).file_meta
    client = AE("TESTSCU")
    client.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = client.associate("127.0.0.1", server.port, ae_title="BROKER")
    assert association.send_c_store(path).Status == status.SUCCESS
    association.release()
    [kept] = store.folder.iterdir()
    assert body(kept) == body(path)
    assert dcmread(kept, stop_before_pixels=True).file_meta.TransferSyntaxUID == meta.TransferSyntaxUID
    assert list(server.spool.iterdir()) == []


@pytest.fixture(scope="module")
def storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """DCMTK's receiver, writing data sets exactly as they came: its port and its folder."""
    folder, port = tmp_path_factory.mktemp("storescp"), free_port()
    with running("storescp", "+B", "+xa", "-od", str(folder), str(port), port=port):
        yield port, folder


@pytest.mark.parametrize(
    "name",
    [
        "pydicom/MR_small_RLE.dcm",
        "pydicom/MR_small_implicit.dcm",
        "pydicom/SC_rgb_jpeg_dcmtk.dcm",
        "pydicom/waveform_ecg.dcm",
        "us/US1_J2KI.dcm",
        "op/sample-op.dcm",
        "made-by-peers/pdf_pdf2dcm_cardiosoft.dcm",
        "charsets/chrH32.dcm",
    ],
)
def test_what_storescu_sends_is_kept_as_dcmtk_s_own_receiver_keeps_it(
    server: AssociationServer,
    store: Store,
    dcmtk: Dcmtk,
    storescp: tuple[int, Path],
    shared_data: Path,
    name: str,
) -> None:
    path = shared_data / "dicom" / name
    port, folder = storescp
    ours, theirs = dcmtk.store(server.port, path), dcmtk.store(port, path)
    assert ours.succeeded, ours.output
    assert theirs.succeeded, theirs.output
    [kept], [oracle] = store.folder.iterdir(), folder.iterdir()
    assert body(kept) == body(oracle)
    assert dcmread(kept).file_meta.SourceApplicationEntityTitle == "TESTSCU"
    oracle.unlink()


def test_many_objects_on_one_association(
    server: AssociationServer, store: Store, dcmtk: Dcmtk, shared_data: Path
) -> None:
    outcome = dcmtk.store(
        server.port, shared_data / "dicom/pydicom/MR_small_implicit.dcm", options=["--repeat", "20", "+II"]
    )
    assert outcome.succeeded, outcome.output
    assert len(outcome.statuses) == 20
    assert len(list(store.folder.iterdir())) == 20


def resident() -> int:
    """Bytes of memory that this process, the server's, holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_the_object(
    server: AssociationServer, store: Store, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    size = 200 * 1024 * 1024
    large = tmp_path / "large.dcm"
    sop_class = "1.2.840.10008.5.1.4.1.1.2"
    head = part10.head(
        sop_class_uid=sop_class,
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        calling_aet="TESTSCU",
    )
    elements = b"\x08\x00\x16\x00UI" + struct.pack("<H", 26) + f"{sop_class}\0".encode()
    elements += b"\x08\x00\x18\x00UI" + struct.pack("<H", 8) + b"1.2.3.4\0"
    elements += b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", size)
    with large.open("wb") as file:
        file.write(head + elements)
        file.truncate(len(head) + len(elements) + size)
    dcmtk.echo(server.port)
    before, peak, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcome = dcmtk.store(server.port, large)
    done.set()
    watcher.join()
    assert outcome.succeeded, outcome.output
    assert (store.folder / "1.2.3.4").stat().st_size == large.stat().st_size
    assert peak - before < 40 * 1024 * 1024


# --- associations -------------------------------------------------------------------------------------------


def test_verification(server: AssociationServer, dcmtk: Dcmtk) -> None:
    assert dcmtk.echo(server.port).succeeded


@pytest.mark.parametrize(
    ("asks", "acknowledges", "succeeds"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_a_user_identity_is_acknowledged_where_that_is_set(
    tmp_path: Path,
    store: Store,
    dcmtk: Dcmtk,
    shared_data: Path,
    asks: bool,
    acknowledges: bool,
    succeeds: bool,
) -> None:
    """DCMTK gives up when it asked for a confirmation and gets none: what the setting is for."""
    server = AssociationServer(
        *("127.0.0.1", 0), spool=tmp_path / "in", admit=lambda _: True, acknowledges_identity=acknowledges
    )
    server.register(store)
    server.start()
    try:
        image = shared_data / "dicom/pydicom/MR_small_implicit.dcm"
        options = ["--user", "u", "--password", "p", *(["-rsp"] if asks else [])]
        assert dcmtk.store(server.port, image, options=options).succeeded is succeeds
    finally:
        server.stop(1)


def test_short_pdus_both_ways(
    server: AssociationServer, store: Store, dcmtk: Dcmtk, shared_data: Path
) -> None:
    sizes = ["--max-pdu", "4096"]
    image = shared_data / "dicom/pydicom/MR_small_implicit.dcm"
    assert dcmtk.store(server.port, image, options=["--max-send-pdu", "4096", *sizes]).succeeded
    answers = dcmtk.worklist(server.port, worklist_query(), *sizes)
    assert len(answers) == len(ROWS)


def test_many_clients_at_once(server: AssociationServer, dcmtk: Dcmtk) -> None:
    with ThreadPoolExecutor(8) as pool:
        queries = [pool.submit(dcmtk.worklist, server.port, worklist_query(), "-xi") for _ in range(24)]
        assert [len(query.result()) for query in queries] == [len(ROWS)] * 24


def test_strangers_are_refused(server: AssociationServer) -> None:
    for client in (Dcmtk(calling="STRANGER"), Dcmtk(called="OTHER")):
        outcome = client.echo(server.port)
        assert outcome.returncode != 0
        assert "Rejected Permanent" in outcome.output


def test_a_silent_peer_does_not_hold_others(server: AssociationServer, dcmtk: Dcmtk) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    assert dcmtk.echo(server.port).succeeded
    assert len(dcmtk.worklist(server.port, worklist_query())) == len(ROWS)
    for peer in silent:
        peer.close()
