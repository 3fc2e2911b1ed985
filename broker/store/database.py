"""The seam under journal, registers and lanes: a database that is read by everybody and written by one writer.

What an engine does differently is its own module's: `sqlite`, `postgres`. What may be asked of it inside a transaction
is `transaction`; how many callers' work is committed at once is `writer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import ClassVar, Final, Literal, TypeVar, get_args

from broker.store.transaction import Session, Transaction
from broker.store.writer import Writer

T = TypeVar("T")

Channel = Literal["events", "ways"]
"""What a signal is about: events were written; a destination (the payload) has something to send."""

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

Heard = Callable[[Channel, str], None]
"""Is told a signal's channel and payload; an empty payload is all that the channel is about."""


class Database(ABC):
    """One database. `write` returns a future that is done when the work is durable, or was rolled back."""

    shared: ClassVar[bool]
    """Whether several nodes may work on it at once."""

    def __init__(self, name: str) -> None:
        """`name` is what people read in messages: it holds no password."""
        self.name = name
        self._writer = Writer(name)

    @abstractmethod
    def _start(self) -> Session:
        """Connects for writing and brings the schema up to date. Raises `StoreError`."""

    @abstractmethod
    def _close_readers(self) -> None: ...

    @abstractmethod
    def version(self) -> int:
        """Number of the schema's last migration; 0 where there is no journal yet. Raises `StoreError`."""

    @abstractmethod
    def beside(self, name: str) -> Database:
        """Another database with the same schema, kept where this one is kept. Not opened yet."""

    @abstractmethod
    def read(self) -> Transaction:
        """A reader for any thread. Each statement sees what was committed when it began. Raises `StoreError`."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Transaction]:
        """One moment of the journal, however long it is read; old rows and days are kept meanwhile: not for ever."""

    def open(self) -> None:
        """Brings the schema up to date and starts the writer. Raises `StoreError`."""
        self._writer.start(self._start())

    def close(self) -> None:
        """Finishes the work that was handed in, then closes. Idempotent."""
        self._writer.stop()
        self._close_readers()

    def write(
        self, work: Callable[[Transaction], T], *, urgent: bool = False, patient: bool = False
    ) -> Future[T]:
        """Runs `work` inside the next group commit.

        Urgent work (a sender waits for its acknowledgement) goes before all other; at most one ordinary job shares
        a group, so that routing never makes an acknowledgement wait for more than one of its batches. Patient work
        (nobody waits for it, and more of it may come) goes with the next group, as its first, and has one of its own
        only after `writer.PATIENCE_SECONDS`, or when somebody is in a hurry for it (`hurry`). An exception
        in `work` undoes only that work and is handed on; a failing commit gives every job of the group an
        `UnwritableError`, and the next group is tried as if nothing had been. Work may run more than once, of which
        all but the last is undone. Where the server went away in the middle of a commit, the future is done when it
        is back and tells whether that commit took place.
        """
        return self._writer.write(work, urgent=urgent, patient=patient)

    def hurry(self) -> None:
        """Patient work that was handed in waits no longer."""
        self._writer.hurry()

    def signal(self, channel: Channel, payload: str = "") -> None:  # noqa: B027 - one process wakes itself
        """Wakes those who listen in other processes with this journal; who calls it wakes its own process itself.

        Returns at once, from any thread. What waits to be sent is sent once, however often it was handed in. A signal
        may be lost, doubled or late, and none may be needed: everybody who listens also looks from time to time.
        """

    def listen(self, heard: Heard) -> None:  # noqa: B027 - as above
        """Has `heard` called for signals of other processes, in a thread of the database's: it must not take long.

        It is called for every channel, with an empty payload, each time that listening begins, after a lost
        connection too: something may have been missed. What it raises is logged.
        """
