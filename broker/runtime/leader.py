"""Which node does what only one may: route, publish, drop old days. A lease with a fence; not what is done under it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from broker.errors import StoreError
from broker.store import lease
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat
from broker.store.lease import Held, LostLeaseError
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.runtime")

NAME: Final = "leader"


class Leader:
    """`lead` is called by one thread; `leads` and `fence` by any. Who has the journal to itself always leads."""

    def __init__(
        self, database: Database, heartbeat: Heartbeat, node: str, able: Callable[[], bool] = lambda: True
    ) -> None:
        """`able`: whether this node can do what the leader must; one that cannot leaves it to others."""
        self._database = database
        self._heartbeat = heartbeat
        self._node = node
        self._able = able
        self._held: Held | None = None

    @property
    def leads(self) -> bool:
        """Whether this node may begin something that only the leader does."""
        held = self._held
        return not self._database.shared or (held is not None and held.sure)

    def lead(self) -> bool:
        """Takes the lease where it is to be had; whether this node has it. Raises `StoreError`."""
        if not self._database.shared or (self._held is not None and not self._held.is_lost):
            if not self._database.shared or self._able():
                return True
            log.warning("this node cannot lead any more: another one may")
            self.give_back()
        if not self._able():
            return False
        self._held = None
        if not lease.may_take(self._database.read(), NAME, self._node):
            return False
        asked = time.monotonic()
        taken = self._database.write(partial(lease.take, name=NAME, owner=self._node), urgent=True).result()
        if taken is None:
            return False
        self._held = self._heartbeat.keep(taken, asked)
        log.info("this node leads: it routes", term=taken.term)
        return True

    def fence(self, tx: Transaction) -> None:
        """Begins a transaction that only the leader may commit. Raises `LostLeaseError`."""
        if not self._database.shared:
            return
        held = self._held  # once: the router may give it back at this moment
        if held is None:
            raise LostLeaseError(f"{NAME}: this node does not lead")
        lease.hold(tx, held.lease)

    def lost(self) -> None:
        """A fence said so."""
        if self._held is not None:
            log.warning("another node leads now: this one stands by")
            self._heartbeat.leave(self._held)

    def give_back(self) -> None:
        """Another node may lead at once."""
        if self._held is None or self._held.is_lost:
            return
        held, self._held = self._held, None
        self._heartbeat.leave(held)
        with contextlib.suppress(StoreError):  # told where it began; the lease runs out by itself
            self._database.write(partial(lease.give_back, lease=held.lease), urgent=True).result()
