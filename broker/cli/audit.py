"""`broker audit`: who looked at what passes, when and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.journal import audit


@click.command("audit")
@click.option(
    "--last", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many lines."
)
@config_option
@format_option
def command(last: int, config: Path, as_json: bool) -> None:
    """Show the newest lines of the audit: each `broker tap`, what it asked for, and what it saw.

    What people did to deliveries stands beside them (`broker trace`, `broker parked show`).

    Examples:  broker audit    ·    broker audit --last 500 --format json
    """
    entries = audit.listed(open_journal(load_settings(config)), limit=last)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    for entry in entries:
        reason = f"  {entry.reason}" if entry.reason else ""
        click.echo(f"{entry.id:>6}  {entry.at[:19]}Z  {entry.who}  {entry.action}{reason}")
        click.echo(f"        {json.dumps(entry.detail, ensure_ascii=False)}")
    click.echo(f"{len(entries)} lines")
