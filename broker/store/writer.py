"""One thread that commits many callers' work at once (group commit). It knows no engine and no SQL, only a `Session`.

A future is done when its work is durable, or was undone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

import structlog

from broker.errors import StoreError, UnwritableError
from broker.store.transaction import ConflictError, InDoubtError, Session, Transaction

log = structlog.get_logger("broker.store")

T = TypeVar("T")

MAX_GROUP: Final = 256
"""Jobs that share one commit; above this, waiting for the group costs more than the fsync saves."""

TRIES: Final = 5
"""How often a group is begun anew because another node's transaction crossed it."""

PATIENCE_SECONDS: Final = 0.01
"""How long work that nobody waits for lets a group commit come by, before it makes one of its own."""

DOUBT_SECONDS: Final = 0.5
"""How often it is asked again whether a commit whose answer was lost took place."""


class _Job(Generic[T]):
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()


_Result = tuple[_Job[Any], Any, BaseException | None]


class Writer:
    """The writer of one database."""

    def __init__(self, name: str) -> None:
        """`name` is the database's."""
        self.name = name
        self.closing = False
        self._urgent: deque[_Job[Any]] = deque()
        self._ordinary: deque[_Job[Any]] = deque()
        self._patient: deque[_Job[Any]] = deque()
        self._patient_until = 0.0
        """By `time.monotonic()`."""
        self._doubtful: list[_Result] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failing = False

    def start(self, session: Session) -> None:
        """Begins; the session is the thread's from now on."""
        self.closing = False
        self._thread = threading.Thread(target=self._run, args=(session,), name="journal-writer")
        self._thread.start()

    def stop(self) -> None:
        """Finishes the work that was handed in, then ends. Idempotent."""
        with self._wake:
            self.closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def write(
        self, work: Callable[[Transaction], T], *, urgent: bool = False, patient: bool = False
    ) -> Future[T]:
        """See `Database.write`."""
        job = _Job(work)
        with self._wake:
            if self.closing:
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

    def _run(self, session: Session) -> None:
        while (group := self._next_group()) is not None:
            self._commit(session, group)
            session.rest()
        self._refuse([job for job, _, _ in self._doubtful], InDoubtError("the journal was closed in doubt"))
        session.close()

    def _next_group(self) -> list[_Job[Any]] | None:
        """The jobs of the next commit; None when the database closes and nothing is left."""
        with self._wake:
            while not (self._urgent or self._ordinary or self.closing):
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
            return group if group or not self.closing else None

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
