"""Whether a device works with this broker: what was seen of it, judged line by line. Pure: nothing is read here.

`not known` is no failure: nobody asked yet, or nothing came. Nothing is sent in a device's name, so that no patient
gets an object or a step that never was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from broker.journal.devices import PERFORMS, STORES, Asked, Filed, Sent
from broker.why.facts import Device
from broker.why.showable import Peer

Verdict = Literal["pass", "fail", "not known"]

NOT_TRIED: Final = (
    "a C-STORE, an MPPS and a storage commitment in its name: they would be of a patient, so that only what it sent"
    " itself is judged"
)

ACCEPTED: Final = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the sheet."""

    check: str
    verdict: Verdict
    found: str
    do: str = ""
    """What a person would do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The rows that its worklist query would bring now."""

    query: str
    """Which query that is, in words."""
    stand: int
    """Rows of today that wait on its list."""
    matched: int
    excluded_by: tuple[str, ...] = ()
    """Keys of the query that leave rows out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a device."""

    ae: str
    days: int
    """The journal was looked through for so long."""
    listed: bool
    """`dicom.peers` names it."""
    admitted: bool
    """It gets an association."""
    echo: str | None
    """What went wrong with a C-ECHO, empty: nothing; None: it is not known where to send one."""
    asked: tuple[Device, ...] = ()
    """Its last worklist queries, the newest first."""
    silent: str = ""
    """Why those are not known; empty: they are."""
    rows: Listed
    peer: Peer | None = None
    """What it can show; None: nothing declares it, and no row is for it."""
    sent: tuple[Sent, ...] = ()
    performed: Mapping[str, int] = field(default_factory=dict)
    """Steps that it began, completed and discontinued."""
    filed: Filed = field(default_factory=Filed)
    asked_commitment: Asked = field(default_factory=Asked)
    commits: bool = True
    """Some archive is asked to commit; without one nothing is ever reported as safe."""
    reports: str | None = None
    """Why it would take no report of storage commitment, empty: it would; None: it is not known where to ask."""


def sheet(seen: Seen) -> list[Line]:
    """Every check, in the order in which a device is put into service."""
    return [
        _association(seen),
        _echo(seen),
        _query(seen),
        _worklist(seen),
        _charset(seen),
        _came("store", STORES, seen),
        _patient(seen),
        _merge(seen),
        _came("mpps", PERFORMS, seen),
        _ended(seen),
        _commitment(seen),
        _reports(seen),
    ]


def _association(seen: Seen) -> Line:
    if not seen.admitted:
        return Line(
            check="association",
            verdict="fail",
            found="its AE title is not let in",
            do=f"add {seen.ae} to dicom.peers (`broker devices create`)",
        )
    found = "its AE title is known" if seen.listed else "any AE title is let in (dicom.open_ae)"
    return Line(check="association", verdict="pass", found=found)


def _echo(seen: Seen) -> Line:
    if seen.echo is None:
        do = f"give --host and --port, or `devices: {{{seen.ae}: {{host: …, port: …}}}}`"
        return Line(check="echo", verdict="not known", found="where it answers is not known", do=do)
    if seen.echo:
        do = "look at its address, its port, and whether it knows our AE title"
        return Line(check="echo", verdict="fail", found=seen.echo, do=do)
    return Line(check="echo", verdict="pass", found="it answered a C-ECHO")


def _query(seen: Seen) -> Line:
    if not seen.asked:
        found = seen.silent or "it has asked for no worklist since the broker started"
        do = "" if seen.silent else "let it ask, then look again"
        return Line(check="query", verdict="not known", found=found, do=do)
    last = seen.asked[0]
    how = "" if last.whole else ", and it broke off"
    return Line(
        check="query",
        verdict="pass",
        found=f"asked at {moment(last.at)}, was answered {_rows(last.answers)}{how}",
    )


def _worklist(seen: Seen) -> Line:
    rows = seen.rows
    found = f"{rows.query} would bring {rows.matched} of the {_rows(rows.stand)} that stand on its list today"
    if rows.matched:
        return Line(check="worklist", verdict="pass", found=found)
    if rows.excluded_by:
        do = f"left out by {', '.join(rows.excluded_by)}; `broker why mwl` tells it of a patient"
        return Line(check="worklist", verdict="fail", found=found, do=do)
    return Line(
        check="worklist", verdict="not known", found=found, do="order something for it, then look again"
    )


