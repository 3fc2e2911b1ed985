"""What a node does. One process has every role; on PostgreSQL several share them out (docs/cluster.md)."""

from __future__ import annotations

from typing import Final, Literal, get_args

Role = Literal["intake", "router", "deliver", "worklist"]

EVERY: Final[frozenset[Role]] = frozenset(get_args(Role))
