"""`broker patients list`: patients of whom it is not known yet who they are, with who must find out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import (
    config_option,
    format_option,
    load_settings,
    open_journal,
    print_json,
    seconds_of,
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
    "--older-than", default="0s", show_default=True, help="Only those whose id is at least so old: 72h."
)
@click.option("--names", is_flag=True, help="Show ids and names, not only the register's keys.")
@config_option
@format_option
def command(wanted: bool, older_than: str, names: bool, config: Path, as_json: bool) -> None:  # noqa: ARG001
    """List patients who still have to be identified, the longest first, with listener and site that must see to it.

    Temporary are FH-numbers, H-numbers and what the settings call so (docs/identifiers.md). A patient leaves the list
    when PAS changes or merges the id into a national one, or into a local one, and says no longer that he is unknown.
    Ids and names are shown only with --names.

    Examples:  broker patients list --temporary --older-than 72h    ·    broker patients list --temporary --format json
    """
    now, least = datetime.now(UTC), seconds_of(older_than, "--older-than")
    found = temporary.unreconciled(open_journal(load_settings(config)))
    rows = [_row(one, names) for one in found if age(one.since, now) >= least]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        who = f"  {' '.join(row['identifiers'])}  {row['name']}" if names else ""
        click.echo(f"{row['since'][:16]}  {row['source']} {row['site']}  {row['key']}{who}")
    count = f"{len(rows)} patient{'' if len(rows) == 1 else 's'}"
    click.echo(count if rows else "nobody has to be identified")


def _row(one: Unreconciled, names: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"key": one.key, "since": one.since, "source": one.source, "site": one.site}
    if names:
        name = one.patient.name
        row["identifiers"] = [f"{i.value} ({i.namespace or i.oid})" for i in one.patient.identifiers]
        row["name"] = " ".join(part for part in (name.family, name.given) if part) if name else ""
    return row
