from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.adapter import Outbound, Rendered, Target
from broker.delivery import ledger
from broker.delivery.drain import Destination
from broker.errors import UnwritableError
from broker.runtime import couriers as module
from broker.runtime.couriers import Couriers
from broker.store.database import Database
from tests.support.delivering import NotingDrain
from tests.support.events import cause

SECONDS = 10.0


def never() -> Outbound:
    raise AssertionError("the drain of this test sends nothing")


class Office:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.drain = NotingDrain(SECONDS)
        self.more: list[tuple[str, int]] = []
        destinations = [
            Destination(name="epj", open=never, connections=2),
            Destination(name="pacs hl7", open=never, connections=1),
        ]
        self.couriers = Couriers(
            database,
            self.drain,  # type: ignore[arg-type]
            destinations,
            lambda name, number: self.more.append((name, number)),
        )


@pytest.fixture
def office(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(module, "SHARE_SECONDS", 0.0)
    office = Office(database)
    yield office
    office.couriers.stop(SECONDS)


def test_a_way_is_worked_off_when_it_is_woken(office: Office) -> None:
    office.couriers.start()
    office.couriers.wake("epj", 1)
    office.couriers.wake("nobody", 0)
    office.couriers.wake("epj", 7)
    office.drain.wait_for(1)
    assert office.drain.ran == [("epj", 1)]


@pytest.mark.parametrize(
    ("payload", "ran"),
    [
        ("epj 0", {("epj", 0)}),
        ("pacs hl7 0", {("pacs hl7", 0)}),
        ("", {("epj", 0), ("epj", 1), ("pacs hl7", 0)}),
    ],
)
def test_a_signal_wakes(office: Office, payload: str, ran: set[tuple[str, int]]) -> None:
    office.couriers.start()
    office.couriers.heard("garbage")
    office.couriers.heard("epj x")
    office.couriers.heard(payload)
    office.drain.wait_for(len(ran))
    assert set(office.drain.ran) == ran


def test_where_a_turn_ends_before_the_work_others_are_told_and_it_goes_on(office: Office) -> None:
    office.drain.answers = [True, True]
    office.couriers.start()
    office.couriers.wake("epj", 0)
    office.drain.wait_for(3)
    office.couriers.stop(SECONDS)
    assert office.drain.ran == [("epj", 0)] * 3
    assert office.more == [("epj", 0)] * 2


def test_a_journal_that_is_away_is_tried_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    office.drain.answers = [UnwritableError("away"), RuntimeError("a bug"), False]
    office.couriers.start()
    office.couriers.wake("epj", 0)
    office.drain.wait_for(2)
    office.couriers.wake("epj", 0)
    office.drain.wait_for(3)


def test_what_nobody_was_woken_for_is_found(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    target = Target(route="r", version="v", place="r.yaml:1", kind="hl7", destination="epj")
    office.database.write(
        lambda tx: ledger.enqueue(tx, cause(), "K", target, Rendered(payload=b"x"))
    ).result()
    office.couriers.start()
    office.drain.wait_for(1)
    assert {name for name, _ in office.drain.ran} == {"epj"}


def test_a_stop_ends_threads_that_wait(office: Office) -> None:
    office.couriers.start()
    office.couriers.stop(SECONDS)
    assert not any(thread.is_alive() for thread in office.couriers._threads)


def test_a_stop_has_one_time_for_all_threads(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may hang in a destination of its own: a broker with many of them must still end in time."""
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)

    class Hanging:
        ident = 1

        def join(self, timeout: float) -> None:
            nonlocal now
            now += timeout

    monkeypatch.setattr(office.couriers, "_threads", [Hanging() for _ in range(5)])
    office.couriers.stop(3.0)
    assert now == 1003.0
