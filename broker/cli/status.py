"""`broker status`: what came in, what waits and why, and what a person must look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.runtime.figures import status


@click.command("status")
@config_option
@format_option
def command(config: Path, as_json: bool) -> None:
    """Show what came in, what waits and why, and what a person must look at. Shows no patient data.

    Examples:  broker status    ·    broker status --format json
    """
    found = status(open_journal(load_settings(config)))
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    click.echo("received")
    for row in found["received"]:
        click.echo(f"  {row['source']:<12} {row['verdict']:<10} {row['messages']}")
    if found["events_waiting"]:
        click.echo(f"  {found['events_waiting']} events wait to be routed")
    click.echo("destinations")
    for row in found["destinations"]:
        click.echo(
            f"  {row['destination']:<12} {row['delivered']} delivered, {row['queued']} queued,"
            f" {row['parked']} parked, {row['held']} held, {row['dropped']} dropped"
        )
        if row["queued"]:
            click.echo(f"    the oldest waits since {row['oldest']}")
        if failing := row["failing"]:
            number, times = failing["delivery"], failing["attempts"]
            click.echo(f"    delivery {number} failed {times} times, is tried again: {failing['detail']}")
    click.echo(f"exceptions: {len(found['exceptions'])}")
    for entry in found["exceptions"]:
        click.echo(f"  {entry['kind']:<22} {entry['subject']}  {entry['reason']}")
        click.echo(f"    since {entry['since']}; `broker trace {entry['message']}`")
