"""For commands with `--watch`: tells when a file changed. Looks at times and sizes twice a second; opens nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PAUSE = 0.5
"""Seconds between two looks."""


def changes(
    files: Callable[[], Iterable[Path]], pause: Callable[[], object] = lambda: time.sleep(PAUSE)
) -> Iterator[None]:
    """Once at first, then whenever the files, or which files there are, changed. Ends when interrupted (Ctrl-C).

    `pause` waits until the next look.
    """
    before: object = None
    try:
        while True:
            now = [(path, _stamp(path)) for path in files()]
            if now != before:
                before = now
                yield
            pause()
    except KeyboardInterrupt:
        return


def _stamp(path: Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds, and size; zeros for a file that is gone by now."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
