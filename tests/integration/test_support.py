"""The stand-ins for other systems, tried on each other: no broker runs here.

A test that fails elsewhere is only worth something when these pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.mllp import VT, MllpClient, MllpSink, field, framed
from tests.support.needs import needs
from tests.support.orthanc import Orthanc
from tests.support.ports import free_port, is_open
from tests.support.processes import Program

pytestmark = pytest.mark.integration

ADMIT = b"MSH|^~\\&|PAS|STO|EPJ|STO|20261101120000||ADT^A01|42|P|2.5.1\rPID|1||1^^^STO||TEST^\xc3\x98YVIND\r"


@pytest.fixture
def worklist_port(tmp_path: Path) -> Iterator[int]:
    """DCMTK's own worklist server with one row."""
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = "FUNDUS1", "OP"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20261101", "1200"
    step.ScheduledPerformingPhysicianName, step.ScheduledProcedureStepID = "", "1"
    step.ScheduledProcedureStepDescription = "Fundus"
    row = Dataset()
    row.SpecificCharacterSet = "ISO_IR 192"
    row.PatientName, row.PatientID, row.AccessionNumber = "Tæst^Øyvind Å", "T1", "A1"
    row.RequestedProcedureID, row.RequestedProcedureDescription = "1", "Fundus"
    row.StudyInstanceUID = generate_uid()
    row.ScheduledProcedureStepSequence = [step]
    rows = tmp_path / "rows" / "BROKER"
    rows.mkdir(parents=True)
    (rows / "lockfile").touch()
    dcmwrite(rows / "row.wl", row, implicit_vr=False, little_endian=True)
    port = free_port()
    server = Program([needs("wlmscpfs"), "-csk", "-dfp", rows.parent, str(port)], tmp_path / "log")
    server.wait_for_port(port)
    yield port
    server.kill()


def test_findscu_returns_rows_with_their_letters_intact(worklist_port: int) -> None:
    rows = Dcmtk().worklist(worklist_port, worklist_query())

    assert [str(row.PatientName) for row in rows] == ["Tæst^Øyvind Å"]
    assert rows[0].ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "FUNDUS1"


def test_findscu_matches_inside_the_step(worklist_port: int) -> None:
    step = Dataset()
    step.ScheduledStationAETitle = "OTHER"

    assert Dcmtk().worklist(worklist_port, worklist_query(step=step)) == []
    assert len(Dcmtk().worklist(worklist_port, worklist_query(PatientID="T1"))) == 1


def test_a_client_that_reaches_nobody_does_not_succeed() -> None:
    outcome = Dcmtk().find(free_port(), worklist_query(), "-W")

    assert not outcome.succeeded
    assert not Dcmtk().echo(free_port()).succeeded


def test_orthanc_holds_what_storescu_sent(orthanc: Orthanc, dcmtk: Dcmtk, tmp_path: Path) -> None:
    image = _image(tmp_path / "image.dcm")

    outcome = dcmtk.store(orthanc.port, tmp_path / "image.dcm")

    assert outcome.succeeded, outcome.output
    assert dcmtk.echo(orthanc.port).succeeded
    orthanc.wait_for_instances(1)
    assert orthanc.by_uid(image.SOPInstanceUID) == image
    orthanc.clear()
    assert orthanc.instances() == []


def test_orthanc_keeps_its_instances_over_a_stop(dcmtk: Dcmtk, tmp_path: Path) -> None:
    server = Orthanc(tmp_path)
    server.start()
    try:
        _image(tmp_path / "image.dcm")
        assert dcmtk.store(server.port, tmp_path / "image.dcm").succeeded
        server.stop()
        assert not is_open(server.port)

        server.start()

        assert len(server.instances()) == 1
    finally:
        server.stop()


def test_the_sink_records_and_acknowledges(epj_sink: MllpSink) -> None:
    with MllpClient(epj_sink.port) as client:
        answer = client.ask(ADMIT)

    assert epj_sink.messages == [ADMIT]
    assert field(answer, b"MSA", 1) == b"AA"
    assert field(answer, b"MSA", 2) == b"42"
    assert (field(answer, b"MSH", 3), field(answer, b"MSH", 5)) == (b"EPJ", b"PAS")


def test_the_client_reads_pipelined_answers_in_order(epj_sink: MllpSink) -> None:
    with MllpClient(epj_sink.port) as client:
        client.send_raw(framed(ADMIT.replace(b"|42|", b"|1|")) + framed(ADMIT.replace(b"|42|", b"|2|")))

        assert [field(client.receive(), b"MSA", 2) for _ in range(2)] == [b"1", b"2"]


def test_the_sink_refuses_hangs_up_or_says_nothing(epj_sink: MllpSink) -> None:
    epj_sink.behaviour = lambda message: "AE" if field(message, b"MSH", 10) == b"42" else "close"
    with MllpClient(epj_sink.port) as client:
        assert field(client.ask(ADMIT), b"MSA", 1) == b"AE"
        client.send_raw(framed(ADMIT.replace(b"|42|", b"|43|")))
        assert client.closed_by_peer()

    epj_sink.behaviour = "silent"
    with MllpClient(epj_sink.port, timeout=0.1) as client, pytest.raises(TimeoutError):
        client.ask(ADMIT)
    assert len(epj_sink.wait_for(3)) == 3


def test_the_sink_comes_back_on_its_port_with_what_it_had(epj_sink: MllpSink) -> None:
    with MllpClient(epj_sink.port) as client:
        client.ask(ADMIT)
        epj_sink.stop()
        assert client.closed_by_peer()
    assert not is_open(epj_sink.port)

    epj_sink.start()

    with MllpClient(epj_sink.port) as client:
        client.send_raw(VT)
        client.send_raw(ADMIT + b"\x1c")
        client.send_raw(b"\r")
        client.receive()
    assert epj_sink.messages == [ADMIT, ADMIT]


def test_a_program_that_dies_fails_the_wait_at_once_with_its_last_words(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", "print('no disk'); raise SystemExit(3)"], tmp_path / "log")

    with pytest.raises(AssertionError, match=r"(?s)ended with 3 .*no disk"):
        program.wait_for_port(free_port())
    assert program.terminate() == 3


def _image(path: Path) -> FileDataset:
    """A small synthetic CT slice, written to the path."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientID, image.PatientName, image.Modality = "T1", "Tæst^Øyvind", "CT"
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, 1
    image.Rows = image.Columns = 4
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.PixelData = bytes(32)
    dcmwrite(path, image, enforce_file_format=True)
    return image
