"""PAS and RIS of a soak: each order that a device runs short of, for a patient that PAS has just told of."""

from __future__ import annotations

import queue
import threading
from contextlib import ExitStack
from datetime import datetime, timedelta

from broker.localtime import OSLO
from tests.soak.ledger import Ledger, Row
from tests.support.broker import Broker
from tests.support.flows import accepted
from tests.support.messages import Person, adt, omi, oru, study_uid

_STARTS_IN = timedelta(minutes=5)


class Feed:
    """One thread with a connection to each listener; `ask` puts a device in its queue."""

    def __init__(self, broker: Broker, ledger: Ledger) -> None:
        self._broker, self._ledger = broker, ledger
        self._wanted: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, aet: str, modality: str) -> None:
        """An order for the device, sooner or later."""
        self._wanted.put((aet, modality))

    def stop(self) -> None:
        """What is wanted so far still goes out."""
        self._wanted.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                broker = self._broker
                listeners = (broker.pas(), broker.orders(), broker.results())
                pas, orders, results = (stack.enter_context(each) for each in listeners)
                while (wanted := self._wanted.get()) is not None:
                    self._number += 1
                    person, number = self._person(), f"{self._number}"
                    accepted(pas, adt("A04", f"P{number}", person))
                    accepted(orders, self._order(person, number, *wanted))
                    if self._number % 4 == 0:
                        accepted(pas, adt("A08", f"Q{number}", person.named(f"Skiftet{number}")))
                        accepted(results, oru(f"R{number}", person, number))
                    self._ledger.count("orders")
        except (AssertionError, OSError) as exc:
            self._ledger.find(f"feed: {exc!r}")

    def _person(self) -> Person:
        return Person(number=f"6{self._number:06}", family=f"Utholdende{self._number}", given="Åse")

    def _order(self, person: Person, number: str, aet: str, modality: str) -> bytes:
        """Every third has two steps."""
        steps = ("1", "2") if self._number % 3 == 0 else ("1",)
        names = {person.name} | ({person.named(f"Skiftet{number}").name} if self._number % 4 == 0 else set())
        self._ledger.order(
            Row(
                step=f"S{number}-{step}",
                accession=f"A{number}",
                patient=person.number,
                study=study_uid(number),
                aet=aet,
                names=frozenset(names),
            )
            for step in steps
        )
        start = f"{datetime.now(OSLO) + _STARTS_IN:%Y%m%d%H%M%S}"
        return omi(f"O{number}", person, number, steps=steps, aet=aet, modality=modality, start=start)
