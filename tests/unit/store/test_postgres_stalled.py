"""Who stalls inside a transaction, and with what it has locked, is not waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from broker.errors import StoreError
from broker.store import postgres_signals
from broker.store.postgres import PostgresDatabase
from broker.store.postgres_stalled import end_stalled
from broker.store.transaction import Transaction

SECONDS = 30.0


@pytest.fixture
def stalled(nodes: list[PostgresDatabase]) -> Iterator[threading.Event]:
    """The first node stands in a transaction that has locked something, in the midst of a pipeline, until it is set."""
    goes_on, inside = threading.Event(), threading.Event()

    def stall(tx: Transaction) -> None:
        tx.alone("a test")
        tx.rows("SELECT 1")
        inside.set()
        goes_on.wait(SECONDS)

    written = nodes[0].write(stall)
    assert inside.wait(SECONDS)
    yield goes_on
    goes_on.set()
    with pytest.raises(StoreError):
        written.result(SECONDS)


def test_the_others_go_on(
    nodes: list[PostgresDatabase], stalled: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_signals, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(
        postgres_signals, "end_stalled", lambda connection, store: end_stalled(connection, store, 0.2)
    )
    waits = nodes[1].write(lambda tx: tx.alone("a test"))
    assert not waits.done()

    nodes[1].listen(lambda *_: None)

    waits.result(SECONDS)
