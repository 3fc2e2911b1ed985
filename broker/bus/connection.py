"""One connection to the bus by kombu, with time-outs everywhere, and the queues that stand behind it.

Not here: trying again. Whoever connects does that, because only it knows what must be said or read once more.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final

import amqp.exceptions
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import ChannelError

from broker.bus.topology import EXCHANGE, Address, dead, queue_arguments

CONNECT_SECONDS: Final = 5.0
IO_SECONDS: Final = 15.0
"""What a write or an answer may take: a server behind a cut cable is noticed after this."""

HEARTBEAT_SECONDS: Final = 20

VISIBILITY_SECONDS: Final = 600
"""Redis: what a consumer took and did not settle within this is given to another."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0

GONE: Final = (ChannelError, amqp.exceptions.NotFound)
"""What a passive declaration says where there is no such queue."""


@contextlib.contextmanager
def connected(address: Address) -> Iterator[Connection]:
    """An open connection. What it raises depends on the transport: any exception means that it is of no more use."""
    connection = Connection(
        address.url,
        connect_timeout=CONNECT_SECONDS,
        heartbeat=HEARTBEAT_SECONDS if address.transport == "amqp" else 0,
        ssl=tls_options(address) or None,
        transport_options=transport_options(address),
    )
    try:
        connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS, reraise_as_library_errors=False)
        yield connection
    finally:
        # Closing says goodbye on a wire that may be gone: nothing can come of it any more, whatever it raises.
        with contextlib.suppress(Exception):
            connection.release()


def unanswered(address: Address) -> str:
    """Why the bus does not answer, as the name of what was raised; empty when it does."""
    try:
        with connected(address) as connection:
            connection.channel().close()
    except Exception as exc:  # noqa: BLE001 - each transport has its own; their texts may hold the URL
        return type(exc).__name__
    return ""


def transport_options(address: Address) -> dict[str, Any]:
    """kombu's options for this transport: every wait has an end."""
    if address.transport == "amqp":
        return {"read_timeout": IO_SECONDS, "write_timeout": IO_SECONDS, "max_retries": 0}
    if address.transport == "redis":
        return {
            "socket_timeout": IO_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": HEARTBEAT_SECONDS,
            "visibility_timeout": VISIBILITY_SECONDS,
        }
    return {"polling_interval": 0.05}


def tls_options(address: Address) -> dict[str, Any]:
    """The server's certificate is always checked, by the machine's authorities (`SSL_CERT_FILE` names others)."""
    if not address.tls:
        return {}
    authorities = ssl.get_default_verify_paths().cafile
    if address.transport == "redis":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": authorities, "ssl_check_hostname": True}
    return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": authorities, "server_hostname": address.host}


def exchange() -> Exchange:
    """The topic exchange of events."""
    return Exchange(EXCHANGE, type="topic", durable=True, delivery_mode="persistent")


def declare(channel: Any, address: Address, name: str, patterns: Sequence[str]) -> Queue:
    """A durable queue that gets what matches a pattern; on AMQP also the one for what cannot be taken."""
    events = exchange()
    events(channel).declare()
    arguments = dict(queue_arguments(address.transport, name))
    if "x-dead-letter-routing-key" in arguments:
        plain(channel, address, dead(name))
    queue = Queue(name, durable=True, queue_arguments=arguments)
    bound = queue(channel)
    bound.queue_declare()
    for pattern in patterns:
        bound.bind_to(events, routing_key=pattern)
    return queue


def plain(channel: Any, address: Address, name: str) -> None:
    """A durable queue that nothing is bound to."""
    Queue(name, durable=True, queue_arguments=dict(queue_arguments(address.transport, name)))(
        channel
    ).queue_declare()
