"""How the trials of the conformance suite tell of a broken promise."""

from __future__ import annotations

from collections.abc import Iterator


def unless(kept: bool, text: str) -> Iterator[str]:
    """The text, where the promise was not kept."""
    if not kept:
        yield text
