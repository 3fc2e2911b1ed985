"""Ids of messages: 26 characters that sort by time and are never the same twice. Knows nothing of what they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base 32: no letter is taken for a digit


def message_id(now: datetime, random: Callable[[int], bytes] = os.urandom) -> str:
    """48 bits of milliseconds and 80 of chance, as a ULID is written."""
    number = int(now.timestamp() * 1000) << 80 | int.from_bytes(random(10), "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
