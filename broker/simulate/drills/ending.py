"""What must be true when a drill is over, held against what was seen: one patient, all objects, no orphan. Pure.

What was seen is what users see: queries, worklists, what EPJ and PACS got, and the broker's own commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.simulate.drills.script import Drill, Number, Truth

_EPJ: Final = ("lost", "out_of_order", "changed_on_the_way", "never_asked_for", "repeats_without_a_fault")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One patient of an answer."""

    current: frozenset[str]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The world after a drill."""

    pdq: Mapping[Number, tuple[Answered, ...]]
    root: Mapping[Number, tuple[str, ...]]
    """Patient IDs that Patient Root C-FIND answered."""
    keys: Mapping[Number, frozenset[str]]
    """Register keys by `broker patients show`, of verified patients only."""
    rows: Mapping[tuple[str, str], frozenset[str]]
    """(AE title, label) to the Patient IDs of the drill's rows."""
    running: tuple[str, ...]
    """Study UIDs of rows that stayed STARTED."""
    filed: Mapping[str, str]
    """SOP Instance UID to the Patient ID under which the PACS has it."""
    strayed: tuple[str, ...]
    """SOP Instance UIDs that came to the PACS under somebody else's Patient ID, or never."""
    epj: Mapping[str, Any]
    """`score.judge_epj` over every message of the drill."""
    exceptions: tuple[str, ...]
    """Kinds of what a person must look at since the drill began."""
    rebuilt: bool = True
    """`broker reconcile --registers` found the registers as the log makes them."""
    unread: tuple[str, ...] = field(default=())
    """Places that could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    title: str
    place: str
    fault: str = ""
    """Empty: it is as it must be. Names no patient."""


def checks(drill: Drill, seen: Seen) -> Iterator[Check]:
    """Everything that the end of a drill is judged by."""
    if seen.unread:
        yield Check(title="everybody could be asked", place="broker", fault=", ".join(seen.unread))
    for truth in drill.truths:
        yield Check(title=f"{truth.who} is one patient", place="PDQ", fault=_asked(truth, seen))
        yield Check(title=f"{truth.who} is one patient", place="Patient Root", fault=_rooted(truth, seen))
        yield Check(title=f"{truth.who} is one patient", place="register", fault=_registered(truth, seen))
        if truth.objects:
            title = f"all {len(truth.objects)} objects of {truth.who}"
            yield Check(title=title, place="PACS", fault=_filed(truth, seen))
    yield Check(title="nobody is anybody else", place="register", fault=_apart(drill, seen))
    stray = f"{len(seen.strayed)} objects" if seen.strayed else ""
    yield Check(title="no object came under an id that had ended", place="PACS", fault=stray)
    yield Check(
        title="every row left is its patient's, and no other is", place="worklists", fault=_rows(drill, seen)
    )
    running = f"{len(seen.running)} steps go on" if seen.running else ""
    yield Check(title="no examination was left open", place="worklists", fault=running)
    wrong = [f"{name.replace('_', ' ')}: {seen.epj[name]}" for name in _EPJ if seen.epj[name]]
    yield Check(title=f"all {seen.epj['due']} messages, in order", place="EPJ", fault=", ".join(wrong))
    yield Check(
        title="nothing that a person must look at", place="exceptions", fault=", ".join(seen.exceptions)
    )
    differs = "" if seen.rebuilt else "differ"
    yield Check(title="the log makes the same registers again", place="reconcile", fault=differs)


def _asked(truth: Truth, seen: Seen) -> str:
    wrong = [
        number for number in truth.numbers
        if seen.pdq.get(number, ()) != (Answered(current=truth.current, name=truth.name),)
    ]  # fmt: skip
    return _of(wrong, truth)


def _rooted(truth: Truth, seen: Seen) -> str:
    wrong = []
    for number in truth.numbers:
        found = seen.root.get(number, ())
        if len(found) != 1 or found[0] not in truth.current:
            wrong.append(number)
    return _of(wrong, truth)


def _registered(truth: Truth, seen: Seen) -> str:
    keys = [seen.keys.get(number, frozenset()) for number in truth.numbers]
    return (
        ""
        if len(keys[0]) == 1 and len(set(keys)) == 1
        else "its numbers lead to several patients, or to none"
    )


def _filed(truth: Truth, seen: Seen) -> str:
    missing = [uid for uid in truth.objects if uid not in seen.filed]
    wrong = [uid for uid in truth.objects if uid not in missing and seen.filed[uid] not in truth.current]
    told = [f"{len(missing)} are missing"] if missing else []
    return ", ".join([*told, f"{len(wrong)} are somebody else's"] if wrong else told)


def _apart(drill: Drill, seen: Seen) -> str:
    found = [frozenset().union(*(seen.keys.get(n, frozenset()) for n in t.numbers)) for t in drill.truths]
    return "" if len(frozenset().union(*found)) == sum(map(len, found)) else "two persons are one patient"


def _rows(drill: Drill, seen: Seen) -> str:
    faults = []
    for key in sorted({*drill.rows, *seen.rows}):
        found, may = seen.rows.get(key, frozenset()), drill.rows.get(key)
        if may is None:
            faults.append(f"{' '.join(key)}: a row too many")
        elif len(found) != 1 or not found <= set(may):
            faults.append(f"{' '.join(key)}: {'another patient' if found else 'no row'}")
    return ", ".join(faults)


def _of(wrong: list[Number], truth: Truth) -> str:
    return f"{len(wrong)} of {len(truth.numbers)} numbers do not lead there" if wrong else ""
