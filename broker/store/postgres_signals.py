"""Signals between the processes that share a journal on PostgreSQL: LISTEN and NOTIFY, over a connection of their own.

The same thread looks from time to time for sessions that stall (`postgres_stalled`): it waits for no lock of theirs.
Never in the journal's transactions: a commit with NOTIFY in it waits for every other such commit of the server. Lost
signals are harmless, so nothing here is kept, confirmed or repeated: whoever listens also looks from time to time.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from broker.errors import StoreError
from broker.store.database import CHANNELS, Channel, Heard
from broker.store.postgres_session import Connection
from broker.store.postgres_stalled import end_stalled

log = structlog.get_logger("broker.store")

NAME: Final = "broker"
"""PostgreSQL's channel; ours stands first in the payload, so that one LISTEN is enough."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before it is tried to connect again, doubled each time up to the longest."""

LOOK_SECONDS: Final = 2.5
"""How often it looks for sessions that stall."""

CLOSE_SECONDS: Final = 2.0
"""What the thread gets at a close to send what waits; it can hang only where the server does not answer."""


class Signals:
    """One thread with one connection, begun on first use: it listens, and sends what was handed in meanwhile."""

    def __init__(self, connect: Callable[[], Connection], store: str) -> None:
        """`store`: what people read in messages."""
        self._connect = connect
        self._store = store
        self._lock = threading.Lock()
        self._heard: tuple[Heard, ...] = ()
        self._waiting: dict[str, None] = {}  # in order, each once
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake = self._waker = -1

    def send(self, channel: Channel, payload: str) -> None:
        """See `Database.signal`."""
        with self._lock:
            if self._closing.is_set():
                return
            self._started()
            if not self._waiting:  # else the thread knows already
                os.write(self._waker, b"\0")
            self._waiting[f"{channel} {payload}"] = None

    def listen(self, heard: Heard) -> None:
        """See `Database.listen`."""
        with self._lock:
            if not self._closing.is_set():
                self._heard = (*self._heard, heard)
                self._started()

    def close(self) -> None:
        """Sends what waits, if the server answers, and ends. Idempotent."""
        with self._lock:
            first = not self._closing.is_set()
            self._closing.set()  # before the thread is woken to see it
            if first and self._thread is not None:
                os.write(self._waker, b"\0")
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _started(self) -> None:
        if self._thread is None:
            self._wake, self._waker = os.pipe()
            self._thread = threading.Thread(target=self._run, name="journal-signals", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause, lost = FIRST_PAUSE, False
        try:
            while True:
                try:
                    with contextlib.closing(self._connect()) as connection:
                        connection.add_notify_handler(self._hearing(connection))
                        connection.execute("LISTEN broker")
                        if lost:
                            log.warning("other nodes are heard again", store=self._store)
                        pause, lost = FIRST_PAUSE, False
                        for channel in CHANNELS:  # something may have been missed
                            self._tell(channel, "")
                        self._follow(connection)
                except (psycopg.Error, StoreError, OSError) as exc:  # the last: there are no more files
                    if not lost:
                        cause = exc.__cause__ or exc
                        log.warning(
                            "other nodes are not heard", store=self._store, error=type(cause).__name__
                        )
                    lost = True
                if self._closing.wait(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            with self._lock:  # who is about to write to it must not write to what has its number next
                self._closing.set()
                os.close(self._wake)
                os.close(self._waker)

    def _follow(self, connection: Connection) -> None:
        """Sends and listens until closed. Raises `psycopg.Error` when the connection is lost."""
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            looked = time.monotonic()
            while True:
                closing = self._closing.is_set()
                self._send(connection)
                self._take_in(connection)
                if closing:
                    return
                for key, _ in selector.select(LOOK_SECONDS):
                    if key.fd == self._wake:
                        os.read(self._wake, 64)
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    end_stalled(connection, self._store)

    def _send(self, connection: Connection) -> None:
        """What waits, in one transaction. Where that fails it is lost: the others look by themselves."""
        with self._lock:
            waiting, self._waiting = list(self._waiting), {}
        if waiting:
            connection.execute("SELECT pg_notify($1, said) FROM unnest($2::text[]) AS said", (NAME, waiting))

    def _take_in(self, connection: Connection) -> None:
        """What has arrived, and what libpq has read already behind an answer: for that no socket wakes anybody."""
        hear = self._hearing(connection)
        connection.pgconn.consume_input()
        while (one := connection.pgconn.notifies()) is not None:
            hear(psycopg.Notify(one.relname.decode(), one.extra.decode(), one.be_pid))

    def _hearing(self, connection: Connection) -> Callable[[psycopg.Notify], None]:
        own = connection.info.backend_pid

        def hear(one: psycopg.Notify) -> None:
            name, _, payload = one.payload.partition(" ")
            for channel in CHANNELS:  # a newer node may have others
                if channel == name and one.pid != own:
                    self._tell(channel, payload)

        return hear

    def _tell(self, channel: Channel, payload: str) -> None:
        for heard in self._heard:
            try:
                heard(channel, payload)
            except Exception:
                log.exception("a signal could not be passed on", channel=channel)
