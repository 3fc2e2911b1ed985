"""`broker reconcile`: where every message went, counted twice; and the registers made anew from the log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli import reconcile_archive
from broker.cli.options import (
    config_option,
    format_option,
    journal_of,
    load_settings,
    print_json,
    progress,
    seconds_of,
)
from broker.runtime import rebuild as rebuilding
from broker.runtime.inforce import live_configured
from broker.runtime.reconcile import CLASSES, Report, reconcile, totals


@click.command("reconcile")
@click.option("--day", default="", help="Only this day (UTC): 2026-03-09.")
@click.option("--by-day", is_flag=True, help="Show each day by itself.")
@click.option("--registers", is_flag=True, help="Also rebuild the registers from the event log and compare.")
@click.option(
    "--archive",
    default="",
    help="Instead: ask this destination what it has, and hold that against what is here.",
)
@click.option(
    "--last",
    default="1d",
    show_default=True,
    help="With --archive: studies of which something came so lately.",
)
@config_option
@format_option
def command(
    day: str, by_day: bool, registers: bool, archive: str, last: str, config: Path, as_json: bool
) -> None:
    """Account for every message: received = delivered + queued + parked + held + dropped + filtered + rejected.

    Counts the rows of the journal, per listener, route and destination, and holds them against the tally that was
    kept while it happened; what policy withholds stands beside what was dropped. Reads one moment of the journal; the
    broker may run. Ends with 1 where something does not add up. Shows no patient data.

    With --archive, each study that is complete here is looked up there, instance by instance.

    Examples:  broker reconcile    ·    broker reconcile --by-day --registers --format json
    ·    broker reconcile --archive pacs --last 7d
    """
    settings = load_settings(config)
    if archive:
        if day or by_day or registers:
            raise click.UsageError("--archive stands alone, or with --last")
        reconcile_archive.run(settings, archive, seconds_of(last, "--last"), as_json)
        return
    database = journal_of(settings)
    with database.snapshot() as tx:
        report = reconcile(tx, settings.spool_folder, only=day, progress=progress("counting"))
        faults = list(report.faults)
        if registers:
            configured = live_configured(settings, os.environ, tx)
            baseline = database.beside(rebuilding.BASELINE)
            with rebuilding.rebuilt(tx, baseline, configured, progress("events folded")) as again:
                faults += rebuilding.compare(tx, again, configured.routes.version)
    if as_json:
        print_json(_described(report, faults))
    else:
        _print(report, faults, by_day, registers)
    if faults:
        raise SystemExit(1)


def _described(report: Report, faults: list[str]) -> dict[str, Any]:
    return {
        "sources": totals(report),
        "days": [
            {"day": a.day, "source": a.source, "received": a.received, **a.classes} for a in report.accounts
        ],
        "lanes": [
            {"day": x.day, "source": x.source, "route": x.route, "destination": x.destination, **x.states}
            for x in report.lanes
        ],
        "faults": faults,
    }


def _print(report: Report, faults: list[str], by_day: bool, registers: bool) -> None:
    for row in totals(report):
        click.echo(f"{row['source']}: {_sum(row['received'], row)}")
    if by_day:
        for account in report.accounts:
            click.echo(f"{account.day}  {account.source}: {_sum(account.received, account.classes)}")
    lanes: dict[tuple[str, str, str], dict[str, int]] = {}
    for lane in report.lanes:
        states = lanes.setdefault((lane.source, lane.route, lane.destination), {})
        for state, number in lane.states.items():
            states[state] = states.get(state, 0) + number
    for (source, route, destination), states in sorted(lanes.items()):
        click.echo(f"  {source} by {route} to {destination}: {_sum(sum(states.values()), states)}")
    if registers:
        click.echo("the registers were rebuilt from the log and compared with the live ones")
    for fault in faults:
        click.echo(f"does not add up: {fault}")
    click.echo("everything is accounted for" if not faults else f"{len(faults)} faults")


def _sum(whole: int, parts: dict[str, Any]) -> str:
    named = " + ".join(f"{parts[kind]} {kind}" for kind in CLASSES if parts.get(kind))
    return f"{whole} = {named or 'nothing'}"
