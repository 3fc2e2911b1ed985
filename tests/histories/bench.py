"""The broker without sockets: the shipped listeners, routes and registers on a journal in memory, beside the model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from broker.delivery import stored
from broker.event import OPERATOR, Decision, Event, EventData
from broker.journal import intake
from broker.journal import log as journal
from broker.registers import exceptions
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.runtime.pipeline import Pipeline
from broker.store.sqlite import in_memory
from tests.histories import arrived, compare
from tests.histories.story import Line
from tests.support.events import START, reception
from tests.support.identity_model import Model

NOTHING_WENT_WRONG: Final = ("event-failed", "delivery-held", "step-held")


class Bench:
    """One journal. Every message arrives a second after the one before."""

    def __init__(self, configured: Configured) -> None:
        self.configured = configured
        self.pipeline = Pipeline(configured.routes, configured.renderers)
        self.tx = in_memory()
        self.model = Model()
        self._number = 0

    def hear(self, line: Line) -> datetime:
        """A message, taken, routed, and told to the model. Returns when it came."""
        now = self.now()
        reader = self.configured.readers[line.port]
        reception = reader.receive(line.raw, message_id=f"M{self._number:05}", now=now)
        assert reception.answer_code == "AA", (line.said, reception.reason)
        intake.append(self.tx, reception)
        self.route()
        self.model.take(line.said, now)
        return now

    def decide(self, decision: Decision) -> None:
        """What two people decided, as the log has it."""
        now = self.now()
        event = Event(
            id=f"M{self._number:05}.0",
            type="patient.split",
            source=OPERATOR,
            site="STO",
            time=now,
            message_id=f"M{self._number:05}",
            data=EventData(decision=decision),
        )
        fields = {"source": OPERATOR, "control_id": "", "raw": b"{}", "received": now, "answer_code": ""}
        intake.append(self.tx, reception(self._number, event, **fields))
        self.route()

    def changes(self) -> list[str]:
        """Ids of the ledger's changes, in their order."""
        return [name for (name,) in self.tx.rows("SELECT id FROM patient_change ORDER BY number")]

    def now(self) -> datetime:
        """When the next message comes."""
        self._number += 1
        return START + timedelta(seconds=self._number)

    def route(self) -> None:
        """Commit 2 of everything that waits."""
        for logged in journal.unrouted(self.tx, 10):
            self.pipeline.route(self.tx, logged)

    def differences(self) -> list[str]:
        """Where registers, worklist and deliveries are not what the model says."""
        failed = [str(e) for e in exceptions.entries(self.tx) if e.kind in NOTHING_WENT_WRONG]
        found = compare.differences(compare.of_model(self.model), compare.of_registers(self.tx))
        return failed + found + self._deliveries()

    def _deliveries(self) -> list[str]:
        """Nothing leaves here, so that everything which must keep an order must stand in one lane."""
        lines = []
        rows = self.tx.rows(
            "SELECT id, destination, lane FROM delivery WHERE destination<>'worklist' ORDER BY id"
        )
        lanes = [lane for _, _, lane in rows]
        found = [(name, arrived.about(stored.payload_of(self.tx, number) or b"")) for number, name, _ in rows]
        must = [(told.destination, told.about) for told in self.model.told]
        for name in arrived.SINKS:
            one, two = ([about for to, about in part if to == name] for part in (must, found))
            if one != two:
                lines.append(f"{name} is told {two} instead of {one}")
        if lines:
            return lines
        places = arrived.places(must, found)
        for number, told in enumerate(self.model.told):
            lines += [
                f"{told.destination}: {told.about} may overtake {self.model.told[before].about}"
                for before in told.after
                if lanes[places[before]] != lanes[places[number]]
            ]
        return lines

    def rebuilt(self) -> list[str]:
        """Where the registers that the log gives are not the live ones."""
        again = in_memory()
        pipeline = Pipeline(self.configured.routes, self.configured.renderers, registers_only=True)
        for logged in journal.since(self.tx, 0, 100_000):
            pipeline.route(again, logged)
        return rebuild.compare(self.tx, again, self.configured.routes.version)


def judged(configured: Configured, lines: Iterable[Line]) -> Bench:
    """All of them, held against the model after every one; fails with the first that differs."""
    bench = Bench(configured)
    for line in lines:
        bench.hear(line)
        if found := bench.differences():
            raise AssertionError("\n".join([f"after {line.said}", *found]))
    return bench
