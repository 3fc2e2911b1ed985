"""The seam under journal, registers and lanes: transactions, and one writer that commits many callers' work at once.

What an engine does differently is its own module's: `sqlite`, `postgres`. SQL elsewhere keeps to what both speak,
with `?` for each bound value; everything that cannot be said in both is a method of `Transaction`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar, get_args

import structlog

from broker.errors import BrokerError, StoreError, UnwritableError

log = structlog.get_logger("broker.store")

T = TypeVar("T")
Value = str | int | float | bytes | None

Channel = Literal["events", "ways"]
"""What a signal is about: events were written; a destination (the payload) has something to send."""

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

Heard = Callable[[Channel, str], None]
"""Is told a signal's channel and payload; an empty payload is all that the channel is about."""

MAX_GROUP: Final = 256
"""Jobs that share one commit; above this, waiting for the group costs more than the fsync saves."""

TRIES: Final = 5
"""How often a group is begun anew because another node's transaction crossed it."""

PATIENCE_SECONDS: Final = 0.01
"""How long work that nobody waits for lets a group commit come by, before it makes one of its own."""

DOUBT_SECONDS: Final = 0.5
"""How often it is asked again whether a commit whose answer was lost took place."""


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


class _Job(Generic[T]):
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()


_Result = tuple[_Job[Any], Any, BaseException | None]


