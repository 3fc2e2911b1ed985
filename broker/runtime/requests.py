"""What devices are owed that asked for storage commitment. Reads what stands and asks `studyrules`; tells nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from broker.event import Study
from broker.registers.commitments import COMMITTED
from broker.runtime import studyrules
from broker.runtime.studyrules import Item, Limits
from broker.store.database import Transaction


def decided(tx: Transaction, since: datetime | None, now: datetime, limits: Limits) -> Iterator[Study]:
    """The report of each request whose every item is decided. `since`: only of those asked since then."""
    for requester, transaction, asked in tx.rows(
        "SELECT requester, transaction_uid, asked FROM commitment_request WHERE reported='' AND asked>=?"
        " ORDER BY asked, requester, transaction_uid",
        ("" if since is None else since.isoformat(),),
    ):
        waited = now - datetime.fromisoformat(asked)
        told = studyrules.decided(_items(tx, requester, transaction), waited, limits)
        if told is not None:
            yield Study(requester=requester, transaction_uid=transaction, instances=told)


def _items(tx: Transaction, requester: str, transaction: str) -> list[Item]:
    rows = tx.rows(
        "SELECT item.sop_instance_uid, item.sop_class_uid, instance.sop_class_uid, (SELECT count(*) FROM copy"
        " WHERE copy.sop_instance_uid=item.sop_instance_uid AND copy.state=?) FROM commitment_item AS item"
        " LEFT JOIN instance ON instance.sop_instance_uid=item.sop_instance_uid"
        " WHERE item.requester=? AND item.transaction_uid=? ORDER BY 1",
        (COMMITTED, requester, transaction),
    )
    return [
        Item(
            sop_instance_uid=uid,
            sop_class_uid=sop_class,
            here=received is not None,
            received_class=received or "",
            committed=committed,
        )
        for uid, sop_class, received, committed in rows
    ]
