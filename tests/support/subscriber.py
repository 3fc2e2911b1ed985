"""Takes events from a durable queue, one after the other, for ever: settled only after the handler returned.

At least once: a handler must stand repeats (the event's `id` tells). Not here: what an event means.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from kombu.connection import Connection

from broker.bus.connection import FIRST_PAUSE, LONGEST_PAUSE, connected, declare
from broker.bus.topology import DELIVERY_LIMIT, Address

log = structlog.get_logger("broker.bus")

Handler = Callable[[dict[str, Any]], None]
"""Gets the CloudEvent. Raising gives it back to the queue: it comes again, and in the end is set aside."""

PREFETCH: Final = 32
LOOK_SECONDS: Final = 0.2
"""How long a stop may wait for a quiet queue."""

AGAIN_SECONDS: Final = 0.5
"""Pause after a handler failed."""


class Subscriber:
    """One queue and one thread. `patterns` are topics: `patient.#`, `study.*.STO`, `#`."""

    def __init__(
        self,
        address: Address,
        queue: str,
        patterns: Sequence[str],
        handle: Handler,
        *,
        prefetch: int = PREFETCH,
    ) -> None:
        self._address = address
        self._queue = queue
        self._patterns = tuple(patterns)
        self._handle = handle
        self._prefetch = prefetch
        self._failures: dict[str, int] = {}
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bus-{queue}", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether its queue stands and events can come."""
        return self._ready.is_set()

    def start(self) -> None:
        """Returns at once; `wait_ready` tells when the queue stands."""
        self._thread.start()

    def wait_ready(self, timeout: float) -> bool:
        return self._ready.wait(timeout)

    def stop(self, timeout: float) -> None:
        """Ends after the event in hand; the others stay in the queue."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause, told = FIRST_PAUSE, False
        while not self._stopping.is_set():
            try:
                with connected(self._address) as connection:
                    self._consume(connection)
            except Exception as exc:  # noqa: BLE001 - each transport has its own, py-amqp even AttributeError
                if self._ready.is_set():
                    pause, told = FIRST_PAUSE, False
                if not told:
                    log.warning("the bus does not answer", queue=self._queue, error=type(exc).__name__)
                told = True
            self._ready.clear()
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _consume(self, connection: Connection) -> None:
        channel = connection.channel()
        channel.basic_qos(0, self._prefetch, False)
        queue = declare(channel, self._address, self._queue, self._patterns)
        with connection.Consumer(queue, channel=channel, on_message=self._take, auto_declare=False):
            self._ready.set()
            while not self._stopping.is_set():
                try:
                    connection.drain_events(timeout=LOOK_SECONDS)
                except TimeoutError:
                    connection.heartbeat_check()

    def _take(self, message: Any) -> None:
        if self._stopping.is_set():
            return  # not settled: it goes back when the connection closes
        number = str(message.properties.get("message_id", ""))
        try:
            self._handle(json.loads(message.body))
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises, the next event must not suffer
            self._give_back(message, number, type(exc).__name__)
        else:
            self._failures.pop(number, None)
            message.ack()

    def _give_back(self, message: Any, number: str, error: str) -> None:
        failures = self._failures[number] = self._failures.get(number, 0) + 1
        if failures < DELIVERY_LIMIT or self._address.transport == "amqp":  # there the queue itself counts
            log.warning("an event could not be handled", queue=self._queue, event_id=number, error=error)
            message.requeue()
            self._stopping.wait(AGAIN_SECONDS)
        else:
            log.error(
                "an event is given up; the journal has it", queue=self._queue, event_id=number, error=error
            )
            message.ack()
        if failures >= DELIVERY_LIMIT:
            del self._failures[number]
