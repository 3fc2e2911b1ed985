"""Wildcards of a C-FIND key (PS3.4 C.2.2.2.4). Does not know which keys may have them."""

from __future__ import annotations

import re


def stands_in(wanted: str) -> bool:
    return "*" in wanted or "?" in wanted


def before(pattern: str) -> str:
    """What stands before the first wildcard."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def compiled(pattern: str) -> re.Pattern[str]:
    """`*` any characters or none, `?` exactly one (PS3.4 C.2.2.2.4); neighbouring stars are one."""
    parts = re.split(r"(\*+|\?)", pattern)
    return re.compile(
        "".join(".*" if part.startswith("*") else "." if part == "?" else re.escape(part) for part in parts),
        re.DOTALL,
    )
