"""What a check found: a state, what was seen, and what to do about it. No check here, and never a patient's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]
"""`fault`: the broker cannot start, or what it promises does not hold. `warning`: it runs; a person should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    check: str
    state: State
    found: str
    do: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check=check, state="ok", found=found)


def warning(check: str, found: str, do: str) -> Finding:
    return Finding(check=check, state="warning", found=found, do=do)


def fault(check: str, found: str, do: str) -> Finding:
    return Finding(check=check, state="fault", found=found, do=do)
