"""Devices as a hospital has them: each polls its worklist in its own way, most examine what they find, some misbehave.

A device is a thread on bare sockets (tests/support/dimse.py), with one AE title. Whatever the broker does that a device
did not deserve is noted as a finding: a refusal, a lost connection, any status but success, a wrong row.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from pydicom import Dataset
from pydicom.uid import generate_uid

from broker.dicom import dataset
from broker.dicom.dataset import to_dataset
from tests.soak.ledger import Ledger, Row
from tests.support.dimse import EXPLICIT, IMPLICIT, VERIFICATION, WORKLIST, RejectedError, Scu
from tests.support.images import dataset_bytes, write_image
from tests.support.mpps import MPPS, begun, ended, scheduled

CT: Final = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
STEP_DONE: Final = (MPPS, EXPLICIT)
ECHO: Final = (VERIFICATION, IMPLICIT)
WANTED_ROWS: Final = 2
"""A device that has fewer is ordered one more."""
IMAGES: Final = 2
_WRONG_GROUP_LENGTH: Final = struct.pack("<HH2sHL", 0x0008, 0x0000, b"UL", 4, 4711)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of device. Its AE titles are its name and a number."""

    name: str
    share: int
    """Of a hundred devices."""
    profile: str = ""
    """Of broker/profiles, as the settings say it."""
    examines: bool = False
    keeps: bool = False
    """One association for all it does, else one for each turn."""
    implicit: bool = False
    odd: bool = False
    """A group length that lies, a private key, an empty item first, a level, and zero for an empty number."""
    broad: bool = False
    """Asks for everybody's rows, and cancels after some."""
    ends: Literal["release", "abort", "drop"] = "release"
    dies: bool = False
    """Hangs up in the middle of an image now and then, and sends it again."""
    silent: bool = False


KINDS: Final = (
    Kind(name="CT", share=25, examines=True),
    Kind(name="KEPT", share=15, examines=True, keeps=True),
    Kind(name="OWN", share=8, profile="broad-ultrasound", examines=True, implicit=True),
    Kind(name="AGFA", share=6, profile="agfa-nx", examines=True, keeps=True, odd=True),
    Kind(name="DIES", share=6, examines=True, dies=True),
    Kind(name="HD", share=8, profile="philips-hd9", keeps=True, implicit=True),
    Kind(name="ODD", share=10, odd=True),
    Kind(name="ZEISS", share=3, profile="zeiss-cirrus", broad=True),
    Kind(name="ABORT", share=6, ends="abort"),
    Kind(name="DROP", share=6, ends="drop"),
    Kind(name="SILENT", share=7, silent=True),
)