def _charset(seen: Seen) -> Line:
    peer = seen.peer
    if peer is None or not peer.rows:
        return Line(check="charset", verdict="not known", found="no row stands on its list")
    sets = ", ".join(peer.charsets) or "no set"
    if peer.rows_unshown:
        found = f"{peer.rows_unshown} of {_rows(peer.rows)} cannot be shown whole in {sets}"
        do = f"`broker devices charset {seen.ae}`"
        return Line(check="charset", verdict="fail", found=found, do=do)
    return Line(
        check="charset", verdict="pass", found=f"{_rows(peer.rows)}, which can be shown whole in {sets}"
    )


def _came(check: str, types: Sequence[str], seen: Seen) -> Line:
    """The newest message decides; those before it are counted."""
    mine = [one for one in seen.sent if one.type in types]
    if not mine:
        return Line(check=check, verdict="not known", found=f"none came in {seen.days} days")
    newest = max(mine, key=lambda one: one.last)
    counts: dict[str, int] = {}
    for one in mine:
        counts[one.verdict] = counts.get(one.verdict, 0) + one.number
    number = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    last = f"the last, {newest.type}, came at {moment(newest.last)} and was {newest.verdict}"
    found = f"{last}; {number} in {seen.days} days"
    if newest.verdict == ACCEPTED:
        return Line(check=check, verdict="pass", found=found)
    return Line(
        check=check,
        verdict="fail",
        found=found,
        do="`broker tap received --verdict rejected --since 1h` tells why",
    )


def _patient(seen: Seen) -> Line:
    filed = seen.filed
    if not filed.number:
        return Line(check="patient", verdict="not known", found=f"no object came in {seen.days} days")
    if filed.unknown:
        return Line(
            check="patient",
            verdict="fail",
            found=f"{filed.unknown} of {filed.number} objects are of nobody whom PAS knows",
            do="`broker status` lists them (instance-unverified): is its worklist used?",
        )
    return Line(
        check="patient", verdict="pass", found=f"PAS knows the patients of all {filed.number} objects"
    )


def _merge(seen: Seen) -> Line:
    if not seen.filed.ended:
        found = "nothing came under a number that PAS had ended"
        return Line(check="merge", verdict="not known", found=found)
    found = f"{seen.filed.ended} objects came under a number that PAS had ended, and are their patient's"
    return Line(check="merge", verdict="pass", found=found)


def _ended(seen: Seen) -> Line:
    counts = ", ".join(
        f"{seen.performed.get(kind, 0)} {kind}" for kind in ("begun", "completed", "discontinued")
    )
    done = seen.performed.get("completed", 0) + seen.performed.get("discontinued", 0)
    verdict: Verdict = "pass" if done else "not known"
    return Line(check="outcome", verdict=verdict, found=f"{counts} in {seen.days} days")


def _commitment(seen: Seen) -> Line:
    asked = seen.asked_commitment
    if not asked.number:
        return Line(
            check="commitment", verdict="not known", found=f"it has asked for none in {seen.days} days"
        )
    found = f"asked {asked.number} times, last at {moment(asked.last)}; {asked.reported} reports were taken"
    if asked.stuck:
        do = "`broker parked list` tells why: is its address in `devices`?"
        return Line(
            check="commitment", verdict="fail", found=f"{found}, {asked.stuck} wait for a person", do=do
        )
    if not seen.commits:
        do = "switch on a destination that asks an archive to commit (docs/commitment.md)"
        return Line(
            check="commitment", verdict="fail", found=f"{found}; no archive is asked to commit", do=do
        )
    return Line(check="commitment", verdict="pass" if asked.reported else "not known", found=found)


def _reports(seen: Seen) -> Line:
    if seen.reports is None:
        unknown = "where it takes reports of storage commitment is not known"
        found = "not tried: it did not answer a C-ECHO" if seen.echo else unknown
        return Line(check="reports", verdict="not known", found=found)
    if not seen.reports:
        return Line(check="reports", verdict="pass", found="it would take a report of storage commitment")
    if not seen.asked_commitment.number:
        return Line(check="reports", verdict="not known", found=f"{seen.reports}; it asks for no commitment")
    do = "let it take N-EVENT-REPORT on an association that the broker opens (role selection)"
    return Line(check="reports", verdict="fail", found=seen.reports, do=do)


def moment(at: str) -> str:
    """ISO 8601 in UTC, to the second."""
    return f"{at[:19]}Z"


def _rows(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"
