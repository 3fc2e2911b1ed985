"""Celery: wake-ups for ways, sent over the bus, and the worker in this process that takes them.

A task names a destination and a way, and nothing else: it may be lost, come twice or come late. Order, leases and
retries are the lanes' (`broker.delivery.drain`), so none of Celery's own are used. Not here: who is woken when
(`lanes`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import structlog
from celery import Celery
from celery.worker import state
from kombu.entity import Exchange, Queue

from broker.bus.connection import HEARTBEAT_SECONDS, tls_options, transport_options
from broker.bus.topology import Address
from broker.delivery.drain import Drain
from broker.errors import StoreError

log = structlog.get_logger("broker.delivery")

TASK: Final = "broker.drain"

LIGHT: Final = "broker.light"
HEAVY: Final = "broker.heavy"

EXPIRES_SECONDS: Final = 60.0
"""A wake-up that nobody took for so long is dropped: the sweep has sent another one since."""

REDELIVERIES: Final = 3
"""How often RabbitMQ gives a wake-up to yet another worker when one dies with it."""


def application(bus: Address) -> Celery:
    """The Celery application of these wake-ups; connects to nothing yet."""
    app = Celery("broker", broker=bus.url, set_as_current=False)
    arguments = (
        {"x-queue-type": "quorum", "x-delivery-limit": REDELIVERIES} if bus.transport == "amqp" else {}
    )
    exchange = Exchange("broker.tasks", type="topic", durable=True)
    app.conf.update(
        task_queues=[
            Queue(name, exchange, routing_key=name, durable=True, queue_arguments=dict(arguments))
            for name in (LIGHT, HEAVY)
        ],
        task_default_queue=LIGHT,
        task_default_exchange="broker.tasks",
        task_default_exchange_type="topic",
        task_default_routing_key=LIGHT,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        accept_content=["json"],
        task_serializer="json",
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a thread cannot be cancelled; its lease guards it
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=5.0,
        broker_heartbeat=HEARTBEAT_SECONDS if bus.transport == "amqp" else 0,
        broker_transport_options=transport_options(bus)
        | ({"confirm_publish": True} if bus.transport == "amqp" else {}),
        broker_use_ssl=tls_options(bus) or None,
    )
    return app


class Wakeups:
    """Sends wake-ups. `heavy`: destinations whose deliveries take long, which have a queue of their own."""

    def __init__(self, app: Celery, heavy: Collection[str]) -> None:
        self._app = app
        self._heavy = frozenset(heavy)

    def wake(self, destination: str, number: int) -> None:
        """Raises whatever the transport raises."""
        queue = HEAVY if destination in self._heavy else LIGHT
        self._app.send_task(
            TASK,
            args=[destination, number],
            queue=queue,
            routing_key=queue,
            expires=EXPIRES_SECONDS,
            retry=False,
            ignore_result=True,
        )


class Worker:
    """Takes wake-ups in threads of this process. The bus may come and go."""

    def __init__(
        self,
        app: Celery,
        drain: Drain,
        wake: Callable[[str, int], None],
        *,
        concurrency: int,
        queues: Sequence[str],
    ) -> None:
        """`wake` asks for another turn; what it raises is its own affair. `queues`: `light`, `heavy`."""
        self._drain = drain
        self._wake = wake
        # Celery tells of every task; what happens to deliveries is told by the lanes.
        logging.getLogger("celery").setLevel(logging.WARNING)
        app.set_default()  # by which Celery's threads find the task
        app.task(self._work, name=TASK, shared=False, lazy=False)
        self._worker: Any = app.WorkController(
            pool_cls="threads",
            concurrency=concurrency,
            queues=[f"broker.{queue}" for queue in queues],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        self._thread = threading.Thread(target=self._worker.start, name="celery", daemon=True)

    def start(self) -> None:
        state.should_stop = None
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Takes no more, and lets what is in flight end; the drain was told to stop before."""
        state.should_stop = 0  # what its loop asks for, where the consumer waits for a bus that is away
        self._thread.join(timeout)

    def _work(self, destination: str, number: int) -> None:
        try:
            if self._drain.run(destination, number):
                self._wake(destination, number)
        except StoreError:
            pass  # told where it began; the sweep asks again
        except Exception:
            log.exception("a way cannot be worked off", destination=destination)
