"""`broker studies`: what is here of each study, and which archive keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli import studies_ask, studies_fetch, studies_find
from broker.cli.options import (
    DURATION,
    config_option,
    format_option,
    load_settings,
    open_journal,
    print_json,
)
from broker.cli.studies_reject import reject, revoke
from broker.errors import ConfigError
from broker.registers import study_list
from broker.registers.study_list import Which
from broker.runtime.archives import archives_of


@click.group("studies")
def command() -> None:
    """What is here of each study, which archive has it and has committed to it (docs/studies.md, docs/retrieve.md)."""


command.add_command(studies_ask.command)
command.add_command(studies_find.command)
command.add_command(studies_fetch.command)
command.add_command(reject)
command.add_command(revoke)


@command.command("list")
@click.option("--open", "which", flag_value="open", help="Only those that go on.")
@click.option(
    "--incomplete", "which", flag_value="incomplete", help="Only those whose MPPS list more than is here."
)
@click.option(
    "--unsafe", "which", flag_value="unsafe", help="Only those that too few archives have committed to."
)
@click.option(
    "--rejected", "which", flag_value="rejected", help="Only those of which something was rejected."
)
@click.option(
    "--since",
    type=DURATION,
    default="30d",
    show_default=True,
    help="Only where something came so lately: 12h, 30d.",
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@config_option
@format_option
def list_studies(which: Which | None, since: float, limit: int, config: Path, as_json: bool) -> None:
    """List studies, the latest first: how much is here, and how much of it which archive has.

    Shows no patient data.

    Examples:  broker studies list --open    ·    broker studies list --unsafe --since 7d --format json
    """
    settings = load_settings(config)
    begin = datetime.now(UTC) - timedelta(seconds=since)
    rows = study_list.listed(
        open_journal(settings),
        which or "all",
        copies=settings.broker.studies.copies,
        archives=[archive.name for archive in archives_of(settings)],
        since=begin.isoformat(),
        limit=limit,
    )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['last'][:16]}  {row['accession']:<16} {row['study']}  {_line(row)}")
    click.echo(f"{len(rows)} studies")


@command.command("show")
@click.argument("study_uid", metavar="STUDY")
@config_option
@format_option
def show(study_uid: str, config: Path, as_json: bool) -> None:
    """Show a study: its instances, its MPPS, which archive has it and committed to it, what was rejected.

    STUDY is its Study Instance UID (`broker trace` finds it by an accession number). Shows no patient data.

    Examples:  broker studies show 1.2.840.99.1    ·    broker studies show 1.2.840.99.1 --format json
    """
    found = study_list.shown(open_journal(load_settings(config)), study_uid)
    if found is None:
        raise ConfigError("nothing of this study ever came here; `broker studies list` shows those that did")
    if as_json:
        print_json(found)
    else:
        _print(found)


def _line(row: dict[str, Any]) -> str:
    """State and numbers in one line."""
    said = [row["state"], f"{row['instances']} instances"]
    if row["missing"]:
        said.append(f"{row['missing']} of {row['expected']} that MPPS list are not here")
    said += [_archive(one) for one in row["archives"]]
    if row["rejected"]:
        said.append(f"{sum(one['instances'] for one in row['rejected'])} rejected")
    if row["freed"]:
        said.append(f"{row['freed']} files given up")
    return ", ".join(said)


def _archive(one: dict[str, Any]) -> str:
    failed = "".join(f", {number} failed with {code}" for code, number in one["failed"].items())
    return f"{one['archive']} has {one['stored']} and committed to {one['committed']}{failed}"


def _print(found: dict[str, Any]) -> None:
    click.echo(f"study {found['study']}  accession {found['accession'] or 'none'}")
    click.echo(f"  {_line(found)}")
    completed = f", told to be complete {found['completed']}" if found["completed"] else ""
    click.echo(f"  first {found['since']}, last {found['last']}{completed}")
    for one in found["series"]:
        click.echo(f"series {one['series']}  {one['instances']} instances")
    for one in found["mpps"]:
        click.echo(f"mpps {one['mpps']}  {one['status']} by {one['device']}, begun {one['created']}")
    for one in found["commitments"]:
        if not one["asked"]:
            continue
        answered = f"answered {one['answered']}" if one["answered"] else "not answered"
        click.echo(f"commitment by {one['archive']}: asked {one['asked']}, {answered}; {one['transaction']}")
    for one in found["rejected"]:
        click.echo(f"rejected {one['instances']} since {one['since']}: {one['reason']}, note {one['note']}")
    for one in found["available"]:
        click.echo(f"{one['availability']} at {one['retrieve_aet']} since {one['since']}: {one['instances']}")
    for one in found["exceptions"]:
        click.echo(f"exception {one['kind']}: {one['reason']}")
