"""Two nodes that write one journal at once: a higher number may be there, and be routed, before a lower one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.adapter import Reception
from broker.journal import cursor, intake
from broker.journal import log as journal
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.runtime.retention import Due, Limits, Retention
from broker.store import days
from broker.store.postgres import PostgresDatabase
from broker.store.transaction import Transaction
from tests.support.crossing import as_far_as_it_gets
from tests.support.events import START, event, local, patient, reception
from tests.support.postgres import Postgres
from tests.unit.runtime.conftest import House

SECONDS = 30.0
LATER = START + timedelta(days=30)


class Nodes:
    """A house on the first node. The second one's message is numbered, and not committed before `commit`."""

    def __init__(self, house: House, other: PostgresDatabase, spool: Path) -> None:
        self.house, self.other, self._spool = house, other, spool
        self._commit = threading.Event()
        self._written: Future[None] | None = None

    def hears(self, number: int, family: str) -> Reception:
        """The patient has another name now."""
        who = patient(local("700123"), family=family)
        return reception(number, event("patient.updated", number, patient=who))

    def begin(self, number: int, family: str) -> None:
        numbered = threading.Event()

        def work(tx: Transaction) -> None:
            intake.append(tx, self.hears(number, family))
            tx.rows("SELECT 1")  # what was handed over before is done
            numbered.set()
            assert self._commit.wait(SECONDS)

        self._written = self.other.write(work)
        assert numbered.wait(SECONDS)

    def commit(self) -> None:
        self._commit.set()
        if self._written is not None:
            self._written.result(SECONDS)

    def take(self, number: int, family: str) -> None:
        """The first node takes it in and routes it."""
        self.house.intake.accept_blocking(self.hears(number, family))
        self.house.route()

    def delivered(self) -> None:
        """Nothing is open any more."""
        sql = "UPDATE delivery SET state='delivered'"
        self.house.database.write(lambda tx: tx.execute(sql)).result(SECONDS)

    def forget(self, *, ledger: int = 90) -> Due:
        """A round of the first node's retention, a month later. `ledger`: days that it keeps."""
        limits = Limits(bodies=timedelta(days=1), ledger=timedelta(days=ledger), max_size=None)
        house = self.house
        return Retention(house.database, self._spool, lambda: house.configured, limits, lambda: LATER).run()

    def rebuilt(self) -> list[str]:
        configured, database = self.house.configured, self.house.database
        with (
            database.snapshot() as tx,
            rebuild.rebuilt(tx, database.beside(rebuild.BASELINE), configured, lambda _: None) as again,
        ):
            return rebuild.compare(tx, again, configured.routes.version)

    def families(self) -> list[str]:
        """The name that the register has."""
        return [
            body
            for (body,) in self.house.database.read().rows(
                "SELECT body::json->'name'->>'family' FROM patient"
            )
        ]


@pytest.fixture
def nodes(
    configured: Configured, postgres: Postgres, journal_template: str, tmp_path: Path
) -> Iterator[Nodes]:
    url = postgres.url(postgres.database(journal_template))
    both = [PostgresDatabase(url, name) for name in ("node-a", "node-b")]
    for database in both:
        database.open()
    nodes = Nodes(House(configured, both[0]), both[1], tmp_path)
    nodes.take(1, "Nordmann")  # and the day's tables
    yield nodes
    nodes.commit()
    for database in both:
        database.close()


def test_a_lower_number_that_is_routed_later_is_published_later_and_not_passed_over(nodes: Nodes) -> None:
    nodes.begin(2, "Lie")
    nodes.take(3, "Moe")
    tx = nodes.house.database.read()
    published = cursor.behind(tx, 0, 9)
    nodes.commit()
    nodes.house.route()

    assert [one.id for _, one in published] == ["M00001.0", "M00003.0"]
    assert [one.id for _, one in cursor.behind(tx, published[-1][0], 9)] == ["M00002.0"]
    numbers = {one.event.id: one.seq for one in journal.since(tx, 0, 9)}
    assert numbers["M00002.0"] < numbers["M00003.0"], "or nothing was shown"


def test_registers_are_rebuilt_in_the_order_of_routing(nodes: Nodes) -> None:
    nodes.begin(2, "Lie")
    nodes.take(3, "Moe")
    nodes.commit()
    nodes.house.route()

    assert nodes.families() == ["Lie"], "the last one that was routed"
    assert nodes.rebuilt() == []


def test_a_baseline_holds_what_was_routed_first_whatever_its_number(nodes: Nodes) -> None:
    """Retention takes the day away; what was routed behind it is folded on top of that."""
    nodes.begin(2, "Lie")
    nodes.take(3, "Moe")
    nodes.commit()
    nodes.house.route()
    nodes.delivered()
    assert nodes.forget(ledger=2).ledger == (START.date().isoformat(),)
    now = datetime(2026, 4, 9, 8, tzinfo=UTC)
    later = nodes.hears(4, "Dahl")
    nodes.house.database.write(lambda tx: intake.append(tx, _at(later, now))).result(SECONDS)
    nodes.house.route()

    assert nodes.families() == ["Dahl"]
    assert nodes.rebuilt() == []


@pytest.mark.parametrize("before", [True, False])
def test_bodies_that_somebody_reads_are_there_to_the_end_and_keep_nobody_waiting(
    nodes: Nodes, before: bool
) -> None:
    """A snapshot may be open for an hour: a rebuild's. Who waited for it would answer no sender meanwhile."""
    nodes.delivered()
    with ThreadPoolExecutor(1) as pool:
        with nodes.other.snapshot() as tx:
            assert days.known(tx, bodies=True) == [START.date().isoformat()]
            if before:
                assert journal.event(tx, 1).raw
            assert pool.submit(nodes.forget).result(SECONDS).bodies == ()
            assert journal.event(tx, 1).raw
        assert nodes.forget().bodies == (START.date().isoformat(),)


def test_a_message_that_is_being_written_of_a_day_that_is_due_keeps_its_bytes(nodes: Nodes) -> None:
    """It came before midnight, and is committed behind the look whether anything of its day is open."""
    nodes.delivered()
    nodes.begin(2, "Lie")
    with ThreadPoolExecutor(1) as pool:
        gone = as_far_as_it_gets(nodes.other, pool.submit(nodes.forget))
        nodes.commit()
        assert gone.result(SECONDS).bodies == ()
    assert [logged.raw for logged in journal.unrouted(nodes.other.read(), 9)] == [nodes.hears(2, "Lie").raw]


def _at(taken: Reception, now: datetime) -> Reception:
    return reception(4, *taken.events, received=now)
