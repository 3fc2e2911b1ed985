"""What a process takes: resident memory and processor time, from /proc (Linux only)."""

from __future__ import annotations

import os
from pathlib import Path


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
