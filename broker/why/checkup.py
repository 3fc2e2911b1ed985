"""Whether a device works with this broker: what was seen of it, judged line by line. Pure: nothing is read here.

`not known` is no failure: nobody asked yet, or nothing came. Storage commitment is not built, and so never judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.journal.devices import PERFORMS, STORES, Sent
from broker.why.facts import Device
from broker.why.showable import Peer

Verdict = Literal["pass", "fail", "not known", "-"]
"""`-`: the broker does not do it yet."""

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


def sheet(seen: Seen) -> list[Line]:
    """Every check, in the order in which a device is put into service."""
    return [
        _association(seen),
        _echo(seen),
        _query(seen),
        _worklist(seen),
        _charset(seen),
        _came("store", STORES, seen),
        _came("mpps", PERFORMS, seen),
        Line(check="commitment", verdict="-", found="storage commitment is not built yet"),
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


def moment(at: str) -> str:
    """ISO 8601 in UTC, to the second."""
    return f"{at[:19]}Z"


def _rows(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"


# --- coverage ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """Five ticks of one device. `committed` is None: the broker does not do it yet."""

    ae: str
    demographics: bool
    """It was told of a patient: by its worklist, or because it asked."""
    worklist: bool
    """It was answered rows, or performed a step that it had from its list."""
    delivers: bool
    """Objects of it were accepted."""
    notifies: tuple[str, ...]
    """HL7 destinations that took a message which came of what it sent."""
    committed: bool | None = None


def coverage(
    devices: Sequence[str],
    sent: Sequence[Sent],
    reached: Mapping[str, tuple[str, ...]],
    told: frozenset[str],
    answered: frozenset[str],
) -> Iterator[Covered]:
    """Each device, those that sent something without being known behind the others. `answered`: AE titles whose
    worklist query was answered with rows, as far as the running broker remembers."""
    accepted = [one for one in sent if one.verdict == ACCEPTED]
    for ae in dict.fromkeys([*devices, *(one.aet for one in sent)]):
        mine = [one for one in accepted if one.aet == ae]
        worklist = ae in answered or any(one.scheduled for one in mine)
        yield Covered(
            ae=ae,
            demographics=worklist or ae in told,
            worklist=worklist,
            delivers=any(one.type in STORES for one in mine),
            notifies=reached.get(ae, ()),
        )
