"""A whole region on loopback: EPJ and PACS listen, PAS, RIS, LAB and modalities play the day, and all is judged."""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import BrokerError
from broker.simulate import score as scores
from broker.simulate.conductor import Conductor, Play
from broker.simulate.day import DOWN_FROM, Day
from broker.simulate.faults import FAULTS, Behaviour
from broker.simulate.modality import Modalities
from broker.simulate.pacs import Pacs
from broker.simulate.records import Records
from broker.simulate.score import Score
from broker.simulate.senders import CROWD, Sender
from broker.simulate.sink import Sink
from broker.simulate.stories import AETS
from broker.simulate.story import Act, Part

CONNECTIONS: Final = {"pas": 1, "orders": 3, "results": 4}
"""MLLP connections of each feed: PAS has one."""
MODALITY_WORKERS: Final = 4
POLL_WORKERS: Final = 4
_SETTLE: Final = 1.0
"""Seconds after the last arrival in which a repeat would still come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the broker listens, and where it expects EPJ and PACS."""

    host: str
    pas: int
    orders: int
    results: int
    dicom: int
    dicom_aet: str
    http: int
    epj_host: str
    epj: int
    pacs_host: str
    pacs: int
    pacs_aet: str
    patience: float = 30.0
    """Seconds that the broker waits for the EPJ's ack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a run is played. Times in seconds of the wall."""

    speed: float
    down: float = 10.0
    """How long `epj-down` lasts."""
    drain: float = 120.0
    """How long nothing may arrive before what is missing counts as lost, or the broker be away before the day ends."""
    crowd: int = CROWD
    """Connections of `many-connections`."""
    pid: int | None = None
    """The broker's, to watch its memory."""


