"""Shows a plan: to people as text, for a pull request as Markdown. Neither holds a patient's value. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.plan.changes import Changes, FileChange, RouteChange, RowChange
from broker.plan.proposal import Plan
from broker.plan.shadow import LIMITS, Shadow
from broker.plan.tally import Group, Lane, Tally
from broker.plan.waiting import Waiting

ROW_WORDS: Final = {
    "only proposed": "appear",
    "only live": "vanish",
    "changed": "change",
    "would be held": "are held",
    "held no more": "are held no more",
}
"""What becomes of worklist rows, by what differs in the output."""


def text(plan: Plan, *, verbose: bool = False) -> Iterator[str]:
    """Lines for a terminal. `verbose`: with every line of the files that differs."""
    yield from summary(plan, verbose=verbose)
    if plan.rows is not None:
        yield _rows_headline(plan.rows)
        yield from _groups(plan.rows)
    if plan.shadow is not None:
        yield _shadow_headline(plan.shadow)
        yield f"  {_window(plan.shadow)}"
        yield f"  {LIMITS[plan.shadow.registers]}"
        yield from (f"  {line}" for line in _left_out(plan.shadow))
        yield from (f"  {_lane(lane)}" for lane in plan.shadow.tally.lanes.values() if lane.differing)
        yield from _groups(plan.shadow.tally)


def summary(plan: Plan, *, verbose: bool = False) -> Iterator[str]:
    """What `broker apply` shows: files, routes, table rows and waiting deliveries."""
    yield f"{plan.live} (live, {plan.live_version}) → {plan.proposed} ({plan.proposed_version})"
    if plan.not_compared:
        yield f"the live routes cannot be loaded with these settings; only files are compared: {plan.not_compared}"
    for name, lines in _changes(plan.changes):
        yield name
        yield from (f"  {line}" for line in lines)
    if not plan.changes:
        yield "files, routes and tables say the same"
    if verbose:
        yield from (line for file in plan.changes.files for line in file.diff)
    if plan.waiting:
        yield "deliveries that wait"
        yield from (f"  {_waiting(one)}" for one in plan.waiting)


def markdown(plan: Plan) -> Iterator[str]:
    """Lines for a pull request: headings, tables, and the text of the files that differ."""
    yield f"### Routes: {plan.live} (`{plan.live_version}`) → {plan.proposed} (`{plan.proposed_version}`)"
    yield ""
    if plan.not_compared:
        yield f"Only files are compared: the live routes cannot be loaded with these settings. {plan.not_compared}"
        yield ""
    for name, lines in _changes(plan.changes):
        yield f"**{name.capitalize()}**"
        yield ""
        yield from (f"- {_cell(line)}" for line in lines)
        yield ""
    if plan.waiting:
        yield "**Deliveries that wait**"
        yield ""
        yield from (f"- {_cell(_waiting(one))}" for one in plan.waiting)
        yield ""
    for headline, tally in (
        (_rows_headline(plan.rows) if plan.rows else "", plan.rows),
        (_shadow_headline(plan.shadow) if plan.shadow else "", plan.shadow.tally if plan.shadow else None),
    ):
        if tally is not None:
            yield f"**{headline[:1].upper()}{headline[1:]}**"
            yield ""
            yield from _table(tally)
    if plan.shadow is not None:
        remarks = [_window(plan.shadow), LIMITS[plan.shadow.registers], *_left_out(plan.shadow)]
        yield f"<sub>{'; '.join(remarks)}. Values are shapes: `A` a letter, `9` a digit.</sub>"
    if plan.changes.files:
        yield from ("", "<details><summary>Files</summary>", "", "````diff")
        yield from (line for file in plan.changes.files for line in file.diff)
        yield from ("````", "", "</details>")


def _changes(changes: Changes) -> Iterator[tuple[str, list[str]]]:
    named = (
        ("files", [_file(one) for one in changes.files]),
        ("routes", [_route(one) for one in changes.routes]),
        ("table rows", [_row(one) for one in changes.rows]),
    )
    yield from ((name, lines) for name, lines in named if lines)


def _file(one: FileChange) -> str:
    return f"{one.how:<8} {one.name}  {one.size}"


def _route(one: RouteChange) -> str:
    parts = f": {', '.join(one.parts)}" if one.parts else ""
    return f"{one.how:<8} {one.name} ({one.place}){parts}"


def _row(one: RowChange) -> str:
    said = {"added": one.after, "removed": one.before, "changed": f"{one.before} → {one.after}"}[one.how]
    return f"{one.how:<8} {one.table} {one.code} = {said}"


def _waiting(one: Waiting) -> str:
    counts = ", ".join(f"{n} {state}" for state, n in (("queued", one.queued), ("parked", one.parked)) if n)
    return f"{one.destination}: {counts} of {one.route}: {'; '.join(one.why)}"


def _rows_headline(rows: Tally) -> str:
    counts = [
        f"{number:,} {ROW_WORDS[verdict]} on {lane.destination} by {lane.route}"
        for lane in rows.lanes.values()
        for verdict, number in lane.verdicts.items()
    ]
    return f"worklist rows made anew now: {', '.join(counts) or 'none differs'}, of {rows.outputs:,}"


def _shadow_headline(found: Shadow) -> str:
    tally = found.tally
    return f"shadow replay: {tally.differing:,} of {tally.outputs:,} outputs differ"


def _window(found: Shadow) -> str:
    window = found.window
    if not window.messages:
        return "nothing was received in this time"
    sample = f", every {found.sample}th" if found.sample > 1 else ""
    return (
        f"{window.messages:,} messages since {window.since[:19]}Z, {found.events:,} of {window.events:,} events"
        f"{sample}, {found.rate:,.0f} a second"
    )


def _left_out(found: Shadow) -> Iterator[str]:
    if found.failed:
        yield f"{found.failed:,} events that could not be routed are left out"
    if found.bodiless:
        yield f"{found.bodiless:,} events are left out: retention took the bytes of their messages"


def _lane(lane: Lane) -> str:
    ways = ", ".join(f"{number:,} {verdict}" for verdict, number in lane.verdicts.items())
    return f"{lane.route} → {lane.destination}: {lane.differing:,} of {lane.outputs:,}: {ways}"


def _groups(tally: Tally) -> Iterator[str]:
    for group in tally.ordered():
        what = group.path or group.verdict
        why = f": {group.reason}" if group.reason else ""
        yield f"    {group.count:>7,}  {group.route} → {group.destination}  {what}{why}"
        if not group.path and not group.reason:
            yield f"             by {group.place}"
        yield from (f"             {line}" for line in _examples(group))
    if tally.left_out:
        yield f"    {tally.left_out:>7,}  more, at further places"


def _examples(group: Group) -> Iterator[str]:
    for one in group.examples:
        values = f"{one.before} → {one.after}  " if group.path else ""
        yield f"{values}message {one.message}"


def _table(tally: Tally) -> Iterator[str]:
    groups = tally.ordered()
    if not groups:
        return
    yield "| Outputs | Route | Destination | What | Before → after | Message |"
    yield "| ---: | --- | --- | --- | --- | --- |"
    for group in groups:
        first = group.examples[0]
        values = f"`{_cell(first.before)}` → `{_cell(first.after)}`" if group.path else _cell(group.reason)
        what = group.path or group.verdict
        yield (
            f"| {group.count:,} | {group.route} | {group.destination} | {_cell(what)} | {values} | {first.message} |"
        )
    if tally.left_out:
        yield f"| {tally.left_out:,} | | | more, at further places | | |"
    yield ""


def _cell(said: str) -> str:
    return " ".join(said.split()).replace("|", "\\|")
