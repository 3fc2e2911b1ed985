"""`broker patients disclosures`: who was told who a patient is, and when. Shows no patient's value."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import rich_click as click

from broker.cli.issued import owned
from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.errors import ConfigError
from broker.journal import audit
from broker.registers import patients


@click.command("disclosures")
@click.argument("identifier")
@click.option(
    "--issuer",
    default="",
    help="Issuer of the identifier: its OID, or its name where it has none; empty: any.",
)
@click.option(
    "--last", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many lines."
)
@config_option
@format_option
def command(identifier: str, issuer: str, last: int, config: Path, as_json: bool) -> None:
    """Show who asked the broker for a patient's demographics: every answer that named the patient (docs/queries.md).

    IDENTIFIER is any number of the patient, ended ones too; answers from before a merge count for the survivor.
    Exit code 2 where nobody, or more than one patient, has the number.

    Examples:  broker patients disclosures 700123
    ·    broker patients disclosures 700123 --issuer 2.999.7001 --format json
    """
    settings = load_settings(config)
    tx = open_journal(settings)
    owners = {one.patient for one in owned(settings, tx, identifier, issuer)}
    if not owners:
        raise ConfigError(
            "no patient has this identifier; give a number as PAS writes it, or leave out --issuer"
        )
    if len(owners) > 1:
        raise ConfigError("several patients have this number, each of another issuer; give --issuer")
    (key,) = owners
    entries = audit.disclosures(tx, [key, *patients.absorbed_by(tx, key)], limit=last)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    for entry in entries:
        click.echo(f"{entry.id:>6}  {entry.at[:19]}Z  {entry.who}  {entry.action}")
        click.echo(f"        {json.dumps(entry.detail, ensure_ascii=False)}")
    click.echo(f"{len(entries)} answers named this patient")
