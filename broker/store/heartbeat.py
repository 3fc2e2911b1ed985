"""The thread of a process that renews its leases while their owners work. Not here: what a lease is for."""

from __future__ import annotations

import threading
import time
from functools import partial

import structlog

from broker.errors import StoreError
from broker.store import lease
from broker.store.database import Database
from broker.store.lease import Held, Lease, LostLeaseError

log = structlog.get_logger("broker.store")


class Heartbeat:
    """Renews what it is given until that is taken back or lost. Runs only while there is something to renew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[int, Held] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def keep(self, taken: Lease, asked: float) -> Held:
        """Renews it from now on. `asked`: `time.monotonic()` before the transaction that took it began."""
        held = Held(taken)
        held.renewed(asked)
        with self._changed:
            self._held[taken.term] = held
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()
        return held

    def leave(self, held: Held) -> None:
        """It was given back, or is lost: nothing more is to be relied on."""
        with self._changed:
            self._held.pop(held.lease.term, None)
        held.lost()

    def stop(self) -> None:
        """Ends the thread; what is held runs out."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or bool(self._held))
                if not self._stopping:
                    self._changed.wait_for(lambda: self._stopping, lease.RENEW_SECONDS)
                if self._stopping:
                    return
                every = list(self._held.values())
            for held in every:
                self._renew(held)

    def _renew(self, held: Held) -> None:
        if held.is_lost:
            return  # given back since
        asked = time.monotonic()
        try:
            self._database.write(partial(lease.hold, lease=held.lease), urgent=True).result()
        except LostLeaseError:
            if not held.is_lost:  # else it was given back at this moment
                log.warning("another node has taken over", lease=held.lease.name)
            self.leave(held)
        except StoreError:
            pass  # told where it began; a lease that is not renewed in time is not relied on
        except Exception:
            # Whatever it is, this thread must not end: nothing of this node would ever be renewed again.
            log.exception("a lease could not be renewed", lease=held.lease.name)
        else:
            held.renewed(asked)
