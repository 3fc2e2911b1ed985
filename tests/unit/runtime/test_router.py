from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.executor import Executor
from broker.delivery.parked import By
from broker.errors import AskPersonError, UnwritableError
from broker.routing.language import OnFailure
from broker.runtime import router as module
from broker.runtime.lanes import MemoryLanes
from broker.runtime.leader import Leader
from broker.runtime.router import BATCH, Router
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat
from broker.store.transaction import Transaction
from broker.view import View
from tests.support.events import cause
from tests.support.shared import REPOSITORY

if TYPE_CHECKING:
    from tests.unit.conftest import NewDatabase
    from tests.unit.runtime.conftest import House

SECONDS = 10.0
ADT = (REPOSITORY / "routes" / "tests" / "adt_a04_registered.hl7").read_bytes()


class Desk:
    """Takes everything, but asks for a person where the first `refusing` are concerned."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.taken: list[bytes] = []
        self.refusing = 0
        self.refused = 0

    def deliver(self, delivery: Delivery) -> Receipt:
        with self._changed:
            if self.refused < self.refusing:
                self.refused += 1
                self._changed.notify_all()
                raise AskPersonError("two patients fit")
            self.taken.append(delivery.payload)
            self._changed.notify_all()
        return Receipt(detail="MSA-1 AA")

    def close(self) -> None:
        pass

    def wait_for_refusals(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.refused >= number, SECONDS)

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.taken) >= number, SECONDS), len(self.taken)


class Works:
    """A router and the EPJ's executor over a house's journal. The PACS's HL7 listener is not configured."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.desk = Desk()
        self.executor = Executor(
            "epj", house.database, lambda: self.desk, lambda route: OnFailure(), lambda: datetime.now(UTC)
        )
        self.heartbeat = Heartbeat(house.database)
        self.lanes = MemoryLanes(house.database, {"epj": self.executor})
        self.leader = Leader(house.database, self.heartbeat, "node-a")
        self.router = Router(house.database, lambda _tx: house.pipeline, self.lanes, self.leader)

    def start(self) -> None:
        self.lanes.start()
        self.router.start()

    def receive(self, number: int) -> None:
        self.house.receive("pas", ADT.replace(b"P000101", f"P{number:06}".encode()))

    def stop(self) -> None:
        self.router.stop(SECONDS)
        self.lanes.stop(SECONDS)
        self.heartbeat.stop()


@pytest.fixture
def works(house: House) -> Iterator[Works]:
    works = Works(house)
    yield works
    works.stop()


@pytest.fixture
def sqlite_works(sqlite_house: House) -> Iterator[Works]:
    works = Works(sqlite_house)
    yield works
    works.stop()


def controls(desk: Desk) -> list[int]:
    return [int(payload.split(b"|")[9][1:]) for payload in desk.taken]


def test_a_start_routes_what_a_crash_left(works: Works) -> None:
    works.receive(1)
    works.start()
    works.desk.wait_for(1)

    assert controls(works.desk) == [1]


def test_a_wake_routes_what_came(works: Works) -> None:
    works.start()
    works.receive(1)
    works.router.wake()
    works.desk.wait_for(1)
    works.receive(2)
    works.router.wake()
    works.desk.wait_for(2)

    assert controls(works.desk) == [1, 2]


def test_it_tells_that_events_have_their_place(works: Works) -> None:
    routed = threading.Event()
    works.router = Router(
        works.house.database, lambda _tx: works.house.pipeline, works.lanes, works.leader, routed.set
    )
    works.router.start()
    works.receive(1)
    works.router.wake()

    assert routed.wait(SECONDS)
    assert works.house.waiting() == 0


def test_one_wake_is_enough_for_many_batches(works: Works) -> None:
    for number in range(2 * BATCH):  # two events each
        works.receive(number)
    works.start()
    works.desk.wait_for(2 * BATCH)

    assert controls(works.desk) == list(range(2 * BATCH)), "one patient, journal order"


