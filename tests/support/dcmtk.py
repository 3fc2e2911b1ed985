"""DCMTK's command-line clients stand for modalities: `findscu`, `storescu`, `echoscu` to a loopback port."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from tests.support.needs import needs

# storescu proposes only what it is told to (its own default is uncompressed).
_PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.5": "-xr",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a client did and was told."""

    returncode: int
    statuses: tuple[str, ...]
    """DCMTK's words for each final response: `Success`, `Failed: UnableToProcess`, `0xa700` …"""
    responses: tuple[Dataset, ...] = ()
    """C-FIND: the identifiers of the pending responses, in order."""
    output: str
    """The client's own log."""

    @property
    def succeeded(self) -> bool:
        return self.returncode == 0 and bool(self.statuses) and set(self.statuses) == {"Success"}


class Dcmtk:
    """Clients that call as one AE title."""

    def __init__(self, calling: str = "TESTSCU", called: str = "BROKER", host: str = "127.0.0.1") -> None:
        needs("dcmdump")  # only DCMTK has it: says in one place that the whole toolkit is there
        self.calling = calling
        self.called = called
        self.host = host

    def worklist(self, port: int, query: Dataset, *options: str) -> list[Dataset]:
        """`findscu -W`: the matching rows; fails unless the final status is Success."""
        outcome = self.find(port, query, "-W", *options)
        assert outcome.succeeded, outcome.output
        return list(outcome.responses)

    def find(self, port: int, query: Dataset, *options: str) -> Outcome:
        """`findscu` with the model among the options (`-W`, `-P`, `-S`); any outcome."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            dcmwrite(folder / "query.dcm", query, implicit_vr=False, little_endian=True)
            answers = folder / "answers"
            answers.mkdir()
            code, output = self._run(
                "findscu", port, ["-v", "-X", "-od", str(answers), *options], [folder / "query.dcm"]
            )
            responses = tuple(_read(path) for path in sorted(answers.iterdir()))
        statuses = re.findall(r"Received Final Find Response \((.*)\)", output)
        return Outcome(returncode=code, statuses=tuple(statuses), responses=responses, output=output)

    def store(self, port: int, *files: Path, options: Sequence[str] = ()) -> Outcome:
        """`storescu` of files of one transfer syntax, on one association."""
        meta = pydicom.dcmread(files[0], stop_before_pixels=True, force=True).file_meta
        propose = _PROPOSE[meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)]
        code, output = self._run("storescu", port, ["-v", propose, *options], files)
        statuses = re.findall(r"Received Store Response \((.*)\)", output)
        return Outcome(returncode=code, statuses=tuple(statuses), output=output)

    def echo(self, port: int, *options: str) -> Outcome:
        """`echoscu`: C-ECHO."""
        code, output = self._run("echoscu", port, ["-v", *options], [])
        statuses = re.findall(r"Received Echo Response \((.*)\)", output)
        return Outcome(returncode=code, statuses=tuple(statuses), output=output)

    def _run(self, program: str, port: int, options: Sequence[str], files: Sequence[Path]) -> tuple[int, str]:
        finished = subprocess.run(
            [
                *(needs(program), *options, "-to", "10", "-ta", "20", "-td", "60"),
                *("-aet", self.calling, "-aec", self.called, self.host, str(port), *map(str, files)),
            ],
            # Without it DCMTK waits for delayed acknowledgements: 40 ms for each message.
            env={**os.environ, "TCP_NODELAY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return finished.returncode, finished.stdout.decode("utf-8", "replace")


def worklist_query(*, step: Dataset | None = None, **keys: str) -> Dataset:
    """A modality's usual worklist query (return keys of PS3.4 K.6.1.2), all of it universal matching.

    `keys` by DICOM keyword narrow it at the top level, `step` inside the Scheduled Procedure Step Sequence.
    """
    item = Dataset()
    for keyword in (
        *("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"),
        *("Modality", "ScheduledPerformingPhysicianName", "ScheduledProcedureStepDescription"),
        *("ScheduledStationName", "ScheduledProcedureStepLocation", "ScheduledProcedureStepID"),
        *("ScheduledProcedureStepStatus", "ScheduledProtocolCodeSequence"),
    ):
        setattr(item, keyword, [] if keyword.endswith("Sequence") else "")
    if step is not None:
        item.update(step)
    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (
        *("AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID", "IssuerOfPatientID"),
        *("PatientBirthDate", "PatientSex", "StudyInstanceUID", "RequestingPhysician", "AdmissionID"),
        *("RequestedProcedureDescription", "RequestedProcedureID", "RequestedProcedurePriority"),
        *("RequestedProcedureCodeSequence", "CurrentPatientLocation"),
    ):
        setattr(query, keyword, [] if keyword.endswith("Sequence") else "")
    query.ScheduledProcedureStepSequence = [item]
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _read(path: Path) -> Dataset:
    """A response, read whole: its file is gone when the caller looks."""
    dataset = pydicom.dcmread(path, force=True)
    dataset.decode()
    return dataset
