"""What a process takes: resident memory and processor time, from /proc (Linux only)."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType


def rss(pid: int) -> int:
    """Resident memory in bytes."""
    return _kilobytes(pid, "VmRSS")


def peak_rss(pid: int) -> int:
    """The most it ever was, in bytes."""
    return _kilobytes(pid, "VmHWM")


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    return sum(int(ticks) for ticks in _stat(pid)[11:13]) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_tree(pid: int) -> float:
    """As `cpu_seconds`, of a server with a process for each session: with its children, those that ended too."""
    ticks = 0
    for child in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()):
        try:
            fields = _stat(child)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if pid in (child, int(fields[1])):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


class PeakOfTree:
    """The most memory that a server and its children held at once while this was entered, looked at 50 times a second.

    What the tree shares is counted in each process.
    """

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> PeakOfTree:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, sum(_rss_if_alive(pid) for pid in tree(self._pid)))
            if self._over.wait(0.02):
                return


def tree(pid: int) -> list[int]:
    """The process and its children."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for task in children for child in task.read_text().split())]


def _rss_if_alive(pid: int) -> int:
    try:
        return rss(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0  # it ended meanwhile


def megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"


def _stat(pid: int) -> list[str]:
    """proc(5), from the third field on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _kilobytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc has no {name}")
