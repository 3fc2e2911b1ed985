"""Publishes events and returns once the bus has confirmed all of them; tells whether the bus lost its data meanwhile.

Not here: what was published already (the journal's cursor) and trying again (`broker.runtime.feed`).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kombu.connection import Connection

from broker.bus.connection import GONE, IO_SECONDS, connected, declare, exchange, plain
from broker.bus.topology import CONTENT_TYPE, EXCHANGE, Address, key, marker
from broker.errors import BrokerError
from broker.event import Event

SLICE_SECONDS: Final = 1.0
"""One wait for confirmations. py-amqp begins a longer one anew with each heartbeat, so that it might never end."""

DRAIN_SECONDS: Final = 0.01


class Unconfirmed(BrokerError):  # noqa: N818 - a state of the batch
    """The bus refused a message of the batch, or did not confirm all of it in time: publish it again."""


class Publisher:
    """One connection that publishes. Any exception of any method ends its use; open another."""

    def __init__(self, connection: Connection, address: Address, name: str) -> None:
        self._connection = connection
        self._address = address
        self._marker = marker(name)
        self._channel: Any = connection.channel()
        self._producer: Any = connection.Producer(self._channel)
        self._open: set[int] = set()
        self._sent = 0
        self._refused = False
        if address.transport == "amqp":
            # kombu's own confirm_publish waits for each message: 1,700 a second, where one wait a batch gives 10,000.
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)

    def set_up(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Sees to it that the exchange and these queues (name to patterns) stand."""
        exchange()(self._channel).declare()
        for name, patterns in queues.items():
            declare(self._channel, self._address, name, patterns)

    def intact(self) -> bool:
        """Whether the bus still holds what was left there by `mark`: else its data is not what it was."""
        if self._address.transport != "amqp":
            return any(queue == self._marker and word == self._epoch() for word, _, queue in self._bindings())
        try:
            with self._connection.channel() as channel:  # a miss closes its channel
                channel.queue_declare(self._marker, passive=True)
        except GONE:
            return False
        return True

    def mark(self) -> None:
        """Leaves the mark that `intact` looks for. First do what a loss asks for: afterwards nobody knows of it."""
        if self._address.transport == "amqp":
            plain(self._channel, self._address, self._marker)
        else:
            self._channel.queue_bind(self._marker, EXCHANGE, self._epoch())

    def publish(self, events: Sequence[Event]) -> None:
        """Returns when the bus has all of them: confirmed on AMQP, written on Redis. Raises `Unconfirmed`."""
        for event in events:
            if self._address.transport == "amqp":
                self._sent += 1
                self._open.add(self._sent)
            self._producer.publish(
                json.dumps(event.to_cloudevent(), ensure_ascii=False),
                exchange=EXCHANGE,
                routing_key=key(event),
                content_type=CONTENT_TYPE,
                content_encoding="utf-8",
                delivery_mode=2,
                message_id=event.id,
            )
        deadline = time.monotonic() + IO_SECONDS
        while self._open:
            with contextlib.suppress(TimeoutError):
                self._connection.drain_events(timeout=SLICE_SECONDS)
            if self._refused or (self._open and time.monotonic() > deadline):
                raise Unconfirmed("the bus did not confirm what was published")

    def idle(self) -> None:
        """To be called every few seconds while nothing is published: reads and sends heartbeats."""
        if self._address.transport == "amqp":
            with contextlib.suppress(TimeoutError):
                self._connection.drain_events(timeout=DRAIN_SECONDS)
            self._connection.heartbeat_check()

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {other for other in self._open if other > tag}
        else:
            self._open.discard(tag)

    def _on_nack(self, _tag: int, _multiple: bool) -> None:
        self._refused = True

    def _bindings(self) -> Sequence[tuple[str, str, str]]:
        """(routing key, pattern, queue) of each binding, where kombu itself plays the exchange."""
        found: Sequence[tuple[str, str, str]] = self._channel.get_table(EXCHANGE)
        return found

    def _epoch(self) -> str:
        """Another word after each start of a Redis, which may have come back with an older copy of its data."""
        if self._address.transport != "redis":
            return "memory"
        return str(self._channel.client.info("server")["run_id"])


@contextlib.contextmanager
def publishing(address: Address, name: str) -> Iterator[Publisher]:
    """An open publisher; by `name`, the journal's own, its mark is known. Raises whatever the transport does."""
    with connected(address) as connection:
        yield Publisher(connection, address, name)
