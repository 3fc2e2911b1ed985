"""What work is given, a `Transaction`, and what the writer drives, a `Session`: each engine makes its own of both.

SQL elsewhere keeps to what both engines speak, with `?` for each bound value; everything that cannot be said in both is
a method of `Transaction`. Not here: who runs the work, and when it is committed (`writer`).
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from broker.errors import BrokerError, StoreError

Value = str | int | float | bytes | None


class ConflictError(StoreError):
    """Another node's transaction crossed this one, which was undone: the same work may succeed the next time."""


class InDoubtError(StoreError):
    """The connection was lost while a commit was under way: whether it took place is not known yet."""


class BusyError(BrokerError):
    """What was to go is being used: nobody was kept waiting, and the same work may succeed later."""


class Transaction(ABC):
    """One open transaction, or a reader: parameters are always bound, never formatted in.

    Every method raises `StoreError` when the disk, the file or the server failed; work must let it pass.
    """

    gapless: ClassVar[bool]
    """Whether numbers are given without gaps, so that one that is missing is a row that disappeared."""

    locking: ClassVar[str]
    """What a SELECT of rows `d` ends with, so that of several nodes each gets others; empty where there is only one."""

    standing: set[str]
    """Days whose tables the writer has seen; emptied when anything is undone (`broker.store.days`)."""

    _kept: dict[str, dict[Any, Any]] | None = None
    """Rows by table and key, within `keeping`."""

    node: str = ""
    """Who writes, where several may at once: what each node counts for itself needs no waiting for the others."""

    @abstractmethod
    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Runs the statement and returns its rows."""

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> None:
        """Runs a statement that gives no rows. An engine may tell only at the next one that it failed."""
        self.rows(sql, parameters)

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        return next(iter(self.rows(sql, parameters)), None)

    def insert(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Runs an INSERT that ends in `RETURNING` the new row's number."""
        return int(self.rows(sql, parameters)[0][0])

    @abstractmethod
    def each(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Runs the statement once for each row of parameters."""

    @abstractmethod
    def change(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Runs the statement and returns how many rows it changed."""

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Within it rows that were read may be kept (`kept`), by whoever alone may write them until this transaction
        ends. What is undone empties it."""
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def kept(self, table: str) -> dict[Any, Any]:
        """Rows of a table as they stand, by key, to be read, added to and taken from by the module that writes the
        table. Outside of `keeping` it is empty, and what is put there is kept by nobody."""
        return {} if self._kept is None else self._kept.setdefault(table, {})

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """What is written inside is undone where it raises; may stand inside another one."""
        self.execute("SAVEPOINT attempt")
        try:
            yield
            self.settle()
        except StoreError:
            raise  # the whole transaction is lost
        except BaseException:
            self._undo()
            raise
        self.execute("RELEASE attempt")

    def settle(self) -> None:  # noqa: B027 - most engines have nothing to do here
        """Raises what went wrong in statements that were only handed over."""

    def _undo(self) -> None:
        self.standing.clear()
        if self._kept is not None:
            self._kept.clear()
        self.execute("ROLLBACK TO attempt")
        self.execute("RELEASE attempt")

    @abstractmethod
    def alone(self, what: str) -> None:
        """Until the end of this transaction no other one, of any node, is past the same call with the same text."""

    @abstractmethod
    def create(self, table: str, columns: str, *, clustered: bool = False) -> None:
        """Creates a table; columns are INTEGER, TEXT and BLOB. `clustered`: kept in its key's order, if that can be."""

    @abstractmethod
    def drop(self, table: str) -> None:
        """Drops a table, if it is there. Raises `BusyError` while another transaction reads or writes it."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch by the store's own clock: the same for every node."""

    @abstractmethod
    def touch(self) -> None:
        """A real write that changes nothing: a full disk still gives every read, and every empty commit."""

    @abstractmethod
    def used(self) -> int:
        """Bytes that the tables hold; what is free again inside the file does not count."""


class Session(ABC):
    """The writer's own connection: used by its thread alone."""

    @abstractmethod
    def begin(self) -> Transaction:
        """Begins a transaction; where the connection was lost, over a new one."""

    @abstractmethod
    def commit(self) -> None:
        """Returns when it is durable. Raises `InDoubtError` where nobody can tell."""

    @abstractmethod
    def rollback(self) -> None:
        """Undoes what was begun, if anything was. Raises nothing: the next `begin` tells whether it is over."""

    def committed(self) -> bool:
        """Whether the transaction whose commit was in doubt took place. Raises `StoreError` while nobody can tell."""
        raise AssertionError("this engine never leaves a commit in doubt")

    def rest(self) -> None:  # noqa: B027 - as above
        """Called after each group was answered."""

    @abstractmethod
    def close(self) -> None: ...