class Database(ABC):
    """One database. `write` returns a future that is done when the work is durable, or was rolled back."""

    shared: ClassVar[bool]
    """Whether several nodes may work on it at once."""

    def __init__(self, name: str) -> None:
        """`name` is what people read in messages: it holds no password."""
        self.name = name
        self._urgent: deque[_Job[Any]] = deque()
        self._ordinary: deque[_Job[Any]] = deque()
        self._patient: deque[_Job[Any]] = deque()
        self._patient_until = 0.0
        """By `time.monotonic()`."""
        self._doubtful: list[_Result] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failing = False

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
        session = self._start()
        self._closing = False
        self._thread = threading.Thread(target=self._run, args=(session,), name="journal-writer")
        self._thread.start()

    def close(self) -> None:
        """Finishes the work that was handed in, then closes. Idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close_readers()

    def write(
        self, work: Callable[[Transaction], T], *, urgent: bool = False, patient: bool = False
    ) -> Future[T]:
        """Runs `work` inside the next group commit.

        Urgent work (a sender waits for its acknowledgement) goes before all other; at most one ordinary job shares
        a group, so that routing never makes an acknowledgement wait for more than one of its batches. Patient work
        (nobody waits for it, and more of it may come) goes with the next group, as its first, and has one of its own
        only after `PATIENCE_SECONDS`, or when somebody is in a hurry for it (`hurry`). An exception
        in `work` undoes only that work and is handed on; a failing commit gives every job of the group an
        `UnwritableError`, and the next group is tried as if nothing had been. Work may run more than once, of which
        all but the last is undone. Where the server went away in the middle of a commit, the future is done when it
        is back and tells whether that commit took place.
        """
        job = _Job(work)
        with self._wake:
            if self._closing:
                raise StoreError("the journal is closed")
            if patient:
                if not self._patient:
                    self._patient_until = time.monotonic() + PATIENCE_SECONDS
                    self._wake.notify()
                self._patient.append(job)
            else:
                (self._urgent if urgent else self._ordinary).append(job)
                self._wake.notify()
        return job.future

    def hurry(self) -> None:
        """Patient work that was handed in waits no longer."""
        with self._wake:
            self._patient_until = 0.0
            self._wake.notify()

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

    def _run(self, session: Session) -> None:
        while (group := self._next_group()) is not None:
            self._commit(session, group)
            session.rest()
        self._refuse([job for job, _, _ in self._doubtful], InDoubtError("the journal was closed in doubt"))
        session.close()

    def _next_group(self) -> list[_Job[Any]] | None:
        """The jobs of the next commit; None when the database closes and nothing is left."""
        with self._wake:
            while not (self._urgent or self._ordinary or self._closing):
                wait = DOUBT_SECONDS if self._doubtful else None
                if self._patient:
                    left = self._patient_until - time.monotonic()
                    if left <= 0:
                        break
                    wait = left if wait is None else min(wait, left)
                self._wake.wait(wait)
                if self._doubtful:
                    break
            group = [self._patient.popleft() for _ in range(min(len(self._patient), MAX_GROUP))]
            group += [self._urgent.popleft() for _ in range(min(len(self._urgent), MAX_GROUP))]
            if self._ordinary:
                group.append(self._ordinary.popleft())
            return group if group or not self._closing else None

    def _commit(self, session: Session, group: list[_Job[Any]]) -> None:
        # A caller that went away (asyncio cancels the future) must neither be answered nor end this thread.
        group = [job for job in group if job.future.set_running_or_notify_cancel()]
        results: list[_Result] = []
        try:
            if self._doubtful:
                self._clear_doubt(session.committed())
            if not group:
                return
            results = self._work(session, group)
        except Exception as exc:  # noqa: BLE001 - nothing of this group is durable, whatever the reason
            self._refuse(group, exc)
            return
        try:
            session.commit()
        except InDoubtError as exc:
            self._began_to_fail(exc)
            self._doubtful = results
            return
        except Exception as exc:  # noqa: BLE001 - as above
            session.rollback()
            self._refuse(group, exc)
            return
        self._answer(results)

    def _work(self, session: Session, group: list[_Job[Any]]) -> list[_Result]:
        """Every job's work in one transaction, not committed yet."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(ConflictError):
                return self._work_once(session, group)
        return self._work_once(session, group)

    def _work_once(self, session: Session, group: list[_Job[Any]]) -> list[_Result]:
        """Without savepoints first, which cost most jobs more than their own work; next to no job fails."""
        try:
            with _undone_on_failure(session):
                transaction = session.begin()
                results: list[_Result] = [(job, job.work(transaction), None) for job in group]
                transaction.settle()
                return results
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - whichever it was: each by itself, so that it undoes nothing but its own
            return self._work_apart(session, group)

    def _work_apart(self, session: Session, group: list[_Job[Any]]) -> list[_Result]:
        results: list[_Result] = []
        with _undone_on_failure(session):
            transaction = session.begin()
            for job in group:
                try:
                    with transaction.attempt():
                        value = job.work(transaction)
                except StoreError:
                    raise
                except Exception as exc:  # noqa: BLE001 - handed to the caller; the others go on
                    results.append((job, None, exc))
                else:
                    results.append((job, value, None))
        return results

    def _clear_doubt(self, committed: bool) -> None:
        doubtful, self._doubtful = self._doubtful, []
        if committed:
            self._answer(doubtful)
        else:
            self._refuse([job for job, _, _ in doubtful], StoreError("the server undid it as it went down"))

    def _answer(self, results: list[_Result]) -> None:
        if self._failing:
            log.warning("the journal is written again", store=self.name)
            self._failing = False
        for job, value, failure in results:
            if failure is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(failure)

    def _refuse(self, group: Sequence[_Job[Any]], exc: BaseException) -> None:
        if not group:
            return
        cause = self._began_to_fail(exc)
        error = UnwritableError(f"the journal cannot be written ({type(cause).__name__})")
        error.__cause__ = cause
        for job in group:
            job.future.set_exception(error)

    def _began_to_fail(self, exc: BaseException) -> BaseException:
        """Logs it unless that was done already; returns what the engine said."""
        cause = exc.__cause__ if isinstance(exc, StoreError) and exc.__cause__ else exc
        if not self._failing:
            log.error("the journal cannot be written", store=self.name, error=type(cause).__name__)
        self._failing = True
        return cause


@contextlib.contextmanager
def _undone_on_failure(session: Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        session.rollback()
        raise
