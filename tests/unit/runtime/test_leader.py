from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from broker.runtime.leader import NAME, Leader
from broker.store import lease
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat
from broker.store.lease import LostLeaseError
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction

if TYPE_CHECKING:
    from tests.unit.conftest import NewDatabase

Node = Callable[[str], Leader]


@pytest.fixture
def node(new_database: NewDatabase) -> Iterator[Node]:
    """Makes a node of one journal; on SQLite there can be only one."""
    hearts: list[Heartbeat] = []

    def another(name: str) -> Leader:
        database = new_database()
        database.open()
        hearts.append(Heartbeat(database))
        return Leader(database, hearts[-1], name)

    yield another
    for heart in hearts:
        heart.stop()


def only_shared(leader: Leader) -> Database:
    if not leader._database.shared:
        pytest.skip("one process has the journal to itself")
    return leader._database


def test_one_leads_and_the_others_stand_by(node: Node) -> None:
    one = node("one")
    only_shared(one)
    two = node("two")

    assert one.lead()
    assert not two.lead()
    assert (one.leads, two.leads) == (True, False)
    assert one.lead(), "for as long as it likes"


def test_who_gives_it_back_is_followed_at_once(node: Node) -> None:
    one = node("one")
    only_shared(one)
    two = node("two")
    one.lead()
    one.give_back()

    assert not one.leads
    assert two.lead()


def test_who_was_away_too_long_can_commit_nothing(node: Node) -> None:
    one = node("one")
    database = only_shared(one)
    two = node("two")
    one.lead()
    database.write(lambda tx: tx.execute("UPDATE lease SET until=0")).result()

    assert two.lead(), "its time was over"
    with pytest.raises(LostLeaseError):
        database.write(one.fence).result()
    one.lost()
    assert not one.leads
    assert not one.lead(), "it stands by"


def test_a_fence_holds_until_its_transaction_ends(node: Node) -> None:
    one = node("one")
    database = only_shared(one)
    one.lead()

    def routes(tx: Transaction) -> float:
        tx.execute("UPDATE lease SET until=0")
        one.fence(tx)
        (until,) = tx.rows("SELECT until FROM lease WHERE name=?", (NAME,))[0]
        return float(until) - tx.now()

    assert database.write(routes).result() > lease.SECONDS / 2


def test_a_fence_looks_once_at_what_the_router_may_give_back(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = node("one")
    database = only_shared(one)
    one.lead()
    looks = iter([one._held, None])
    monkeypatch.setattr(Leader, "_held", property(lambda _: next(looks)), raising=False)

    database.write(one.fence).result()


def test_the_same_node_leads_again_after_its_death(node: Node) -> None:
    one = node("one")
    only_shared(one)
    one.lead()

    assert node("one").lead(), "it need not wait for its own lease to end"


def test_who_never_led_has_nothing_to_give_back(node: Node) -> None:
    one = node("one")
    only_shared(one)
    one.give_back()
    with pytest.raises(LostLeaseError):
        one._database.write(one.fence).result()


def test_who_has_the_journal_to_itself_leads_without_writing(sqlite_database: SqliteDatabase) -> None:
    one = Leader(sqlite_database, Heartbeat(sqlite_database), "one")

    assert one.leads
    assert one.lead()
    sqlite_database.write(one.fence).result()
    one.give_back()
    assert sqlite_database.read().rows("SELECT * FROM lease") == []


def test_who_cannot_use_the_live_routes_leaves_it_to_others(node: Node) -> None:
    one = node("one")
    only_shared(one)
    two = node("two")
    able = [True]
    one._able = lambda: able[0]
    assert one.lead()
    able[0] = False

    assert not one.lead()
    assert two.lead()
