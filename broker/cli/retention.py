"""`broker retention`: what the journal still remembers of each day, and what may go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, journal_of, load_settings, print_json
from broker.runtime import refused
from broker.runtime.retention import due, known, limits_of


@click.command("retention")
@config_option
@format_option
def command(config: Path, as_json: bool) -> None:
    """Show what the journal remembers: days with their bytes, days with only the ledger, what is due, and its size.

    A running broker drops what is due once an hour, by `retention` in the settings. This command drops nothing.

    Examples:  broker retention    ·    broker retention --format json
    """
    settings = load_settings(config)
    limits = limits_of(settings)
    tx = journal_of(settings).read()
    days = known(tx)
    found = due(days, limits, datetime.now(UTC).date())
    told = {
        "bytes": tx.used(),
        "max_size": limits.max_size,
        "days": [{"day": d.day, "bodies": d.bodies, "open": d.open} for d in days],
        "due": {"bodies": found.bodies, "ledger": found.ledger},
        "kept": found.kept,
        "refused_files": refused.kept(tx),
    }
    if as_json:
        print_json(told)
        return
    for day in days:
        state = "whole" if day.bodies else "ledger only"
        click.echo(f"{day.day}  {state}{', something of it is still open' if day.open else ''}")
    click.echo(f"{len(days)} days, {told['bytes']} bytes in use")
    if told["refused_files"]:
        click.echo(
            f"{told['refused_files']} files of refused objects in the spool, which go with their days' bodies"
        )
    for what, which in (("bodies", found.bodies), ("ledger", found.ledger)):
        if which:
            click.echo(f"due: {what} of {len(which)} days, up to {which[-1]}")
    if found.kept:
        click.echo(
            f"kept though due, because something is open: {', '.join(found.kept)}; see `broker parked list`"
        )
