"""One run: a broker with an EPJ and a PACS around it, its devices, PAS and RIS; and what is judged at the end.

Only the limit of associations and the devices' profiles are changed from the shipped configuration.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from tests.soak import planted
from tests.soak.curves import Curve, Sample, judged, look
from tests.soak.devices import KINDS, Device, fleet
from tests.soak.feed import Feed
from tests.soak.ledger import STEPS, Ledger, step_of
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dcmtk import worklist_query
from tests.support.flows import exceptions, wait_until_idle
from tests.support.mllp import MllpSink
from tests.support.mllp import field as hl7_field
from tests.support.processes import wait_until
from tests.support.storescp import Storescp

SAMPLE: Final = 30
"""Devices whose lists are compared row by row at the end, and images whose patient is."""
_SPARE: Final = 56
"""Threads, and files, that may stay when all devices are gone: `broker.net.acceptor` keeps 32 for the next ones,
`adapters.pacs.spool` 16 that sync folders."""
_EXPECTED: Final = frozenset({"demographics-differ"})
"""Exceptions that the load makes on purpose: names change while an image is being taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, with how many, and how often. Times in seconds."""

    seconds: float
    devices: int
    pause: float
    """Between two turns of a device, on average."""
    every: float
    """Between two samples."""
    seed: int
    plants: tuple[str, ...] = ()
    """Of `tests.soak.planted`."""


@dataclass(kw_only=True)
class Report:
    """What a run came to."""

    counts: dict[str, int] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def play(folder: Path, plan: Plan, say: Callable[[str], None]) -> Report:
    """Runs it and judges it."""
    ledger, report = Ledger(), Report()
    epj, pacs = MllpSink(), Storescp(folder / "pacs")
    epj.start()
    pacs.start()
    variables = {**_configuration(folder, plan), **planted.settings(folder, plan.plants)}
    broker = Broker(folder, pacs_port=pacs.port, pacs_aet="STORESCP", epj_port=epj.port, settings=variables)
    try:
        broker.start()
        with _sampled(broker, plan, ledger, report, say):
            titles = _devices_at_work(broker, folder, plan, ledger)
        say("the devices are gone; what they left is delivered")
        _judge(broker, titles, ledger, epj, pacs, plan, report)
        broker.stop()
    except AssertionError as exc:
        ledger.find(str(exc))
    finally:
        broker.kill()
        epj.stop()
        pacs.stop()
    report.counts = dict(ledger.counts)
    report.findings += ledger.findings
    return report


def _configuration(folder: Path, plan: Plan) -> dict[str, str]:
    profiles = "".join(f"  {kind.name}*: {{ profile: {kind.profile} }}\n" for kind in KINDS if kind.profile)
    port = "  port: ${env:BROKER_DICOM_PORT:-11112}\n"
    return changed(
        folder,
        {
            port: f"{port}  max_associations: {2 * plan.devices}\n",
            "\ninbound:\n": f"\ndevices:\n{profiles}\ninbound:\n",
        },
    )


def _devices_at_work(broker: Broker, folder: Path, plan: Plan, ledger: Ledger) -> list[str]:
    """Their AE titles, once all have ended what they had begun."""
    stop, feed, titles = threading.Event(), Feed(broker, ledger), fleet(plan.devices)
    feed.start()
    devices = [
        Device(
            aet,
            kind,
            port=broker.dicom_port,
            ledger=ledger,
            orders=feed,
            stop=stop,
            pause=plan.pause,
            folder=folder,
            seed=plan.seed,
        )
        for aet, kind in titles
    ]
    for device in devices:
        device.start()
    stop.wait(plan.seconds)
    stop.set()
    for device in devices:
        device.join(60.0)
    feed.stop()
    for device in devices:
        if device.is_alive():
            ledger.find(f"{device.name}: hangs")
    return [aet for aet, kind in titles if not (kind.broad or kind.silent)]


@contextmanager
def _sampled(
    broker: Broker, plan: Plan, ledger: Ledger, report: Report, say: Callable[[str], None]
) -> Iterator[None]:
    """Looks at the broker while devices are at work; compares what it holds at rest, before and after."""
    began, over = time.monotonic(), threading.Event()
    incoming = broker.data / "incoming"

    def now() -> Sample:
        return look(broker.pid, incoming, time.monotonic() - began)

    def watch() -> None:
        told = plan.seconds / 10
        while not over.wait(plan.every):
            if (sample := now()).at > plan.seconds:
                return  # devices leave: what falls is no curve
            report.samples.append(sample)
            if sample.at >= told:
                told += plan.seconds / 10
                say(f"{_told(sample)}; {_counted(ledger.counts)}")

    before, watcher = now(), threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    report.curves = judged(report.samples)
    report.findings += [
        f"{curve.name} grew by {curve.growth:,.0f} over the second half ({curve.allowed:,.0f} are allowed)"
        for curve in report.curves
        if not curve.flat
    ]
    if report.findings:
        return
    kept = {"threads": before.threads + _SPARE, "files": before.files + _SPARE}
    for name, most in kept.items():
        try:
            wait_until(partial(_at_most, now, name, most), f"at most {most} {name} are left", timeout=70.0)
        except AssertionError as exc:
            report.findings.append(f"{exc}; there are {getattr(now(), name)}")


def _at_most(now: Callable[[], Sample], name: str, most: int) -> bool:
    return bool(getattr(now(), name) <= most)


def _judge(
    broker: Broker,
    titles: Sequence[str],
    ledger: Ledger,
    epj: MllpSink,
    pacs: Storescp,
    plan: Plan,
    report: Report,
) -> None:
    wait_until_idle(broker, timeout=300.0)
    dice = random.Random(f"{plan.seed} sample")
    report.findings += _lists(broker, dice.sample(list(titles), min(SAMPLE, len(titles))), ledger.left())
    arrived = {path.name.partition(".")[2]: path for path in pacs.folder.iterdir()}
    lost = sorted(ledger.stored.keys() - arrived.keys())
    report.findings += [f"image {uid} was acknowledged, and is not at the PACS" for uid in lost]
    for uid in dice.sample(sorted(arrived), min(SAMPLE, len(arrived))):
        if str(dcmread(arrived[uid], stop_before_pixels=True).PatientID) != ledger.stored.get(uid):
            report.findings.append(f"image {uid} is another patient's, or was never sent")
    report.findings += _told_of_steps(ledger, epj)
    odd = set(exceptions(broker).values()) - _EXPECTED
    report.findings += [f"the broker has exceptions of the kind {kind}" for kind in sorted(odd)]
    if left := list((broker.data / "incoming").iterdir()):
        report.findings.append(f"{len(left)} half objects are left")
    ledger.count("images at the PACS", len(arrived))


def _lists(broker: Broker, titles: Sequence[str], wanted: Mapping[str, set[str]]) -> list[str]:
    """What devices are shown once all is quiet, by a client that is none of them."""
    found = []
    for aet in titles:
        query = worklist_query()
        query[STEPS].value[0].ScheduledStationAETitle = aet
        rows = broker.modality(aet).worklist(broker.dicom_port, query)
        shown = sorted(map(step_of, rows))
        if shown != sorted(wanted.get(aet, ())):
            found.append(
                f"{aet} is shown {len(shown)} rows and not the {len(wanted.get(aet, ()))} of its own"
            )
    return found


def _told_of_steps(ledger: Ledger, epj: MllpSink) -> list[str]:
    """The EPJ heard of each completed step that it was ordered, begun and completed, in this order."""
    heard: dict[str, list[bytes]] = {}
    for message in epj.messages:
        if hl7_field(message, b"MSH", 9).startswith(b"ORM"):
            step = hl7_field(message, b"OBR", 20).decode()
            heard.setdefault(step, []).append(hl7_field(message, b"ORC", 5))
    return [
        f"step {step}: the EPJ heard {b' '.join(heard.get(step, [])).decode()!r}"
        for step in sorted(ledger.done)
        if heard.get(step) != [b"SC", b"IP", b"CM"]
    ]


def _told(sample: Sample) -> str:
    return (
        f"{sample.at:.0f} s: {sample.files} files, {sample.threads} threads, {sample.memory / 2**20:.0f} MB,"
        f" {sample.incoming} incoming"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts.get(what, 0):,} {what}" for what in ("queries", "examinations", "orders"))


def as_json(report: Report) -> dict[str, Any]:
    """For programs; of the samples only how many there were."""
    return {**asdict(report), "samples": len(report.samples)}