def fleet(count: int) -> list[tuple[str, Kind]]:
    """So many AE titles, each with its kind, in the shares of `KINDS`, one of each at least."""
    numbers = [max(1, kind.share * count // 100) for kind in KINDS]
    numbers[0] += max(0, count - sum(numbers))
    titles = [
        (f"{kind.name}{n:03}", kind)
        for kind, number in zip(KINDS, numbers, strict=True)
        for n in range(number)
    ]
    return titles[:count]


class Orders(Protocol):
    """Who makes orders."""

    def ask(self, aet: str, modality: str) -> None: ...


class Device(threading.Thread):
    """Runs until `stop` is set; what it has begun it ends. `pause`: seconds between two turns, on average."""

    def __init__(
        self,
        aet: str,
        kind: Kind,
        *,
        port: int,
        ledger: Ledger,
        orders: Orders,
        stop: threading.Event,
        pause: float,
        folder: Path,
        seed: int,
    ) -> None:
        super().__init__(name=aet, daemon=True)
        self._aet, self._kind, self._port = aet, kind, port
        self._ledger, self._orders, self._stop_event, self._pause = ledger, orders, stop, pause
        self._file = folder / f"{aet}.dcm"
        self._dice = random.Random(f"{seed} {aet}")
        syntax = IMPLICIT if kind.implicit else EXPLICIT
        identifier = dataset.write(_query(aet, kind), syntax)
        self._identifier = (_WRONG_GROUP_LENGTH if kind.odd else b"") + identifier
        self._worklist = (WORKLIST, syntax)
        self._kept: Scu | None = None

    def run(self) -> None:
        wait = self._dice.uniform(0, self._pause)
        while not self._stop_event.wait(wait):
            self._turn()
            wait = self._dice.uniform(0.5, 1.5) * self._pause
        if self._kept is not None:
            self._kept.release()

    def _turn(self) -> None:
        try:
            if self._kind.silent:
                self._say_nothing()
                return
            with self._association() as scu:
                rows = self._poll(scu)
                if self._dice.random() < 0.3:
                    self._must(scu.echo(), "C-ECHO")
                if self._kind.examines and rows:
                    self._examine(scu, rows[0])
        except (OSError, AssertionError, RejectedError, ValueError) as exc:
            self._ledger.find(f"{self._aet}: {exc!r}")
            self._kept = None

    @contextmanager
    def _association(self) -> Iterator[Scu]:
        if self._kept is not None:
            yield self._kept
            return
        contexts = [ECHO, self._worklist, CT, STEP_DONE]
        scu = Scu(self._port, contexts, calling=self._aet, timeout=60.0)
        self._ledger.count("associations")
        with ExitStack() as failing:
            failing.callback(scu.close)
            yield scu
            failing.pop_all()
        if self._kind.keeps:
            self._kept = scu
        else:
            {"release": scu.release, "abort": scu.abort, "drop": scu.drop}[self._kind.ends]()

    def _poll(self, scu: Scu) -> list[Row]:
        """Asks for the worklist; its steps that it may begin."""
        cancel_after = self._dice.randint(1, 20) if self._kind.broad else 0
        answers = scu.find(self._identifier, self._worklist, cancel_after=cancel_after)
        self._ledger.count("queries")
        self._ledger.count("rows", len(answers))
        shown = [dataset.read(answer, self._worklist[1]) for answer in answers]
        rows = self._ledger.show(self._aet, shown, whole=not self._kind.broad)
        own = [row for row in rows if row.aet == self._aet]
        if len(own) < WANTED_ROWS and not self._kind.broad:
            self._orders.ask(self._aet, "CT")
        return own

    def _examine(self, scu: Scu, row: Row) -> None:
        """N-CREATE, images, N-SET; each must be answered 0000."""
        uid = generate_uid()
        creates = begun(
            scheduled(row.study, row.step, row.accession),
            PatientID=row.patient,
            PerformedStationAETitle=self._aet,
        )
        self._ledger.begin(row)
        self._must(scu.create(STEP_DONE, uid, dataset.write(to_dataset(creates), EXPLICIT)), "N-CREATE")
        images = [self._image(row) for _ in range(IMAGES)]
        for number, content in images:
            if self._kind.dies and self._dice.random() < 0.5:
                self._die(number, content)
            self._must(scu.store(CT, number, content), "C-STORE")
            self._ledger.stored[number] = row.patient
        instances = tuple(number for number, _ in images)
        self._must(
            scu.set(STEP_DONE, uid, dataset.write(to_dataset(ended(instances=instances)), EXPLICIT)), "N-SET"
        )
        self._ledger.end(row)
        self._ledger.count("examinations")

    def _image(self, row: Row) -> tuple[str, bytes]:
        image = write_image(
            self._file, PatientID=row.patient, StudyInstanceUID=row.study, AccessionNumber=row.accession
        )
        content = dataset_bytes(self._file.read_bytes())
        self._file.unlink()
        return str(image.SOPInstanceUID), content

    def _die(self, number: str, content: bytes) -> None:
        """Over an association of its own: half of the image, and no more."""
        scu = Scu(self._port, [CT], calling=self._aet, timeout=60.0)
        scu.begin_store(CT, number, content[: len(content) // 2])
        scu.drop()
        self._ledger.count("deaths")

    def _say_nothing(self) -> None:
        """Connects, associates perhaps, and waits; hangs up, or is hung up on."""
        contexts = [ECHO] if self._dice.random() < 0.5 else []
        self._ledger.count("silences")
        with ExitStack() as stack:
            if contexts:
                scu = Scu(self._port, contexts, calling=self._aet, timeout=60.0)
                stack.callback(scu.drop)
            else:
                peer = socket.create_connection(("127.0.0.1", self._port), timeout=60.0)
                stack.enter_context(contextlib.closing(peer))
            self._stop_event.wait(self._pause)

    def _must(self, status: int, what: str) -> None:
        assert status == 0, f"{what} was answered {status:04X}"
        self._ledger.count(what)


def _query(aet: str, kind: Kind) -> Dataset:
    """What it asks: its own rows, by its own title, unless it is one that asks for everything."""
    step = Dataset()
    for keyword in ("Modality", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"):
        setattr(step, keyword, "")
    step.ScheduledStationAETitle = "" if kind.broad or kind.profile == "broad-ultrasound" else aet
    step.ScheduledProcedureStepID = ""
    query = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID"):
        setattr(query, keyword, "")
    query.ScheduledProcedureStepSequence = [step]
    if kind.odd:
        query.QueryRetrieveLevel = ""
        query.PregnancyStatus = 0
        query.RequestedProcedureCodeSequence = [Dataset()]
        query.ReferencedStudySequence = []
        query.add_new(0x80010010, "LO", "ACME")
        query.add_new(0x80011001, "LO", "X")
        query.ScheduledProcedureStepSequence = [Dataset(), step]
    return query
