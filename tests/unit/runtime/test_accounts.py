"""Reconciliation, rebuilding and retention over one journal: what is counted, forgotten, and still provable."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from broker.adapter import Receipt
from broker.delivery import ledger, parked
from broker.delivery.parked import By
from broker.runtime import rebuild, retention
from broker.runtime.reconcile import Report, reconcile, totals
from broker.runtime.retention import Day, Limits, Retention, due
from broker.store import days
from broker.store.database import Database, Transaction
from tests.support.messages import Person, adt, merge, orm
from tests.unit.runtime.conftest import House

FIRST = datetime(2026, 3, 9, 8, tzinfo=UTC)
BY = By(who="tester", at="2026-03-12T00:00:00+00:00", reason="a test")


class Years:
    """A house that receives on any day, routes at once, and delivers when told."""

    def __init__(self, house: House, data: Path) -> None:
        self.house, self.data = house, data
        self._number = 0

    def receive(self, source: str, raw: bytes, day: int) -> None:
        self._number += 1
        now = FIRST + timedelta(days=day, seconds=self._number)
        reader = self.house.configured.readers[source]
        self.house.intake.accept_blocking(
            reader.receive(raw, message_id=f"M{self._number:05}", now=now, peer="127.0.0.1")
        )
        self.house.route()

    def story(self, day: int) -> None:
        """Two patients, an order, a refused message, and a merge."""
        one, two = Person(number=f"71{day}1"), Person(number=f"71{day}2", family="To")
        self.receive("pas", adt("A04", f"C{day}1", one), day)
        self.receive("pas", adt("A04", f"C{day}2", two), day)
        self.receive("orders", orm(f"C{day}3", two, f"9{day}"), day)
        self.receive("pas", b"MSH|^~\\&|PAS|STO|||20260309||ADT^A99|X|T|2.5\rPID|1\r", day)
        self.receive("pas", merge("A40", f"C{day}4", one, two.number), day)

    def deliver(self, *, but: int = 0) -> None:
        """Everything that is queued leaves, but the newest `but`."""
        for number in self.open()[: len(self.open()) - but]:
            self.finish(number)

    def open(self) -> list[int]:
        """Deliveries that still have to leave, the oldest first."""
        return sorted(q.id for q in ledger.open_deliveries(self.database.read()) if not q.parked)

    def finish(self, number: int) -> None:
        self.database.write(lambda tx: _finish(tx, number)).result(10)

    @property
    def database(self) -> Database:
        return self.house.database

    def report(self) -> Report:
        with self.database.snapshot() as tx:
            return reconcile(tx, self.data)

    def rebuilt(self) -> list[str]:
        """What differs between the live registers and those that the log gives."""
        configured = self.house.configured
        baseline = self.database.beside(rebuild.BASELINE)
        with (
            self.database.snapshot() as tx,
            rebuild.rebuilt(tx, baseline, configured, lambda _: None) as again,
        ):
            return rebuild.compare(tx, again, configured.routes.version)

    def forget(
        self, today: int, *, bodies: int = 2, ledger: int = 4, max_size: int | None = None
    ) -> retention.Due:
        limits = Limits(bodies=timedelta(days=bodies), ledger=timedelta(days=ledger), max_size=max_size)
        clock = FIRST + timedelta(days=today)
        return Retention(self.database, lambda: self.house.configured, limits, lambda: clock).run()


def _finish(tx: Transaction, number: int) -> None:
    opened = ledger.load(tx, number)
    assert opened is not None
    ledger.finish(tx, opened, Receipt(detail="MSA-1 AA"), "2026-03-12T00:00:00+00:00")


@pytest.fixture
def years(house: House, tmp_path: Path) -> Years:
    return Years(house, tmp_path)


def test_every_message_is_in_exactly_one_class(years: Years) -> None:
    years.story(0)
    years.deliver(but=2)
    report = years.report()

    assert report.faults == []
    assert {row["source"]: row["received"] for row in totals(report)} == {"orders": 1, "pas": 4}
    for row in totals(report):
        parts = [number for kind, number in row.items() if kind not in ("source", "received")]
        assert sum(parts) == row["received"]
    assert next(row["rejected"] for row in totals(report) if row["source"] == "pas") == 1


def test_parked_held_dropped_and_waiting_messages_are_counted_as_such(years: Years) -> None:
    years.story(0)
    (first, second, *_) = years.open()

    def park(tx: Transaction) -> None:
        for number in (first, second):
            opened = ledger.load(tx, number)
            assert opened is not None
            ledger.park(tx, opened, "refused", "MSA-1 AE", "2026-03-09T09:00:00+00:00")
        parked.drop(tx, second, BY)

    years.database.write(park).result(10)
    years.deliver()
    report = years.report()

    assert report.faults == []
    lanes = {(lane.destination, state): n for lane in report.lanes for state, n in lane.states.items()}
    assert lanes[(_destination(years, first), "parked")] == 1
    assert lanes[(_destination(years, second), "dropped")] == 1


def _destination(years: Years, number: int) -> str:
    return str(
        (years.database.read().one("SELECT destination FROM delivery WHERE id=?", (number,)) or ("",))[0]
    )


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("DELETE FROM event WHERE seq=1", "made"),
        ("DELETE FROM message WHERE seq=2", "not accounted for"),
        ("UPDATE delivery SET state='delivered' WHERE id=1", "were counted as they came"),
        ("DELETE FROM delivery WHERE id=1", "were counted as they came"),
        ("DELETE FROM delivery_body_20260309 WHERE delivery=1", "its bytes are gone"),
        ("UPDATE tally SET number=number+1 WHERE route=''", "not accounted for"),
    ],
)
def test_what_disappeared_is_found(years: Years, harm: str, told: str) -> None:
    years.story(0)
    assert years.report().faults == []
    years.database.write(lambda tx: tx.execute(harm)).result(10)

    assert any(told in fault for fault in years.report().faults), years.report().faults


def test_the_log_gives_the_registers_that_stand(years: Years) -> None:
    for day in range(2):
        years.story(day)

    assert years.rebuilt() == []


@pytest.mark.parametrize(
    ("harm", "tables"),
    [
        ("UPDATE patient SET verified=0 WHERE merged_into IS NULL", "patient"),
        ("UPDATE patient_identifier SET current=1", "patient_identifier"),
        ("UPDATE step SET status='COMPLETED'", "step"),
        ("DELETE FROM worklist", "worklist worklist_name"),
        ("DELETE FROM worklist_name", "worklist_name"),
        ("UPDATE worklist_name SET name=name||'x'", "worklist_name"),
        ("UPDATE worklist SET attributes='{}'", "worklist"),
    ],
)
def test_a_register_that_drifted_is_found(years: Years, harm: str, tables: str) -> None:
    years.story(0)
    years.database.write(lambda tx: tx.execute(harm)).result(10)

    assert [fault.partition(":")[0] for fault in years.rebuilt()] == tables.split()


# retention


def test_days_leave_by_age_and_what_is_left_still_adds_up(years: Years) -> None:
    for day in range(6):
        years.story(day)
    years.deliver()
    gone = years.forget(today=6)

    assert (gone.bodies, gone.ledger, gone.kept) == (
        ("2026-03-09", "2026-03-10", "2026-03-11", "2026-03-12"),
        ("2026-03-09", "2026-03-10"),
        (),
    )
    tx = years.database.read()
    assert days.known(tx) == ["2026-03-11", "2026-03-12", "2026-03-13", "2026-03-14"]
    assert days.known(tx, bodies=True) == ["2026-03-13", "2026-03-14"]
    assert tx.rows("SELECT DISTINCT day FROM message ORDER BY day") == [(day,) for day in days.known(tx)]
    assert tx.one("SELECT min(day) FROM delivery") == ("2026-03-11",)
    assert years.report().faults == []
    assert years.rebuilt() == [], "the baseline holds what the log lost"
    assert years.forget(today=6) == retention.Due(bodies=(), ledger=(), kept=()), (
        "a second round finds nothing"
    )


def test_a_baseline_of_an_earlier_version_is_read_as_it_is(sqlite_house: House, tmp_path: Path) -> None:
    """Nothing brings it up to date before retention folds the next day into it."""
    years = Years(sqlite_house, tmp_path)
    for day in range(2):
        years.story(day)
    years.deliver()
    assert years.forget(today=5).ledger == ("2026-03-09",)
    baseline = years.database.beside(rebuild.BASELINE)
    baseline.open()
    for sql in ("DROP INDEX event_place", "ALTER TABLE event DROP COLUMN place", "PRAGMA user_version=4"):
        baseline.write(partial(_execute, sql=sql)).result(10)
    baseline.close()

    assert years.rebuilt() == []


def _execute(tx: Transaction, sql: str) -> None:
    tx.execute(sql)


def test_a_day_with_something_open_is_kept_whole_and_so_is_the_ledger_behind_it(years: Years) -> None:
    years.story(0)
    years.deliver(but=1)
    years.story(1)
    oldest, *others = years.open()
    for number in others:
        years.finish(number)
    gone = years.forget(today=9)

    assert (gone.bodies, gone.ledger, gone.kept) == (("2026-03-10",), (), ("2026-03-09",))
    assert ledger.payload_of(years.database.read(), oldest)
    years.finish(oldest)
    assert years.forget(today=9).ledger == ("2026-03-09", "2026-03-10")
    assert years.report().faults == []


def test_the_oldest_bodies_leave_early_while_the_journal_is_too_large(years: Years) -> None:
    for day in range(4):
        years.story(day)
    years.deliver()
    gone = years.forget(today=3, bodies=90, ledger=90, max_size=1)

    assert gone.bodies == ("2026-03-09", "2026-03-10", "2026-03-11"), "never today's"
    assert years.report().faults == []


def test_an_interrupted_round_is_finished_by_the_next(years: Years, monkeypatch: pytest.MonkeyPatch) -> None:
    years.story(0)
    years.story(5)
    years.deliver()
    monkeypatch.setattr(retention, "CHUNK", 2)
    calls = iter(range(3))
    whole = retention._delete

    def breaks(tx: Transaction, day: str) -> int:
        if next(calls, None) is None:
            raise RuntimeError("power cut")
        return whole(tx, day)

    monkeypatch.setattr(retention, "_delete", breaks)
    with pytest.raises(RuntimeError):
        years.forget(today=5)
    assert years.report().faults == [], "half deleted is still accounted for"
    assert years.rebuilt() == []
    monkeypatch.setattr(retention, "_delete", whole)
    years.forget(today=5)

    assert years.database.read().one("SELECT min(day) FROM message") == ("2026-03-14",)
    assert years.report().faults == []
    assert years.rebuilt() == []


@pytest.mark.parametrize(
    ("open_days", "bodies", "ledger", "kept"),
    [
        ((), (1, 2, 3), (1, 2), ()),
        ((1,), (2, 3), (), (1,)),
        ((2,), (1, 3), (1,), (2,)),
        ((5,), (1, 2, 3), (1, 2), ()),
    ],
)
def test_what_is_due(
    open_days: tuple[int, ...], bodies: tuple[int, ...], ledger: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    known = [Day(day=f"2026-03-0{n}", bodies=True, open=n in open_days) for n in range(1, 7)]
    limits = Limits(bodies=timedelta(days=3), ledger=timedelta(days=4), max_size=None)
    found = due(known, limits, date(2026, 3, 7))

    def named(numbers: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(f"2026-03-0{n}" for n in numbers)

    assert (found.bodies, found.ledger, found.kept) == (named(bodies), named(ledger), named(kept))
