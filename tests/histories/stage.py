"""A broker of its own process with the shipped configuration, two PAS and a RIS that send to it at once, and recording
destinations; at the end everything is held against the model. Sources race: the journal says in which order they won.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from broker.runtime.journals import journal_of
from broker.settings import load
from broker.store.transaction import Transaction
from tests.histories import arrived, compare
from tests.histories.story import PAS, RIS, Line, drawn, tell
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.flows import open_work
from tests.support.identity_model import Model, Said
from tests.support.mllp import MllpClient, MllpSink
from tests.support.mllp import field as hl7_field
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

BEFORE: Final = timedelta(hours=6)
"""So long ago the first message's time is: none is ahead of its arrival but those that shall be."""


@dataclass(kw_only=True)
class Report:
    """What a run did, and what is not as the model says."""

    seed: int
    sent: dict[str, int] = field(default_factory=dict)
    """By sender; the answer to each was AA."""
    repeats: int = 0
    seconds: float = 0.0
    patients: int = 0
    merges_held: int = 0
    visits: int = 0
    steps: int = 0
    rows: int = 0
    received: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def play(
    folder: Path,
    events: int,
    seed: int,
    say: Callable[[str], None],
    *,
    store: str = "",
    settings: Mapping[str, str] | None = None,
    people: int = 12,
) -> Report:
    """Sends the history, waits until all is routed and delivered, stops nothing before it was looked at.

    `store`: `postgresql://…`, an empty database. `settings`: more of the broker's.
    """
    start = datetime.now(UTC).replace(microsecond=0) - BEFORE
    lines = tell(list(drawn(random.Random(seed), events, people=people)), start)
    report = Report(seed=seed, repeats=len(lines) - len({line.said.control_id for line in lines}))
    sinks = {name: MllpSink() for name in arrived.SINKS}
    with ExitStack() as cleanup:
        for sink in sinks.values():
            sink.start()
            cleanup.callback(sink.stop)
        broker = Broker(
            folder,
            epj_port=sinks["epj"].port,
            settings={
                "BROKER_PACS_HL7_PORT": str(sinks["pacs-hl7"].port),
                "BROKER_STORE": store,
                **(settings or {}),
            },
        )
        cleanup.callback(broker.kill)
        broker.start()
        before = datetime.now(UTC)
        report.findings += _send(broker, lines, report, say)
        say("all is sent; waiting for what is still to be delivered")
        try:
            wait_until(lambda: open_work(broker) == 0, "everything is delivered", 600)
        except AssertionError as error:
            report.findings.append(str(error))
        report.seconds = (datetime.now(UTC) - before).total_seconds()
        say("delivered; held against the model")
        with _registers(broker) as tx:
            _judge(tx, broker, lines, sinks, report)
        broker.stop()
    return report


def _send(broker: Broker, lines: Sequence[Line], report: Report, say: Callable[[str], None]) -> list[str]:
    """Each sender its own messages in their order, on a connection of its own, all at once."""
    findings: list[str] = []
    done, total, step = [0], len(lines), max(1, len(lines) // 10)
    lock = threading.Lock()

    def run(sender: str, own: list[Line]) -> None:
        try:
            with broker.orders() if sender == RIS else broker.pas() as client:
                for line in own:
                    _ask(client, line)
                    with lock:
                        done[0] += 1
                        if done[0] % step == 0:
                            say(f"{done[0]} of {total} messages")
        except (OSError, ValueError, AssertionError) as error:
            findings.append(f"{sender}: {error}")

    parts = {name: [line for line in lines if line.said.sender == name] for name in (*PAS, RIS)}
    threads = [threading.Thread(target=run, args=part) for part in parts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.sent = {name: len(own) for name, own in parts.items()}
    return findings


def _ask(client: MllpClient, line: Line) -> None:
    answer = client.ask(line.raw)
    code = hl7_field(answer, b"MSA", 1).decode()
    assert code == "AA", f"{line.said.control_id} was answered {code}"


@contextmanager
def _registers(broker: Broker) -> Iterator[Transaction]:
    """The store, read beside the running broker."""
    env = broker.environment
    settings = load(Path(env.get("BROKER_CONFIG", REPOSITORY / "config" / "broker.yaml")), env=env)
    database = journal_of(settings)
    try:
        with database.snapshot() as tx:
            yield tx
    finally:
        database.close()


def _judge(
    tx: Transaction, broker: Broker, lines: Sequence[Line], sinks: Mapping[str, MllpSink], report: Report
) -> None:
    model = Model()
    said = {(line.said.sender, line.said.control_id): line.said for line in lines}
    order = _journal(tx, said)
    for one, arrival in order:
        model.take(one, arrival)
    found = report.findings
    found += _taken(order, lines)
    must, there = compare.of_model(model), compare.of_registers(tx)
    found += compare.differences(must, there)
    shown = {
        str(row.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID): compare.row_of_dataset(row)
        for row in Dcmtk(calling="CT1_STO").worklist(broker.dicom_port, worklist_query())
    }
    asked = {key: compare.as_answered(row) for key, row in must["rows"].items()}
    found += [f"C-FIND {line}" for line in compare.differences({"rows": asked}, {"rows": shown})]
    for name, sink in sinks.items():
        received = sink.messages
        report.received[name] = len(received)
        found += arrived.differences(name, model.told, received)
    failed = tx.rows(
        "SELECT kind, subject, reason FROM exception WHERE kind IN ('event-failed', 'delivery-held')"
    )
    found += [" ".join(map(str, row)) for row in failed]
    report.patients, report.visits, report.steps = (len(must[n]) for n in ("patients", "visits", "steps"))
    report.rows, report.merges_held = len(shown), len(model.held)


def _journal(tx: Transaction, said: Mapping[tuple[str, str], Said]) -> list[tuple[Said, datetime]]:
    """What was taken and when, in the order in which it was routed."""
    rows = tx.rows(
        "SELECT message.sender, message.control_id, message.received FROM message JOIN event"
        " ON event.message = message.seq GROUP BY message.seq, message.sender, message.control_id,"
        " message.received ORDER BY min(event.place)"
    )
    return [
        (said[sender.partition("|")[0], control_id], datetime.fromisoformat(received))
        for sender, control_id, received in rows
    ]


def _taken(order: Sequence[tuple[Said, datetime]], lines: Sequence[Line]) -> list[str]:
    """Each message once, and those of one sender in the order in which it sent them."""
    found = []
    for name in (*PAS, RIS):
        sent = list(dict.fromkeys(line.said.control_id for line in lines if line.said.sender == name))
        taken = [one.control_id for one, _ in order if one.sender == name]
        if taken != sent:
            lost, odd = set(sent) - set(taken), len(taken) - len(set(taken))
            found.append(
                f"journal: {name}: {len(lost)} lost, {odd} doubled, or in another order than they came"
            )
    return found
