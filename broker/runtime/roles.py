"""What a node does. One process has every role; on PostgreSQL several share them out (docs/cluster.md)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

Role = Literal["intake", "router", "deliver", "worklist"]

EVERY: Final[frozenset[Role]] = frozenset(get_args(Role))

MEANING: Final[Mapping[Role, str]] = MappingProxyType(
    {
        "intake": "listens for messages and images, and answers when they are on disk",
        "router": "makes rows and deliveries of what came in; of several one leads, the others stand by",
        "deliver": "sends what is to leave",
        "worklist": "answers worklist queries",
    }
)