class Region:
    """One run."""

    def __init__(self, day: Day, places: Places, pace: Pace, progress: Callable[[str], None]) -> None:
        self._day, self._places, self._pace, self._progress = day, places, pace, progress
        self._records = Records()
        self._stopping = threading.Event()
        self._over = threading.Event()

    def stop(self) -> None:
        """Ends the day early; what was sent is judged."""
        self._stopping.set()

    def run(self) -> Score:
        """Plays, waits for what is still under way, judges.

        `OSError` when the EPJ's or the PACS's port cannot be had, `BrokerError` when the broker is not ready.
        """
        places, began = self._places, time.monotonic()
        if not self._ready(wait=5.0):
            raise BrokerError(
                f"http://{places.host}:{places.http}/readyz does not answer 200: start it with `broker run`"
            )
        with tempfile.TemporaryDirectory(prefix="broker-simulate-") as name, self._peers(Path(name)) as sink:
            watch = threading.Thread(target=self._watch, args=(began,), daemon=True)
            watch.start()
            with self._workers(Path(name)) as workers:
                conductor = Conductor(self._day.acts, workers, self._records, speed=self._pace.speed)
                reporter = threading.Thread(target=self._report, args=(began, conductor), daemon=True)
                reporter.start()
                away = threading.Thread(target=self._go_away, args=(sink,), daemon=True)
                away.start()
                conductor.run(self._stopping)
                self._records.not_begun = conductor.left
                away.join()
                self._drain()
                self._look(Path(name))
            self._records.seconds = time.monotonic() - began
            self._over.set()
            watch.join()
            reporter.join()
        return scores.judge(self._records, self._day.rows, self._day.tag, self._day.faults)

    @contextmanager
    def _peers(self, folder: Path) -> Iterator[Sink]:
        """EPJ and PACS, listening."""
        places, records = self._places, self._records
        sink = Sink(
            places.epj_host, places.epj, self._behave, records.arrivals.append, patience=places.patience
        )
        spool = folder / "pacs"
        pacs = Pacs(
            places.pacs_host, places.pacs, places.pacs_aet, spool, records.images.append, self._refuses
        )
        sink.start()
        try:
            pacs.start()
            yield sink
        finally:
            pacs.stop()
            sink.stop()

    @contextmanager
    def _workers(self, folder: Path) -> Iterator[dict[Part, list[Play]]]:
        """Everybody who acts."""
        places, records = self._places, self._records
        ports = {"pas": places.pas, "orders": places.orders, "results": places.results}
        senders = {
            part: [
                Sender(places.host, ports[part], records, self._stopping, crowd=self._pace.crowd)
                for _ in range(count)
            ]
            for part, count in CONNECTIONS.items()
        }
        examiners = [self._modalities(folder) for _ in range(MODALITY_WORKERS)]
        pollers = [self._modalities(folder) for _ in range(POLL_WORKERS)]
        try:
            yield {
                "pas": [_speaking(sender) for sender in senders["pas"]],
                "orders": [_speaking(sender) for sender in senders["orders"]],
                "results": [_speaking(sender) for sender in senders["results"]],
                "images": [self._examining(modalities) for modalities in examiners],
                "polls": [self._polling(modalities) for modalities in pollers],
            }
        finally:
            for sender in (sender for of_part in senders.values() for sender in of_part):
                sender.close()
            for modalities in (*examiners, *pollers):
                modalities.close()

    def _modalities(self, folder: Path) -> Modalities:
        places = self._places
        return Modalities(places.host, places.dicom, places.dicom_aet, folder, self._records)

    def _examining(self, modalities: Modalities) -> Play:
        def play(act: Act) -> None:
            assert act.exam is not None, "an act with images is an examination"
            modalities.examine(act.exam, self._stopping.is_set)

        return play

    def _polling(self, modalities: Modalities) -> Play:
        def play(act: Act) -> None:
            modalities.poll(act.aet, self._day.date)

        return play

    def _behave(self, key: str, before: int) -> Behaviour:
        told = self._day.epj.get(key, ())
        if told and not before:
            self._records.faults += [name for name, fault in FAULTS.items() if fault.epj == told]
        return told[before] if before < len(told) else "AA"

    def _refuses(self, sop_instance_uid: str, before: int) -> bool:
        times = self._day.pacs.get(sop_instance_uid, 0)
        if times and not before:
            self._records.faults.append("pacs-busy")
        return before < times

    def _go_away(self, sink: Sink) -> None:
        """`epj-down`, where it was asked for."""
        if "epj-down" not in self._day.faults:
            return
        if self._stopping.wait(DOWN_FROM * self._day.seconds / self._pace.speed):
            return
        sink.stop()
        self._records.faults.append("epj-down")
        self._stopping.wait(self._pace.down)
        try:
            sink.start()
        except OSError:
            self._records.errors.append("epj-down: somebody else took the EPJ's port meanwhile")

    def _drain(self) -> None:
        """Waits until all that was taken has arrived and nothing more comes, or nothing comes for too long."""
        quiet_since, before = time.monotonic(), -1
        while True:
            records = self._records
            now, count = time.monotonic(), len(records.arrivals) + len(records.images)
            if count != before:
                quiet_since, before = now, count
            quiet = now - quiet_since
            if quiet > self._pace.drain or (quiet > _SETTLE and self._missing() == 0):
                return
            time.sleep(0.5)  # to look takes time from the broker on the same machine

    def _missing(self) -> int:
        records = self._records
        epj = scores.judge_epj(list(records.sendings), list(records.arrivals), self._day.tag)
        images = scores.judge_images(list(records.storings), list(records.images))
        return int(epj["lost"]) + int(images["lost"])

    def _look(self, folder: Path) -> None:
        """Every modality's worklist, once all is done."""
        modalities = self._modalities(folder)
        for aet in AETS:
            modalities.see(aet)
        modalities.close()

    def _ready(self, *, wait: float = 0.0) -> bool:
        deadline = time.monotonic() + wait
        while True:
            connection = http.client.HTTPConnection(self._places.host, self._places.http, timeout=10)
            try:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)

    def _watch(self, began: float) -> None:
        """Each second whether the broker is ready, and its memory; a broker that stays away ends the day."""
        ready = time.monotonic()
        while not self._over.wait(1.0):
            if self._ready():
                ready = time.monotonic()
            else:
                self._records.not_ready += 1
            if time.monotonic() - ready > self._pace.drain:
                self.stop()
            if self._pace.pid is not None and (rss := rss_of(self._pace.pid)) is not None:
                self._records.memory.append((time.monotonic() - began, rss))

    def _report(self, began: float, conductor: Conductor) -> None:
        """A line every few seconds."""
        while not self._over.wait(5.0):
            records = self._records
            due = sum(len(s.said.epj) for s in list(records.sendings) if s.code in scores.POSITIVE)
            lag = records.lags[-1] if records.lags and conductor.left else 0.0
            self._progress(
                f"{time.monotonic() - began:5.0f} s  {len(records.sendings)} messages"
                f"  EPJ {len(records.arrivals)} of {due}  images {len(records.images)} of {len(records.storings)}"
                f"  queries {len(records.queries)}  to come {conductor.left}  lag {lag:.1f} s"
            )


def rss_of(pid: int) -> int | None:
    """Bytes of resident memory; None when the process is gone or not ours to see."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _speaking(sender: Sender) -> Play:
    return lambda act: sender.send(act.said, act.fault)
