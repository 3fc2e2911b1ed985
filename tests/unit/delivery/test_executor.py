from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.delivery import executor as module
from broker.delivery import ledger
from broker.delivery.executor import Executor
from broker.delivery.ledger import Queued
from broker.errors import AskPersonError, PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.journal.intake import append
from broker.store.sqlite import Database
from tests.support.events import event, reception

SECONDS = 10.0
"""Longest wait for what must happen; nothing here waits for time to pass."""


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 9, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Retry:
    first: float = 60.0
    factor: float = 2.0
    max: float = 600.0


@dataclass
class OnFailure:
    retry: Retry = field(default_factory=Retry)
    alert: str = ""


class Destination:
    """Takes what it is sent, unless the script says otherwise; what is `held` waits until it is released."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.script: dict[str, list[Exception]] = {}
        self.holding: set[str] = set()
        self.tried: list[str] = []
        self.taken: list[str] = []
        self.lanes: list[str] = []
        self.crowded: list[str] = []
        """Lanes that had two in flight."""
        self.closed = 0

    def deliver(self, delivery: Delivery) -> Receipt:
        text = delivery.payload.decode()
        with self._changed:
            if delivery.lane in self.lanes:
                self.crowded.append(delivery.lane)
            self.lanes.append(delivery.lane)
            self.tried.append(text)
            self._changed.notify_all()
            try:
                if not self._changed.wait_for(lambda: text not in self.holding, SECONDS):
                    raise AssertionError(f"{text} was never released")
                if self.script.get(text):
                    raise self.script[text].pop(0)
            finally:
                self.lanes.remove(delivery.lane)
            self.taken.append(text)
            self._changed.notify_all()
        return Receipt(detail="MSA-1 AA", answer=b"MSA|AA")

    def close(self) -> None:
        with self._changed:
            self.closed += 1

    def release(self, text: str) -> None:
        with self._changed:
            self.holding.discard(text)
            self._changed.notify_all()

    def wait_for(self, what: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(what, SECONDS), f"tried {self.tried}, taken {self.taken}"


class House:
    """A journal, a destination, and an executor between them that can be started anew."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.database = Database(path)
        self.database.open()
        self.database.write(lambda tx: append(tx, reception(1, event("patient.registered")))).result()
        self.destination = Destination()
        self.outcomes: list[str] = []
        self._observed = threading.Condition()
        self.executor = self.another()

    def another(self, connections: int = 1, on_failure: OnFailure | None = None) -> Executor:
        wanted = on_failure or OnFailure()
        self.executor = Executor(
            "epj",
            self.database,
            lambda: self.destination,
            lambda route: wanted,
            self.clock,
            connections=connections,
            observe=self._observe,
        )
        return self.executor

    def _observe(self, destination: str, outcome: str) -> None:
        with self._observed:
            self.outcomes.append(f"{destination} {outcome}")
            self._observed.notify_all()

    def wait_for_outcomes(self, number: int) -> None:
        with self._observed:
            assert self._observed.wait_for(lambda: len(self.outcomes) >= number, SECONDS), self.outcomes

    def queue(self, *texts: str, tell: bool = True) -> list[Queued]:
        """Commits deliveries called `<lane><number>`, and tells the executor."""
        target = Target(route="r", version="v1", place="r.yaml:1", kind="hl7", destination="epj")
        queued = [
            self.database.write(
                lambda tx, text=text: ledger.enqueue(
                    tx, 1, text[0], target, Rendered(payload=text.encode()), "t"
                )  # type: ignore[misc]
            ).result()
            for text in texts
        ]
        for one in queued if tell else []:
            self.executor.add(one)
        return queued

    def later(self, seconds: float) -> None:
        """Time passes, and the executor notices."""
        self.clock.now += timedelta(seconds=seconds)
        self.executor.join_lanes("nobody", "nobody")

    def rows(self, columns: str = "state, attempt") -> dict[str, tuple[Any, ...]]:
        found = self.database.read().rows(f"SELECT payload, {columns} FROM delivery ORDER BY id")
        return {payload.decode(): rest for payload, *rest in ((p, *r) for p, *r in found)}  # type: ignore[misc]

    def attempts(self, text: str) -> list[tuple[Any, ...]]:
        return self.database.read().rows(
            "SELECT delivery_attempt.attempt, outcome, delivery_attempt.detail FROM delivery_attempt"
            " JOIN delivery ON delivery.id = delivery WHERE payload=? ORDER BY 1",
            (text.encode(),),
        )

    def stop(self) -> None:
        self.destination.holding.clear()
        self.destination.release("")
        assert self.executor.stop(SECONDS)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "journal.sqlite")
    yield house
    house.stop()
    house.database.close()


def test_what_is_queued_leaves_and_its_answer_is_kept(house: House) -> None:
    house.executor.start()
    house.queue("a1")
    house.wait_for_outcomes(1)

    assert house.outcomes == ["epj delivered"]
    assert house.rows("state, attempt, detail, answer") == {"a1": ["delivered", 1, "MSA-1 AA", b"MSA|AA"]}
    assert house.attempts("a1") == [(1, "delivered", "MSA-1 AA")]


