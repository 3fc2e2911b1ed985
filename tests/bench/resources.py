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
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"


def _kilobytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc has no {name}")
