from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.delivery import executor as module
from broker.delivery import ledger, parked, stored
from broker.delivery.breaker import TRIP
from broker.delivery.executor import Executor
from broker.delivery.lanes import AHEAD
from broker.delivery.ledger import Queued
from broker.delivery.outcomes import Write
from broker.delivery.pace import Window
from broker.delivery.parked import By
from broker.errors import (
    AskPersonError,
    PermanentDeliveryError,
    RecipientError,
    TransientDeliveryError,
    UnreachableError,
)
from broker.journal.intake import append
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction
from tests.support.delivering import OnFailure, Retry
from tests.support.events import cause, event, reception

SECONDS = 10.0
"""Longest wait for what must happen; nothing here waits for time to pass."""


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 9, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


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


class Watched(Executor):
    """Tells when the outcome of an attempt is on disk, which is after the attempt was observed, or is not."""

    on_stored: Callable[[], None]
    failures: threading.Semaphore

    def _store(self, lane: str, write: Write, settle: Callable[[bool], None], *, patient: bool) -> None:
        def stored(written: bool) -> None:
            settle(written)
            self.on_stored()

        super()._store(lane, write, stored, patient=patient)

    def _handed_in(self, lane: str, stored: Future[None]) -> None:
        super()._handed_in(lane, stored)
        if stored.exception() is not None:
            self.failures.release()


