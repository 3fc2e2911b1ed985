"""Connections that read, shared by all threads, a statement at a time: few, however many associations there are.

Not here: how one is opened, and what is read (`sqlite`, `postgres`). Who wants to see one moment over several
statements asks for a snapshot, which has a connection of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

READERS: Final = 8
"""Statements that are read at once, at most: each takes less than a millisecond, most of it on one processor. In
PostgreSQL a connection is a process of the server's; in SQLite it has two files, the schema, its statements and pages,
half a megabyte that every association would have."""


class Connection(Protocol):
    """Of either engine."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Connection)
T = TypeVar("T")


class Readers(Generic[C]):
    """The one that was used last is used next: it has the statement prepared, and its pages."""

    def __init__(self, connect: Callable[[], C], ended: Callable[[C], bool]) -> None:
        """`ended`: whether the server has ended a connection, which then is not used again."""
        self._connect = connect
        self._ended = ended
        self._slots = threading.BoundedSemaphore(READERS)
        self._idle: deque[C] = deque()

    def use(self, work: Callable[[C], T]) -> T:
        """Runs it over an idle connection; over a new one where the server has ended that meanwhile."""
        with self._slots:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._over(self._connect(), work)
            try:
                return self._over(connection, work)
            except Exception:
                if not self._ended(connection):
                    raise
                self.close()  # the others were ended with it
            return self._over(self._connect(), work)

    def _over(self, connection: C, work: Callable[[C], T]) -> T:
        try:
            return work(connection)
        finally:
            if not self._ended(connection):
                self._idle.append(connection)

    def close(self) -> None:
        """Closes those that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()
