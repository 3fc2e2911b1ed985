"""What stands on the bus: address, exchange, routing keys, and the queues with what each transport can promise.

Pure: no kombu, no connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from broker.errors import did_you_mean
from broker.event import EVENT_TYPES, Event

Transport = Literal["memory", "redis", "amqp"]

SCHEMES: Final[Mapping[str, Transport]] = MappingProxyType(
    {"memory": "memory", "redis": "redis", "rediss": "redis", "amqp": "amqp", "amqps": "amqp"}
)

EXCHANGE: Final = "broker.events"
"""The topic exchange that every event goes to."""

CONTENT_TYPE: Final = "application/cloudevents+json"
"""CloudEvents JSON format 1.0, structured mode."""

DELIVERY_LIMIT: Final = 5
"""Attempts at an event until it is set aside. RabbitMQ before 4.0 has no limit of its own."""

_WORD: Final = re.compile(r"[^.*#\s]+")
_NO_WORD: Final = re.compile(r"[.*#\s]")
_QUEUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WORDS: Final = 3  # of a routing key: the event's type has two, the site is the third


@dataclass(frozen=True, slots=True)
class Address:
    """Where the bus is. Its text never shows the password."""

    url: str

    @staticmethod
    def parse(url: str) -> Address:
        """Raises `ValueError`, without the URL in its text."""
        scheme, separator, _ = url.partition("://")
        if not separator or scheme not in SCHEMES:
            hint = did_you_mean(scheme, SCHEMES) if separator else ""
            known = "must begin with memory://, redis://, rediss://, amqp:// or amqps://"
            raise ValueError(f"{known}\n{hint}")
        try:
            parts = urlsplit(url)
            missing = SCHEMES[scheme] != "memory" and not parts.hostname
            _ = parts.port
        except ValueError:
            raise ValueError(
                "host and port cannot be read; special characters in a password are written %XX"
            ) from None
        if missing:
            raise ValueError(f"names no host: {scheme}://HOST")
        return Address(url)

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def transport(self) -> Transport:
        return SCHEMES[self.scheme]

    @property
    def tls(self) -> bool:
        return self.scheme in ("rediss", "amqps")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def shared(self) -> bool:
        """Whether another process can listen."""
        return self.transport != "memory"

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return f"{self.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"

    __repr__ = __str__


def key(event: Event) -> str:
    """The routing key, three words: `patient.registered.STO`. What would be no word in the site's name becomes `_`."""
    site = _NO_WORD.sub("_", event.site) or "_"
    return f"{event.type}.{site}"


def check_pattern(pattern: str) -> str:
    """Returns a binding's pattern (AMQP 0-9-1 3.1.3.3). Raises `ValueError` for one that no key can match."""
    words = pattern.split(".")
    if not all(word in ("*", "#") or _WORD.fullmatch(word) for word in words):
        raise ValueError("a pattern is words with dots between them, each a name, * or #")
    if "#" not in words and len(words) != _WORDS:
        raise ValueError(
            "matches no event: a key has three words, as in patient.registered.STO\nWrite patient.# or study.*.STO."
        )
    kinds = {kind.partition(".")[0] for kind in EVENT_TYPES}
    if words[0] not in ("*", "#") and words[0] not in kinds:
        raise ValueError(f"no event begins with '{words[0]}'\n{did_you_mean(words[0], kinds)}")
    return pattern


def check_queue(name: str) -> str:
    """Returns a queue's name. Raises `ValueError`."""
    if _QUEUE.fullmatch(name) is None or name.startswith("amq.") or name.endswith(".dead"):
        raise ValueError("a queue's name has letters, digits, dots, - and _; not amq.… nor ….dead")
    return name


def dead(queue: str) -> str:
    """The queue that keeps what a subscriber could not take (AMQP only)."""
    return f"{queue}.dead"


def marker(name: str) -> str:
    """The queue by which the feed sees whether the bus still has its data; nothing is ever in it."""
    return f"broker.marker.{name}"


def queue_arguments(transport: Transport, queue: str) -> Mapping[str, Any]:
    """Arguments of a durable queue. Redis and memory know none: there the journal makes up for it."""
    if transport != "amqp":
        return {}
    if queue.endswith(".dead") or queue.startswith(marker("")):
        return {"x-queue-type": "quorum"}
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT - 1,  # it counts the times that it comes again
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead(queue),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # what at-least-once asks for; there is no length limit
    }
