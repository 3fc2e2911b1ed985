"""What `broker patients` says to people. It decides nothing, and shows what it is given."""

from __future__ import annotations

from typing import Any

import rich_click as click

from broker.runtime.splitplan import Item, Plan


def patient(shown: dict[str, Any]) -> None:
    """A patient with each value's source."""
    click.echo(
        f"patient {shown['key']}  {'known to PAS' if shown['verified'] else 'only orders spoke of it'}"
    )
    for one in shown["identifiers"]:
        click.echo(
            f"  {one['value']:<14} of {one['issuer']}{'' if one['current'] else '  (ended, leads here)'}"
            f"  {one['source']}, {one['at'][:19]}Z, {one['event']}"
        )
    for name, one in shown["values"].items():
        click.echo(
            f"  {name:<14} {one['value'] or '(cleared)':<24} {one['source']}, {one['at'][:19]}Z, {one['event']}"
        )
    for visit in shown["visits"]:
        bed = "  in a bed" if visit["in_bed"] else ""
        click.echo(
            f"  visit          {visit['number']}  {visit['status']} {visit['class']} at {visit['location']}{bed}"
            f"  {visit['source']}, said {visit['said']}"
        )
    for other in shown["related"]:
        click.echo(f"  related        {other}")
    for name, rows in shown["worklists"].items():
        click.echo(f"  on worklist    {name}: {rows}")
    for study in shown["studies"]:
        click.echo(f"  study          {study['study']}: {study['instances']} instances")
    for change in shown.get("history", []):
        click.echo(f"  {change['at'][:19]}Z  {change['kind']} {change['id']}: {change['state']}")


def status(told: dict[str, Any]) -> None:
    """A change: where it stands here, and at each destination."""
    where = f"{told['absorbed'] or '-'} → {told['survivor'] or '-'}"
    click.echo(f"{told['id']}  {told['at'][:19]}Z  {told['kind']}, {told['state']}  {where}")
    if told["reason"]:
        click.echo(f"  held: {told['reason']}")
    for key, lists in told["worklists"].items():
        for name, rows in lists.items():
            click.echo(f"  worklist {name}: {rows} rows of {key}")
    for one in told["destinations"]:
        click.echo(
            f"  {one['destination']}: delivery {one['delivery']} {one['state']} (route {one['route']})"
        )


def plan(planned: Plan) -> None:
    """What undoing a change would do."""
    change = planned.change
    click.echo(f"plan {planned.id}: undo {change.kind} {change.id} of {change.at[:19]}Z ({change.state})")
    if planned.obstacle:
        click.echo(f"  cannot be done: {planned.obstacle}")
    click.echo(f"  {len(change.leaving)} identifiers go back to {change.absorbed or 'a record of their own'}")
    for item in planned.returns:
        click.echo(f"  back       {_of(item)}")
    for item in planned.ambiguous:
        click.echo(f"  AMBIGUOUS  {_of(item)}: stays; look whose it is")
    for work in planned.work:
        click.echo(
            f"  BY HAND    {work.destination}: study {work.study_uid} (accession {work.accession or '-'}),"
            f" {work.sent} of {work.objects} objects are there under the survivor"
        )
    for told in planned.told:
        click.echo(
            f"  was told   {told.destination}: delivery {told.delivery} {told.state}; it must be undone there"
        )


def _of(item: Item) -> str:
    what = f"step {item.key}" if item.what == "step" else f"study {item.key}, {item.objects} objects"
    return f"{what} (accession {item.accession or '-'}): {item.why}"
