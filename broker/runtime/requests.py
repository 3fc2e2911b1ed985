"""What devices are owed that asked for storage commitment. Reads what stands and asks `studyrules`; tells nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from broker.event import Study
from broker.registers.commitments import COMMITTED
from broker.runtime import studyrules
from broker.runtime.studyrules import Item, Limits
from broker.store.transaction import Transaction


def decided(
    tx: Transaction, since: datetime | None, now: datetime, limits: Limits, archives: Collection[str]
) -> Iterator[Study]:
    """The report of each request whose every item is decided. `since`: only of those asked since then.

    `archives`: whose word counts, those that the settings have.
    """
    for requester, transaction, asked in tx.rows(
        "SELECT requester, transaction_uid, asked FROM commitment_request WHERE reported='' AND asked>=?"
        " ORDER BY asked, requester, transaction_uid",
        ("" if since is None else since.isoformat(),),
    ):
        waited = now - datetime.fromisoformat(asked)
        told = studyrules.decided(_items(tx, requester, transaction, archives), waited, limits)
        if told is not None:
            yield Study(requester=requester, transaction_uid=transaction, instances=told)


def _items(tx: Transaction, requester: str, transaction: str, archives: Collection[str]) -> list[Item]:
    marks = ",".join("?" * len(archives)) or "NULL"
    rows = tx.rows(
        "SELECT item.sop_instance_uid, item.sop_class_uid, instance.sop_class_uid, (SELECT count(*) FROM copy"
        f" WHERE copy.sop_instance_uid=item.sop_instance_uid AND copy.state=? AND copy.archive IN ({marks})),"
        " EXISTS (SELECT 1 FROM exception WHERE exception.kind='instance-differs'"
        " AND exception.subject=item.sop_instance_uid) FROM commitment_item AS item"
        " LEFT JOIN instance ON instance.sop_instance_uid=item.sop_instance_uid"
        " WHERE item.requester=? AND item.transaction_uid=? ORDER BY 1",
        (COMMITTED, *archives, requester, transaction),
    )
    return [
        Item(
            sop_instance_uid=uid,
            sop_class_uid=sop_class,
            here=received is not None,
            received_class=received or "",
            committed=committed,
            disputed=bool(disputed),
        )
        for uid, sop_class, received, committed, disputed in rows
    ]