class House:
    """A journal, a destination, and an executor between them that can be started anew."""

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self.clock = Clock()
        self.database = SqliteDatabase(path)
        self.database.open()
        if new:
            self.database.write(lambda tx: append(tx, reception(1, event("patient.registered")))).result()
        self.destination = Destination()
        self.outcomes: list[str] = []
        self._stored = 0
        self._observed = threading.Condition()
        self.executor = self.another()

    def another(
        self,
        connections: int = 1,
        on_failure: OnFailure | None = None,
        *,
        rate: float | None = None,
        windows: tuple[Window, ...] = (),
        repeatable: bool = False,
    ) -> Watched:
        """`repeatable`: what is sent may be repeated, unless it ends with an exclamation mark."""
        wanted = on_failure or OnFailure()
        self.executor = Watched(
            "epj",
            self.database,
            lambda: self.destination,
            lambda route: wanted,
            self.clock,
            connections=connections,
            rate=rate,
            windows=windows,
            repeatable=lambda payload: repeatable and not payload.endswith(b"!"),
            observe=self._observe,
        )
        self.executor.on_stored = self._on_stored
        self.executor.failures = threading.Semaphore(0)
        return self.executor

    def _on_stored(self) -> None:
        with self._observed:
            self._stored += 1
            self._observed.notify_all()

    def _observe(self, destination: str, outcome: str) -> None:
        with self._observed:
            self.outcomes.append(f"{destination} {outcome}")

    def wait_for_outcomes(self, number: int) -> None:
        """Until that many attempts were made since the beginning and their outcomes are on disk."""
        with self._observed:
            assert self._observed.wait_for(lambda: self._stored >= number, SECONDS), self.outcomes

    def queue(self, *texts: str, tell: bool = True) -> list[Queued]:
        """Commits deliveries called `<lane><number>`, and tells the executor."""
        target = Target(
            route="r", version="v1", place="r.yaml:1", kind="hl7", destination="epj", purpose="contact"
        )
        queued = [
            self.database.write(
                lambda tx, text=text: ledger.enqueue(
                    tx, cause(), text[0], target, Rendered(payload=text.encode())
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
        found = self.database.read().rows(
            f"SELECT payload, {columns} FROM delivery JOIN delivery_body_20260309 ON delivery=id ORDER BY id"
        )
        return {payload.decode(): rest for payload, *rest in ((p, *r) for p, *r in found)}  # type: ignore[misc]

    def attempts(self, text: str) -> list[tuple[Any, ...]]:
        return self.database.read().rows(
            "SELECT delivery_attempt.attempt, outcome, delivery_attempt.detail FROM delivery_attempt"
            " JOIN delivery_body_20260309 AS body ON body.delivery=delivery_attempt.delivery"
            " WHERE payload=? ORDER BY 1",
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
    assert house.attempts("a1") == [], "only what failed is told attempt by attempt"


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
    assert house.attempts("a1") == [(1, outcome, str(error))]


def test_recipients_that_are_away_do_not_pause_the_destination(house: House) -> None:
    lanes = "abcdefghij"[: 2 * TRIP - 1]
    house.destination.script = {f"{lane}1": [RecipientError("CT1 is away")] for lane in lanes}
    house.queue(*(f"{lane}{n}" for lane in lanes for n in (1, 2)), "z1")
    house.executor.start()
    house.wait_for_outcomes(len(lanes) + 1)

    assert house.destination.taken == ["z1"]
    assert house.executor.state == "closed"
    assert house.rows("state, attempt, detail")["a1"] == ["queued", 1, "CT1 is away"]
    house.later(61)
    house.wait_for_outcomes(3 * len(lanes) + 1)
    assert [text for text in house.destination.taken if text[0] == "a"] == ["a1", "a2"], "its order is kept"


def test_a_delivery_waits_longer_each_time_and_never_ends(house: House) -> None:
    house.another(on_failure=OnFailure(Retry(first=10, factor=2, max=40)))
    house.destination.script = {"a1": [TransientDeliveryError("out of resources")] * 6}
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
    house.destination.script = {
        "a1": [UnreachableError("no connection")],
        "b1": [UnreachableError("no connection")],
    }
    house.queue("a1", "b1", "c1")
    house.executor.start()
    house.wait_for_outcomes(1)
    house.later(0)
    house.queue("d1")

    assert house.destination.tried == ["a1"], "nobody else is tried in vain"
    house.later(61)
    house.wait_for_outcomes(2)
    assert house.destination.tried == ["a1", "b1"], "one probe, and each time another patient's"
    house.later(61)
    assert house.destination.tried == ["a1", "b1"], "the second pause is longer"
    house.later(61)
    house.wait_for_outcomes(6)
    assert house.destination.taken == ["c1", "a1", "b1", "d1"]
    assert [o for _, o, _ in house.attempts("a1")] == ["unreachable"]
    assert house.rows("state, refusals, failing_since")["a1"] == ["delivered", 0, None]


def test_a_destination_that_asks_to_be_left_alone_is(house: House) -> None:
    house.destination.script = {"a1": [UnreachableError("busy", wait=200.0)]}
    house.queue("a1", "b1")
    house.executor.start()
    house.wait_for_outcomes(1)
    house.later(190)
    assert house.destination.tried == ["a1"]

    house.later(11)
    house.wait_for_outcomes(3)
    assert sorted(house.destination.taken) == ["a1", "b1"]


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
    for queued in stored.open_deliveries(house.database.read()):
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
    assert [o for _, o, _ in house.attempts("a1")] == ["refused", "refused"]


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
    monkeypatch.setattr(module, "STORE_RETRY_SECONDS", 0.0)
    house.queue("a1", "a2")
    connection = house.database.write(lambda tx: tx._connection).result()
    house.destination.holding = {"a1"}
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    connection.execute("PRAGMA query_only=ON")
    house.destination.release("a1")
    for _ in range(3):
        assert house.executor.failures.acquire(timeout=SECONDS)
    assert house.destination.tried == ["a1"]

    connection.execute("PRAGMA query_only=OFF")
    house.wait_for_outcomes(2)
    assert house.destination.taken == ["a1", "a2"], "sent once each"
    assert house.rows() == {"a1": ["delivered", 1], "a2": ["delivered", 1]}


def test_a_stop_while_the_journal_is_down_leaves_the_delivery_to_the_next_start(house: House) -> None:
    house.queue("a1", "a2")
    connection = house.database.write(lambda tx: tx._connection).result()
    house.destination.holding = {"a1"}
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    connection.execute("PRAGMA query_only=ON")
    house.destination.release("a1")
    assert house.executor.failures.acquire(timeout=SECONDS)

    assert house.executor.stop(0.01) is False
    connection.execute("PRAGMA query_only=OFF")
    assert [q.id for q in stored.open_deliveries(house.database.read())] == [1, 2]

    house.clock.now += timedelta(seconds=2)
    assert house.executor.stop(SECONDS), "the journal is back before the stop gave up: it is tried once more"
    assert house.rows() == {"a1": ["delivered", 1], "a2": ["queued", 0]}


def test_a_delivery_that_cannot_be_read_holds_nobody_else_up(house: House) -> None:
    (broken,) = house.queue("a1", tell=False)
    change = "UPDATE delivery SET failing_since=? WHERE id=?"
    house.database.write(lambda tx: tx.execute(change, ("rubbish", broken.id))).result()
    with capture_logs() as logs:
        house.executor.start()
        house.executor.add(broken)
        house.queue("b1")
        house.wait_for_outcomes(1)

    assert house.destination.taken == ["b1"]
    assert [line["delivery"] for line in logs if line["log_level"] == "error"] == [broken.id]
    house.database.write(lambda tx: tx.execute(change, (None, broken.id))).result()
    house.later(2)
    house.wait_for_outcomes(2)
    assert house.destination.taken == ["b1", "a1"]


# --- parking ---


def people(house: House, act: Callable[[Transaction], object]) -> None:
    """What a person does, in another process."""
    house.database.write(act).result()


BY = By(who="kari", at="2026-03-09T09:00:00+00:00", reason="mended at the EPJ")


def refusing(*texts: str, times: int = 3) -> dict[str, list[Exception]]:
    return {text: [PermanentDeliveryError("MSA-1 AE")] * times for text in texts}


def parked_after_refusals(house: House) -> None:
    """`a1` was refused three times and is parked; `a2` waits behind it and `b1` left."""
    house.destination.script = refusing("a1")
    house.queue("a1", "a2", "b1")
    house.executor.start()
    house.wait_for_outcomes(2)
    house.later(61)
    house.wait_for_outcomes(3)
    house.later(121)
    house.wait_for_outcomes(4)


def test_what_is_refused_again_and_again_is_parked_and_holds_only_its_lane(house: House) -> None:
    with capture_logs() as logs:
        parked_after_refusals(house)
        house.queue("b2", "a3")
        house.wait_for_outcomes(5)

    assert house.destination.taken == ["b1", "b2"]
    assert house.rows("state, attempt, detail")["a1"] == ["parked", 3, "MSA-1 AE"]
    assert [o for _, o, _ in house.attempts("a1")] == ["refused"] * 3
    assert house.outcomes.count("epj parked") == 1
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["delivery"], line["outcome"], line["attempt"]) == (1, "refused", 3)
    house.later(86_400)
    assert house.destination.tried.count("a1") == 3, "it waits for a person, not for time"


def test_a_question_for_a_person_parks_at_once(house: House) -> None:
    house.destination.script = {"a1": [AskPersonError("two patients fit")]}
    house.queue("a1", "a2", "b1")
    house.executor.start()
    house.wait_for_outcomes(2)

    assert house.destination.taken == ["b1"]
    assert house.rows("state, attempt, detail")["a1"] == ["parked", 1, "two patients fit"]
    assert house.attempts("a1") == [(1, "ask", "two patients fit")]


def test_what_fails_for_too_long_is_parked(house: House) -> None:
    house.another(on_failure=OnFailure(park_after=100.0))
    house.destination.script = {"a1": [TransientDeliveryError("MSA-1 CE")] * 9}
    house.queue("a1", "a2")
    house.executor.start()
    house.wait_for_outcomes(1)
    house.later(61)
    house.wait_for_outcomes(2)
    assert house.rows("state")["a1"] == ["queued"]
    house.later(121)
    house.wait_for_outcomes(3)

    assert house.rows("state, attempt")["a1"] == ["parked", 3]


def test_an_unreachable_destination_parks_nothing_however_long_it_lasts(house: House) -> None:
    house.another(on_failure=OnFailure(park_after=1.0))
    house.destination.script = {"a1": [UnreachableError("no connection")] * 20}
    house.queue("a1")
    house.executor.start()
    for number in range(1, 21):
        house.wait_for_outcomes(number)
        house.later(3600)
    house.wait_for_outcomes(21)

    assert house.rows("state, attempt")["a1"] == ["delivered", 21]


def test_a_released_delivery_leaves_first_and_its_lane_goes_on(house: House) -> None:
    parked_after_refusals(house)
    people(house, lambda tx: parked.release(tx, 1, BY))
    house.executor.release(1)
    house.wait_for_outcomes(6)

    assert house.destination.taken == ["b1", "a1", "a2"]
    assert house.rows("state, attempt, refusals")["a1"] == ["delivered", 4, 0]


def test_a_released_delivery_has_all_its_tries_again(house: House) -> None:
    parked_after_refusals(house)
    house.destination.script = refusing("a1", times=2)
    people(house, lambda tx: parked.release(tx, 1, BY))
    house.executor.release(1)
    house.wait_for_outcomes(5)
    assert house.rows("state, attempt, refusals")["a1"] == ["queued", 4, 1]
    house.later(601)
    house.wait_for_outcomes(6)
    house.later(601)
    house.wait_for_outcomes(8)

    assert house.destination.taken == ["b1", "a1", "a2"]


def test_an_edited_delivery_leaves_with_its_new_bytes(house: House) -> None:
    parked_after_refusals(house)
    people(house, lambda tx: parked.edit(tx, 1, b"a1 mended", BY))
    people(house, lambda tx: parked.release(tx, 1, BY))
    house.executor.release(1)
    house.wait_for_outcomes(6)

    assert house.destination.taken == ["b1", "a1 mended", "a2"]


def test_what_is_dropped_lets_its_lane_go_on(house: House) -> None:
    parked_after_refusals(house)
    people(house, lambda tx: parked.drop(tx, 1, BY))
    house.executor.drop(1)
    house.wait_for_outcomes(5)

    assert house.destination.taken == ["b1", "a2"]
    assert house.rows("state")["a1"] == ["dropped"]


def test_what_a_person_does_the_moment_it_is_parked_is_heard(house: House) -> None:
    """The journal knows of it before the callback of its commit ran."""
    executor = house.executor
    heard = threading.Event()

    def at_once(tx: Transaction) -> None:
        parked.release(tx, 1, BY)

    write = house.database.write

    def watched(work: Callable[[Transaction], Any], *, urgent: bool = False) -> Any:
        def both(tx: Transaction) -> Any:
            result = work(tx)
            if tx.one("SELECT 1 FROM delivery WHERE id=1 AND state='parked'") and not heard.is_set():
                heard.set()
                at_once(tx)
                executor.release(1)
            return result

        return write(both, urgent=urgent)

    house.destination.script = {"a1": [AskPersonError("who is it")]}
    house.queue("a1", "a2")
    house.database.write = watched  # type: ignore[method-assign,assignment]
    executor.start()
    house.wait_for_outcomes(3)

    assert house.destination.taken == ["a1", "a2"]


def test_a_start_finds_what_is_parked_and_what_waits_behind_it(house: House) -> None:
    parked_after_refusals(house)
    house.stop()
    again = house.another()
    for queued in stored.open_deliveries(house.database.read()):
        again.add(queued)
    again.start()
    house.queue("b2")
    house.wait_for_outcomes(5)

    assert house.destination.taken == ["b1", "b2"]
    people(house, lambda tx: parked.release(tx, 1, BY))
    again.release(1)
    house.wait_for_outcomes(7)
    assert house.destination.taken == ["b1", "b2", "a1", "a2"]


def test_what_is_too_old_is_parked_unsent_until_a_person_wants_it(house: House) -> None:
    house.another(on_failure=OnFailure(max_age=3600.0))
    house.queue("a1", "b1", tell=False)
    house.clock.now += timedelta(minutes=1, seconds=3600)  # they came at 08:01
    house.executor.start()
    house.executor.add(Queued(id=1, destination="epj", lane="a"))
    house.wait_for_outcomes(1)
    assert house.destination.taken == ["a1"], "not older than it may be"
    house.clock.now += timedelta(seconds=1)
    house.executor.add(Queued(id=2, destination="epj", lane="b"))
    house.wait_for_outcomes(2)

    assert house.destination.tried == ["a1"]
    assert house.rows("state, detail")["b1"] == ["parked", "older than the route's max_age; not sent"]
    assert [o for _, o, _ in house.attempts("b1")] == ["expired"]
    people(house, lambda tx: parked.release(tx, 2, BY))
    house.executor.release(2)
    house.wait_for_outcomes(3)
    assert house.destination.taken == ["a1", "b1"]


def test_what_is_sent_again_on_request_is_never_too_old(house: House) -> None:
    house.another(on_failure=OnFailure(max_age=60.0))
    target = Target(
        route="r", version="v1", place="r.yaml:1", kind="hl7", destination="epj", purpose="contact"
    )
    house.clock.now += timedelta(days=2)
    replay = house.database.write(
        lambda tx: ledger.enqueue(tx, cause(), "a", target, Rendered(payload=b"a1"), replay_of=7)
    ).result()
    house.executor.start()
    house.executor.add(replay)
    house.wait_for_outcomes(1)

    assert house.destination.taken == ["a1"]


# --- the destination as a whole ---


def test_a_destination_that_refuses_everybody_is_paused_and_nothing_is_parked(house: House) -> None:
    lanes = "abcdefgh"
    house.destination.script = refusing(*(f"{lane}1" for lane in lanes), times=99)
    with capture_logs() as logs:
        house.queue(*(f"{lane}1" for lane in lanes))
        house.executor.start()
        house.wait_for_outcomes(TRIP)
        house.later(0)
        assert house.destination.tried == [f"{lane}1" for lane in lanes[:TRIP]], "then it is left alone"
        assert house.executor.state == "open"
        for number in range(TRIP + 1, TRIP + 20):
            house.later(601)
            house.wait_for_outcomes(number)
    assert len(house.destination.tried) == TRIP + 19, "one probe after each pause"
    assert {state for (state,) in house.rows("state").values()} == {"queued"}
    assert [line["event"] for line in logs].count("the destination is paused") == 1

    house.destination.script = {}
    house.later(601)
    house.wait_for_outcomes(TRIP + 19 + len(lanes))
    assert sorted(house.destination.taken) == [f"{lane}1" for lane in lanes]
    assert house.executor.state == "closed"


def test_a_few_that_can_never_leave_are_not_all_that_is_tried(house: House) -> None:
    """Else five patients' poison would close the destination to everybody."""
    house.destination.script = refusing(*(f"{lane}1" for lane in "abcde"), times=99)
    house.queue("a1", "b1", "c1", "d1", "e1", "f1", "g1")
    house.executor.start()
    house.wait_for_outcomes(TRIP)
    house.later(61)
    house.wait_for_outcomes(TRIP + 6)
    assert house.destination.taken == ["f1"], "and all five are tried and refused once more"
    house.later(61)
    house.wait_for_outcomes(TRIP + 7)

    assert house.destination.taken == ["f1", "g1"]


def test_a_half_open_breaker_sends_one_probe_over_all_connections(house: House) -> None:
    executor = house.another(connections=4)
    house.destination.script = {"a1": [UnreachableError("no connection")]}
    house.destination.holding = {"b1"}
    house.queue("a1")
    executor.start()
    house.wait_for_outcomes(1)
    house.queue("b1", "c1", "d1")
    house.later(61)
    house.destination.wait_for(lambda: house.destination.tried == ["a1", "b1"])
    assert executor.state == "probing"
    house.later(61)
    assert house.destination.tried == ["a1", "b1"]

    house.destination.release("b1")
    house.wait_for_outcomes(5)
    assert sorted(house.destination.taken) == ["a1", "b1", "c1", "d1"]


def test_connections_that_fail_together_earn_one_pause(house: House) -> None:
    executor = house.another(connections=4)
    texts = ("a1", "b1", "c1", "d1")
    house.destination.script = {text: [UnreachableError("no connection")] for text in texts}
    house.destination.holding = set(texts)
    house.queue(*texts)
    executor.start()
    house.destination.wait_for(lambda: len(house.destination.tried) == 4)
    for text in texts:
        house.destination.release(text)
    house.wait_for_outcomes(4)
    house.later(61)
    house.wait_for_outcomes(8)

    assert sorted(house.destination.taken) == list(texts)


def test_no_more_leave_than_the_rate_allows(house: House) -> None:
    house.another(connections=3, rate=0.5)
    house.queue("a1", "b1", "c1")
    house.executor.start()
    house.wait_for_outcomes(1)
    house.later(1.9)
    assert house.destination.tried == ["a1"]
    house.later(0.2)
    house.wait_for_outcomes(2)
    assert house.destination.tried == ["a1", "b1"]
    house.later(2.1)
    house.wait_for_outcomes(3)

    assert house.destination.taken == ["a1", "b1", "c1"]


def test_nothing_leaves_outside_the_windows(house: House) -> None:
    hour = house.clock.now.astimezone().hour
    opening = Window.parse(f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00")
    house.another(windows=(Window.parse(f"{(hour + 5) % 24:02}:00-{(hour + 6) % 24:02}:00"), opening))
    house.queue("a1")
    house.executor.start()
    house.later(7199)
    assert house.destination.tried == []
    house.later(1)
    house.wait_for_outcomes(1)

    assert house.destination.taken == ["a1"]


# --- outcomes that are stored later ---


def test_other_lanes_go_on_while_an_outcome_is_being_stored(house: House) -> None:
    house.queue("a1", "a2", "b1", "c1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.taken == ["a1", "b1", "c1"])
    assert house.rows() == {text: ["queued", 0] for text in ("a1", "a2", "b1", "c1")}

    journal.release()
    house.wait_for_outcomes(4)
    assert house.destination.taken == ["a1", "b1", "c1", "a2"]


class Busy:
    """The journal's thread does nothing else until it is released."""

    def __init__(self, database: SqliteDatabase) -> None:
        entered, self._release = threading.Event(), threading.Event()

        def wait(tx: Transaction) -> None:
            entered.set()
            assert self._release.wait(SECONDS)

        self._writing = database.write(wait, urgent=True)
        assert entered.wait(SECONDS)

    def release(self) -> None:
        self._release.set()
        self._writing.result(SECONDS)


def test_what_may_be_repeated_leaves_while_the_outcomes_before_it_are_being_stored(house: House) -> None:
    house.another(repeatable=True)
    house.queue("a1", "a2", "a3", "b1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.taken == ["a1", "a2", "a3", "b1"])
    assert house.rows() == {text: ["queued", 0] for text in ("a1", "a2", "a3", "b1")}

    journal.release()
    house.wait_for_outcomes(4)
    assert house.rows() == {text: ["delivered", 1] for text in ("a1", "a2", "a3", "b1")}


@pytest.mark.parametrize("repeatable", [False, True])
def test_no_more_than_a_few_run_ahead_and_others_none(house: House, repeatable: bool) -> None:
    house.another(repeatable=repeatable)
    texts = [f"a{number:02}" for number in range(AHEAD + 3)]
    house.queue(*texts, "b1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: "b1" in house.destination.taken)

    most = AHEAD if repeatable else 1
    assert house.destination.taken == [*texts[:most], "b1"]
    journal.release()
    house.wait_for_outcomes(len(texts) + 1)
    assert [text for text in house.destination.taken if text[0] == "a"] == texts, "each once, in order"


def test_what_is_withdrawn_does_not_leave_because_it_was_read_with_others(house: House) -> None:
    house.another(repeatable=True)
    house.destination.holding = {"a2"}
    queued = house.queue("a1", "a2", "a3", "a4")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: "a2" in house.destination.tried)  # a3 and a4 were read with it
    journal.release()
    withdrawn = house.database.write(lambda tx: ledger.withdraw(tx, "a", house.clock.now.isoformat())).result(
        SECONDS
    )
    assert withdrawn[-2:] == [queued[2].id, queued[3].id]
    for number in withdrawn:
        house.executor.drop(number)
    house.destination.release("a2")
    house.queue("b1")
    house.destination.wait_for(lambda: "b1" in house.destination.taken)
    house.wait_for_outcomes(3)

    assert house.destination.tried == ["a1", "a2", "b1"]


@pytest.mark.parametrize("error", [PermanentDeliveryError("A900"), TransientDeliveryError("A700")])
def test_a_failure_holds_what_stands_behind_it_however_far_its_lane_was_ahead(
    house: House, error: Exception
) -> None:
    house.another(repeatable=True)
    house.destination.script = {"a2": [error]}
    house.queue("a1", "a2", "a3", "b1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.taken == ["a1", "b1"])
    journal.release()
    house.wait_for_outcomes(3)
    assert house.destination.tried == ["a1", "a2", "b1"]

    house.later(61)
    house.wait_for_outcomes(5)
    assert house.destination.taken == ["a1", "b1", "a2", "a3"]
    assert house.rows()["a2"] == ["delivered", 2]


def test_one_that_may_not_be_repeated_waits_for_the_outcomes_before_it(house: House) -> None:
    house.another(repeatable=True)
    house.queue("a1", "a2", "a3!", "a4", "b1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.taken == ["a1", "a2", "b1"])
    assert house.destination.tried == ["a1", "a2", "b1"]

    journal.release()
    house.wait_for_outcomes(5)
    assert house.destination.taken == ["a1", "a2", "b1", "a3!", "a4"]


def test_an_adapter_that_cannot_say_what_may_be_repeated_has_nothing_run_ahead(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.executor, "_repeatable", lambda payload: payload[100])
    house.queue("a1", "a2", "b1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.taken == ["a1", "b1"])

    journal.release()
    house.wait_for_outcomes(3)
    assert house.destination.taken == ["a1", "b1", "a2"]


def test_a_crash_repeats_in_order_what_was_not_on_disk(house: House, tmp_path: Path) -> None:
    house.another(repeatable=True)
    house.queue("a1", "a2", "a3", "a4!", "a5")
    house.destination.holding = {"a2"}
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1", "a2"])
    house.wait_for_outcomes(1)
    journal = Busy(house.database)
    house.destination.release("a2")
    house.destination.wait_for(lambda: house.destination.taken == ["a1", "a2", "a3"])
    left = tmp_path / "left"  # what a kill at this moment leaves on disk
    left.mkdir()
    for file in tmp_path.glob("journal.sqlite*"):
        shutil.copy(file, left)
    journal.release()
    house.wait_for_outcomes(5)
    house.stop()

    again = House(left / "journal.sqlite", new=False)
    again.another(repeatable=True).load(stored.open_deliveries(again.database.read()))
    again.executor.start()
    again.wait_for_outcomes(4)
    again.stop()
    assert again.destination.taken == ["a2", "a3", "a4!", "a5"], "nothing is lost, and none left out of turn"
    assert {state for state, _ in again.rows().values()} == {"delivered"}
    again.database.close()


@pytest.mark.parametrize("repeatable", [False, True])
def test_a_stop_waits_for_outcomes_that_are_being_stored(house: House, repeatable: bool) -> None:
    house.another(repeatable=repeatable)
    house.queue("a1")
    journal = Busy(house.database)
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.taken == ["a1"])
    assert house.executor.stop(0.01) is False, "not on disk yet"
    journal.release()

    assert house.executor.stop(SECONDS)
    assert house.rows() == {"a1": ["delivered", 1]}


def test_a_journal_that_is_closed_gives_up_what_cannot_be_stored(house: House) -> None:
    house.destination.holding = {"a1"}
    house.queue("a1")
    house.executor.start()
    house.destination.wait_for(lambda: house.destination.tried == ["a1"])
    house.database.close()
    house.destination.release("a1")

    assert house.executor.stop(0.01) is False
    house.executor = house.another()
