from __future__ import annotations

from broker.store import tally
from broker.store.transaction import Transaction


def test_messages_are_added_up_over_all_days(tx: Transaction) -> None:
    for day, source, verdict in [
        ("2026-03-09", "pas", "accepted"),
        ("2026-03-10", "pas", "accepted"),
        ("2026-03-10", "pas", "rejected"),
        ("2026-03-10", "images", "accepted"),
    ]:
        tally.add(tx, day, source, verdict)

    assert tally.messages(tx) == [("images", "accepted", 1), ("pas", "accepted", 2), ("pas", "rejected", 1)]
    assert tally.deliveries(tx) == {}, "messages are no deliveries"


def test_deliveries_are_added_up_over_routes_and_listeners(tx: Transaction) -> None:
    for route, source in (("adt", "pas"), ("adt", "orders"), ("orders", "orders")):
        tally.add(tx, "2026-03-09", source, "queued", route=route, destination="epj")
    tally.add(tx, "2026-03-09", "pas", "held", route="adt", destination="pacs")

    assert tally.deliveries(tx) == {"epj": {"queued": 3}, "pacs": {"held": 1}}
    assert tally.messages(tx) == []
    assert len(tx.rows("SELECT 1 FROM tally")) == 4


def test_what_moves_on_is_taken_off(tx: Transaction) -> None:
    for number, state in ((1, "queued"), (-1, "queued"), (1, "delivered")):
        tally.add(tx, "2026-03-09", "pas", state, route="adt", destination="epj", number=number)
    tally.add(tx, "2026-03-09", "pas", "accepted", number=5)
    tally.add(tx, "2026-03-09", "pas", "accepted", number=-5)

    assert tally.deliveries(tx) == {"epj": {"queued": 0, "delivered": 1}}
    assert tally.messages(tx) == [], "and what comes to nothing is not told"