def test_each_patients_order_is_kept_over_several_connections(house: House) -> None:
    executor = house.another(connections=4)
    texts = [f"{lane}{number:02}" for number in range(15) for lane in "abcde"]
    house.queue(*texts)
    executor.start()
    house.wait_for_outcomes(len(texts))

    for lane in "abcde":
        mine = [text for text in house.destination.taken if text[0] == lane]
        assert mine == sorted(mine)
        assert len(mine) == 15
    assert house.destination.crowded == [], "one in flight per lane"


def test_connections_are_used_beside_each_other(house: House) -> None:
    executor = house.another(connections=3)
    house.destination.holding = {"a1", "b1", "c1"}
    house.queue("a1", "a2", "b1", "c1", "d1")
    executor.start()

    house.destination.wait_for(lambda: sorted(house.destination.tried) == ["a1", "b1", "c1"])
    for text in ("a1", "b1", "c1"):
        house.destination.release(text)
    house.wait_for_outcomes(5)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PermanentDeliveryError("MSA-1 AE"), "refused"),
        (AskPersonError("who is it"), "refused"),
        (TransientDeliveryError("out of resources"), "failed"),
    ],
)
def test_what_is_not_taken_delays_only_its_own_lane(house: House, error: Exception, outcome: str) -> None:
    house.destination.script = {"a1": [error]}
    house.queue("a1", "a2", "b1", "b2")
    house.executor.start()
    house.wait_for_outcomes(3)

    assert house.destination.taken == ["b1", "b2"]
    assert house.outcomes[0] == f"epj {outcome}"
    assert house.rows("state, attempt, detail")["a1"] == ["queued", 1, str(error)]

    house.later(61)
    house.wait_for_outcomes(5)
    assert house.destination.taken == ["b1", "b2", "a1", "a2"], "and its order is kept"
    assert house.attempts("a1") == [(1, outcome, str(error)), (2, "delivered", "MSA-1 AA")]


def test_a_delivery_waits_longer_each_time_and_never_ends(house: House) -> None:
    house.another(on_failure=OnFailure(Retry(first=10, factor=2, max=40)))
    house.destination.script = {"a1": [PermanentDeliveryError("no")] * 6}
    house.executor.start()
    house.queue("a1")
    waits = []
    for number in range(1, 7):
        house.wait_for_outcomes(number)
        (due,) = house.rows("due")["a1"]
        wait = due - house.clock.now.timestamp()
        waits.append(wait)
        house.later(wait + 0.01)
    house.wait_for_outcomes(7)

    for wait, full in zip(waits, (10, 20, 40, 40, 40, 40), strict=True):
        assert 0.8 * full <= wait <= full
    assert house.destination.taken == ["a1"]


def test_an_unreachable_destination_pauses_as_a_whole_and_comes_back(house: House) -> None:
    house.destination.script = {"a1": [UnreachableError("no connection"), UnreachableError("no connection")]}
    house.queue("a1", "b1", "c1")
    house.executor.start()
    house.wait_for_outcomes(1)
    house.later(0)
    house.queue("d1")

    assert house.destination.tried == ["a1"], "nobody else is tried in vain"
    house.later(61)
    house.wait_for_outcomes(2)
    assert house.destination.tried == ["a1", "a1"]
    house.later(61)
    assert house.destination.tried == ["a1", "a1"], "the second pause is longer"
    house.later(61)
    house.wait_for_outcomes(6)
    assert house.destination.taken == ["a1", "b1", "c1", "d1"]
    assert [o for _, o, _ in house.attempts("a1")] == ["unreachable", "unreachable", "delivered"]


def test_one_delivery_ends_the_pause_for_all(house: House) -> None:
    executor = house.another(connections=2)
    house.destination.script = {"a1": [UnreachableError("no connection")]}
    house.destination.holding = {"a1", "b1"}
    house.queue("a1", "b1", "c1")
    executor.start()
    house.destination.wait_for(lambda: sorted(house.destination.tried) == ["a1", "b1"])
    house.destination.release("a1")
    house.wait_for_outcomes(1)
    assert "c1" not in house.destination.tried

    house.destination.release("b1")
    house.wait_for_outcomes(3)
    assert house.destination.taken == ["b1", "c1"], "the way is open; a1 keeps its own wait"


def test_a_surprise_is_tried_again_and_its_text_told_nowhere(house: House) -> None:
    house.destination.script = {"a1": [ValueError("Nordgård 41819077906")]}
    with capture_logs() as logs:
        house.executor.start()
        house.queue("a1", "b1")
        house.wait_for_outcomes(2)
        house.later(61)
        house.wait_for_outcomes(3)

    assert house.destination.taken == ["b1", "a1"]
    assert house.attempts("a1")[0][1:] == ("failed", "unexpected ValueError; see the log")
    told = [{k: v for k, v in line.items() if k != "exc_info"} for line in logs]
    assert "Nordgård" not in str(told)