def test_deliveries_of_a_destination_that_is_gone_stay_in_the_journal(works: Works) -> None:
    works.receive(1)
    works.start()
    works.desk.wait_for(1)
    works.router.stop(SECONDS)

    left = [q.destination for q in stored.open_deliveries(works.house.database.read())]
    assert "pacs-hl7" in left


def test_routing_waits_while_the_journal_cannot_be_written(
    sqlite_works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = sqlite_works
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    tried = threading.Semaphore(0)
    batch = works.router._batch

    def watched() -> bool:
        try:
            return batch()
        except UnwritableError:
            tried.release()
            raise

    monkeypatch.setattr(works.router, "_batch", watched)
    works.receive(1)
    connection = works.house.database.write(lambda tx: tx._connection).result()
    connection.execute("PRAGMA query_only=ON")
    with capture_logs() as logs:
        works.start()
        for _ in range(3):
            assert tried.acquire(timeout=SECONDS)
        connection.execute("PRAGMA query_only=OFF")
        works.desk.wait_for(1)

    assert works.house.reported() == []
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "the journal cannot be written"
    ], "told once, where it began"


def test_nothing_ends_the_router_but_a_stop(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that an older version wrote and this one cannot read."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    failed = threading.Semaphore(0)
    monkeypatch.setattr(module.log, "exception", lambda *_, **__: failed.release())
    works.receive(1)
    database = works.house.database
    ((body,),) = database.read().rows("SELECT body FROM event WHERE id='M00001.0'")
    database.write(lambda tx: tx.execute("UPDATE event SET body='{}' WHERE id='M00001.0'")).result()
    works.start()
    for _ in range(3):
        assert failed.acquire(timeout=SECONDS)
    database.write(lambda tx: tx.execute("UPDATE event SET body=? WHERE id='M00001.0'", (body,))).result()

    works.desk.wait_for(1)


def test_a_stop_routes_what_waits(works: Works) -> None:
    works.router.start()
    for number in range(BATCH):
        works.receive(number)
    works.router.stop(SECONDS)

    assert works.house.waiting() == 0


def test_a_stop_does_not_wait_for_a_long_queue(works: Works, house: House) -> None:
    entered, release = threading.Event(), threading.Event()
    render: Callable[[View, Target], Rendered] = house.configured.renderers["epj"]

    def slow(view: View, target: Target) -> Rendered:
        entered.set()
        assert release.wait(SECONDS)
        return render(view, target)

    house.with_(renderers={"epj": slow})
    works.router = Router(house.database, lambda _tx: house.pipeline, works.lanes, works.leader)
    for number in range(2 * BATCH):
        works.receive(number)
    works.router.start()
    assert entered.wait(SECONDS)
    timer = threading.Thread(target=works.router.stop, args=(0.001,))
    timer.start()
    while not works.router._enough.wait(0.001):
        pass
    release.set()
    timer.join(SECONDS)

    assert not timer.is_alive()
    assert works.house.waiting() > 0, "the next start goes on"


def test_a_stop_before_the_start_is_harmless(works: Works) -> None:
    with capture_logs() as logs:
        works.router.stop(1)

    assert logs == []


def test_what_comes_closely_is_routed_together_but_a_stop_does_not_wait_for_more(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRESSING_SECONDS", SECONDS)
    monkeypatch.setattr(module, "GATHER_SECONDS", 100 * SECONDS)
    works.router.wake()
    works.router.wake()
    works.start()
    for number in range(3):
        works.receive(number)
    assert works.desk.taken == []  # nothing is routed while it gathers

    works.router.stop(SECONDS)

    works.desk.wait_for(3)


# --- what another process did to deliveries ---


class Elsewhere:
    """`broker parked` in a process of its own: its own connection to the same journal."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._database.open()

    def do(self, work: Callable[[Transaction], object]) -> None:
        self._database.write(work).result(SECONDS)

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def elsewhere(
    house: House, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Elsewhere]:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    elsewhere = Elsewhere(new_database())
    yield elsewhere
    elsewhere.close()


BY = By(who="kari", at="2026-03-09T09:00:00+00:00", reason="asked the ward")


def parked_one(works: Works) -> int:
    """A message came, the EPJ asked for a person, and nobody knows of it but the journal and the lanes."""
    works.desk.refusing = 1
    works.receive(1)
    works.start()
    works.desk.wait_for_refusals(1)
    works.receive(2)
    works.router.wake()
    database = works.house.database
    (number,) = [q.id for q in stored.open_deliveries(database.read()) if q.destination == "epj"][:1]
    while [row["id"] for row in parked.listed(database.read())] != [number]:
        database.write(lambda tx: None).result(
            SECONDS
        )  # its parking stands before this in the writer's queue
    return number


def test_a_release_in_another_process_is_noticed(works: Works, elsewhere: Elsewhere) -> None:
    number = parked_one(works)
    assert works.desk.taken == []
    elsewhere.do(lambda tx: parked.release(tx, number, BY))
    works.desk.wait_for(2)

    assert controls(works.desk) == [1, 2], "and what waited behind it follows"


def test_an_edit_in_another_process_is_what_leaves(works: Works, elsewhere: Elsewhere) -> None:
    number = parked_one(works)
    mended = (stored.payload_of(works.house.database.read(), number) or b"").replace(b"000001", b"000007")
    elsewhere.do(lambda tx: parked.edit(tx, number, mended, BY))
    elsewhere.do(lambda tx: parked.release(tx, number, BY))
    works.desk.wait_for(2)

    assert controls(works.desk) == [7, 2]


def test_a_drop_in_another_process_lets_the_lane_go_on(works: Works, elsewhere: Elsewhere) -> None:
    number = parked_one(works)
    elsewhere.do(lambda tx: parked.drop(tx, number, BY))
    works.desk.wait_for(1)

    assert controls(works.desk) == [2]


def test_a_replay_in_another_process_is_sent(works: Works, elsewhere: Elsewhere) -> None:
    works.receive(1)
    works.start()
    works.desk.wait_for(1)
    payload = works.desk.taken[0]
    target = Target(route="adt-to-epj", version="v", place="r.yaml:1", kind="hl7", destination="epj")

    def again(tx: Transaction) -> None:
        queued = ledger.enqueue(tx, cause(), "K", target, Rendered(payload=payload), replay_of=1)
        parked.note(tx, "replay", queued.id, BY)

    elsewhere.do(again)
    works.desk.wait_for(2)

    assert works.desk.taken == [payload, payload]


def test_what_was_done_before_the_start_is_not_heard_again(works: Works, elsewhere: Elsewhere) -> None:
    """The lanes were filled from a journal that had it."""
    target = Target(route="adt-to-epj", version="v", place="r.yaml:1", kind="hl7", destination="epj")
    works.receive(1)

    def again(tx: Transaction) -> None:
        queued = ledger.enqueue(
            tx, cause(), "K", target, Rendered(payload=b"a|b|c|d|e|f|g|h|i|R9|"), replay_of=1
        )
        parked.note(tx, "replay", queued.id, BY)

    elsewhere.do(again)
    works.start()
    works.desk.wait_for(2)

    assert controls(works.desk) == [9, 1]


def test_an_intervention_for_a_destination_that_is_gone_is_passed_over(
    works: Works, elsewhere: Elsewhere
) -> None:
    target = Target(route="r", version="v", place="r.yaml:1", kind="hl7", destination="pacs-hl7")

    def gone(tx: Transaction) -> None:
        number = ledger.enqueue(tx, cause(), "K", target, Rendered(payload=b"x")).id
        opened = stored.load(tx, number)
        assert opened is not None
        endings.park(tx, opened, "ask", "who", BY.at)
        parked.release(tx, number, BY)

    works.receive(1)
    elsewhere.do(gone)
    with capture_logs() as logs:
        works.start()
        works.desk.wait_for(1)

    assert [line for line in logs if line["log_level"] == "error"] == []
