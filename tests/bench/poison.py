"""One message that the EPJ always refuses: `python -m tests.bench.poison --messages 20000`.

Promises: it is parked after as many refusals as its route says (here three) and holds its own patient only; whoever
waits behind it is told; after `broker parked edit --release` it and they follow, in order.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.drill import CONNECTIONS, Report, Senders, acknowledged, faults, main
from tests.bench.epj import Epj, epj
from tests.bench.load import run
from tests.support.broker import Broker
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

POISONED = "499999"
"""The patient; the dice never choose this one."""

REFUSALS = 3
BEHIND = 5
"""Messages of the poisoned patient that come after the poison."""


def drill(folder: Path, messages: int, seed: int) -> Report:
    """Half of the messages before the poison, half with it under way."""
    half = max(40 * (BEHIND + 2), messages // 2)
    report = Report(title=f"one poison message among {2 * half}, {CONNECTIONS} connections", seed=seed)
    senders = Senders(seed)
    with epj(refuses=b"POISON") as destination:
        settings = {"BROKER_CONFIG": str(_configuration(folder))}
        broker = Broker(folder, epj_port=destination.port, settings=settings)
        broker.start()
        try:
            for name, arriving in (("before", senders.messages()), ("with poison", _poisoned(senders, half))):
                known, began = len(destination.came), time.perf_counter()
                load = run(broker.pas_port, CONNECTIONS, arriving, half)
                held = BEHIND + 1 if name == "with poison" else 0
                _wait_for(destination, senders.count - held)
                times = list(destination.came.values())[known:]
                others = round(len(times) / (times[-1] - began))
                report.lines.append({"": name, **acknowledged(load), "delivered/s": others})
            _repair(broker, senders, destination, report)
        finally:
            broker.kill()
        report.broken += faults(senders.sent, destination)
    return report


def _configuration(folder: Path) -> Path:
    """The shipped one, but that the route to the EPJ parks after three refusals: seconds, not minutes."""
    for name in ("config", "routes"):
        shutil.copytree(REPOSITORY / name, folder / name)
    route = folder / "routes" / "adt-to-epj.yaml"
    text = route.read_text(encoding="utf-8")
    changed = text.replace("alert: epj-desk }", f"refusals: {REFUSALS}, alert: epj-desk }}")
    assert changed != text, "the route's on_failure is written otherwise now"
    route.write_text(changed, encoding="utf-8")
    return folder / "config" / "broker.yaml"


def _poisoned(senders: Senders, count: int) -> Iterator[bytes]:
    """The others, and among them: one good message, the poison, and what comes behind it, all of one patient."""
    every = count // (BEHIND + 2)
    wards = iter(["OYE", "POISON", *["OYE"] * BEHIND])
    for index, message in enumerate(itertools.islice(senders.messages(), count)):
        if index % every == 0 and (ward := next(wards, "")):
            yield senders.message(POISONED, ward)
        yield message


def _repair(broker: Broker, senders: Senders, destination: Epj, report: Report) -> None:
    _first, poison, *later = senders.sent[POISONED]
    rows: list[dict[str, object]] = []

    def parked() -> bool:
        rows[:] = broker.command_json("parked", "list")
        return bool(rows)

    wait_until(parked, "the poison is parked", 60)
    shown = broker.command_json("parked", "show", str(rows[0]["id"]))
    report.lines.append(
        {"": "parked", "refusals": destination.refused[poison], "wait behind": len(shown["behind"])}
    )
    _promise(report, len(rows) == 1, f"{len(rows)} deliveries are parked, not the poison alone")
    _promise(report, rows[0]["control_id"] == poison.decode(), "another message than the poison is parked")
    _promise(
        report, destination.refused == {poison: REFUSALS}, f"refused {destination.refused[poison]} times"
    )
    _promise(report, len(shown["behind"]) == len(later), "not everybody behind it is named")
    _promise(report, destination.came.keys().isdisjoint(later), "a later message of the patient went past it")

    began = time.perf_counter()
    repaired = broker.command(
        "parked",
        "edit",
        str(rows[0]["id"]),
        "--set",
        "PV1-3.1=OYE",
        "--reason",
        "the ward's code put right",
        "--release",
    )
    _promise(report, repaired.returncode == 0, f"`parked edit` ended with {repaired.returncode}")
    _wait_for(destination, senders.count)
    report.lines.append({"": "repaired", "all there after s": round(time.perf_counter() - began, 1)})
    _promise(report, broker.command_json("parked", "list") == [], "something is still parked")


def _promise(report: Report, kept: bool, otherwise: str) -> None:
    if not kept:
        report.broken.append(otherwise)


def _wait_for(destination: Epj, count: int) -> None:
    wait_until(lambda: len(destination.came) >= count, f"{count} messages are delivered", 60 + count / 20)


if __name__ == "__main__":
    main(drill, "One message that the EPJ always refuses, among many others.")