def test_a_route_that_wants_it_has_its_alert_in_the_log(house: House) -> None:
    house.another(on_failure=OnFailure(alert="epj-desk"))
    house.destination.script = {"a1": [PermanentDeliveryError("MSA-1 AE")]}
    with capture_logs() as logs:
        house.executor.start()
        house.queue("a1")
        house.wait_for_outcomes(1)
        house.later(61)
        house.wait_for_outcomes(2)

    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert (line["destination"], line["outcome"], line["attempt"]) == ("epj", "refused", 1)
    assert (line["detail"], line["alert"]) == ("MSA-1 AE", "epj-desk")


def test_stop_lets_what_is_in_flight_end_and_starts_nothing_more(house: House) -> None:
    house.destination.holding = {"a1"}
    house.queue("a1", "a2", "b1")
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    ended: list[bool] = []
    stopping = threading.Thread(target=lambda: ended.append(house.executor.stop(SECONDS)))
    stopping.start()
    house.destination.release("a1")
    stopping.join(SECONDS)

    assert ended == [True]
    assert {text: row[0] for text, row in house.rows().items()} == {
        "a1": "delivered",
        "a2": "queued",
        "b1": "queued",
    }
    assert house.destination.closed == 1


def test_stop_does_not_wait_for_ever(house: House) -> None:
    house.destination.holding = {"a1"}
    house.queue("a1")
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])

    assert house.executor.stop(0.01) is False
    assert house.rows()["a1"] == ["queued", 0]


def test_stop_before_start_is_harmless(house: House) -> None:
    assert house.executor.stop(1)


def test_a_restart_goes_on_where_it_ended(house: House) -> None:
    house.destination.script = {"a1": [PermanentDeliveryError("no"), PermanentDeliveryError("no")]}
    house.executor.start()
    house.queue("a1", "a2", "b1")
    house.wait_for_outcomes(2)
    house.stop()

    house.destination.closed = 0
    again = house.another()
    for queued in ledger.open_deliveries(house.database.read()):
        again.add(queued)
    house.queue("a3", "c1")
    again.start()
    house.wait_for_outcomes(3)
    assert house.destination.taken == ["b1", "c1"], "a1 still has to wait its time"
    house.later(61)
    house.wait_for_outcomes(4)
    house.later(121)
    house.wait_for_outcomes(7)

    assert house.destination.taken == ["b1", "c1", "a1", "a2", "a3"]
    assert [o for _, o, _ in house.attempts("a1")] == ["refused", "refused", "delivered"]


def test_merged_patients_leave_in_one_lane(house: House) -> None:
    house.destination.holding = {"a1"}
    executor = house.another(connections=2)
    house.queue("a1", "a2")
    executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    executor.join_lanes("a", "b")
    house.queue("b1")
    house.destination.release("a1")
    house.wait_for_outcomes(3)

    assert house.destination.taken == ["a1", "a2", "b1"]


def test_nothing_leaves_behind_a_delivery_whose_outcome_is_not_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a start would repeat the older message after the newer one."""
    monkeypatch.setattr(module, "STORE_RETRY_SECONDS", 0.001)
    house.queue("a1", "a2")
    connection = house.database.write(lambda tx: tx._connection).result()
    house.destination.holding = {"a1"}
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    tries = threading.Semaphore(0)
    monkeypatch.setattr(module.log, "exception", lambda *_, **__: tries.release())
    connection.execute("PRAGMA query_only=ON")
    house.destination.release("a1")
    for _ in range(3):
        assert tries.acquire(timeout=SECONDS)
    assert house.destination.tried == ["a1"]

    connection.execute("PRAGMA query_only=OFF")
    house.wait_for_outcomes(2)
    assert house.destination.taken == ["a1", "a2"], "sent once each"
    assert house.attempts("a1") == [(1, "delivered", "MSA-1 AA")]


def test_a_stop_while_the_journal_is_down_leaves_the_delivery_to_the_next_start(house: House) -> None:
    house.queue("a1", "a2")
    connection = house.database.write(lambda tx: tx._connection).result()
    house.destination.holding = {"a1"}
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    connection.execute("PRAGMA query_only=ON")
    house.destination.release("a1")
    house.destination.wait_for(lambda: house.destination.taken == ["a1"])

    assert house.executor.stop(SECONDS)
    connection.execute("PRAGMA query_only=OFF")
    assert [q.id for q in ledger.open_deliveries(house.database.read())] == [1, 2]


def test_a_delivery_that_cannot_be_read_holds_nobody_else_up(house: House) -> None:
    (broken,) = house.queue("a1", tell=False)
    house.database.write(lambda tx: tx.execute("UPDATE delivery SET id=99 WHERE id=?", (broken.id,))).result()
    with capture_logs() as logs:
        house.executor.start()
        house.executor.add(broken)
        house.queue("b1")
        house.wait_for_outcomes(1)

    assert house.destination.taken == ["b1"]
    assert [line["delivery"] for line in logs if line["log_level"] == "error"] == [broken.id]
