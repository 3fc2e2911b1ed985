"""`broker patients list`: patients of whom it is not known yet who they are. Shows whose task that is, never who."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from broker.cli.options import (
    DURATION,
    config_option,
    format_option,
    load_settings,
    open_journal,
    print_json,
)
from broker.registers import temporary
from broker.registers.temporary import Unreconciled
from broker.telemetry import age


@click.command("list")
@click.option(
    "--temporary",
    "wanted",
    is_flag=True,
    required=True,
    help="Those known by a temporary id, or called unknown.",
)
@click.option(
    "--older-than",
    type=DURATION,
    default="0s",
    show_default=True,
    help="Only those whose id is at least so old: 72h.",
)
@config_option
@format_option
def command(wanted: bool, older_than: float, config: Path, as_json: bool) -> None:  # noqa: ARG001
    """List patients who still have to be identified, the longest first, with listener and site that must see to it.

    Temporary are FH-numbers, H-numbers and what the settings call so (docs/identifiers.md). A patient leaves the list
    when PAS changes or merges the id into a national one, or into a local one, and says no longer that he is unknown.
    Shows no patient data: `broker trace` has the message that named the id, `broker patients show` the patient.

    Examples:  broker patients list --temporary --older-than 72h    ·    broker patients list --temporary --format json
    """
    now = datetime.now(UTC)
    found = temporary.unreconciled(open_journal(load_settings(config)))
    rows = [one for one in found if age(one.since, now) >= older_than]
    if as_json:
        print_json([_row(one) for one in rows])
        return
    for row in map(_row, rows):
        click.echo(
            f"{row['since'][:16]}  {row['source']} {row['site']}  {row['key']}  `broker trace {row['message']}`"
        )
    count = f"{len(rows)} patient{'' if len(rows) == 1 else 's'}"
    click.echo(count if rows else "nobody has to be identified")


def _row(one: Unreconciled) -> dict[str, str]:
    return {**one._asdict(), "message": one.event.rpartition(".")[0]}
