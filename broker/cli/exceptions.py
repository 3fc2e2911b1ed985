"""`broker exceptions`: what a person must look at, and that somebody has."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from broker.cli.options import (
    by,
    by_options,
    config_option,
    format_option,
    load_settings,
    login,
    open_desk,
    open_journal,
    print_json,
)
from broker.errors import ConfigError
from broker.registers import exceptions
from broker.runtime import closing


@click.group("exceptions")
def command() -> None:
    """What a person must look at, and that somebody has (docs/operations.md)."""


@command.command("list")
@click.option("--kind", default="", help="Only of this kind.")
@config_option
@format_option
def list_exceptions(kind: str, config: Path, as_json: bool) -> None:
    """List what is open, the oldest first. Ends with 0 whether or not something is.

    Shows no patient data: a subject is a key of ours, and `broker trace` shows the message.

    Examples:  broker exceptions list    ·    broker exceptions list --kind instance-differs --format json
    """
    found = [
        {**entry, "closable": entry["kind"] in exceptions.CLOSABLE}
        for entry in exceptions.listed(open_journal(load_settings(config)))
        if kind in ("", entry["kind"])
    ]
    if as_json:
        print_json(found)
        return
    for entry in found:
        click.echo(f"{entry['kind']:<22} {entry['subject']}  {entry['reason']}")
        trace = f"; `broker trace {entry['message']}`" if entry["message"] else ""
        closes = "" if entry["closable"] else "; closes by itself once it is put right"
        click.echo(f"  since {entry['since']}{trace}{closes}")
    click.echo(f"{len(found)} open")


@command.command("close")
@click.argument("kind")
@click.argument("subjects", metavar="SUBJECT", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every open one of this kind.")
@by_options
@config_option
@format_option
def close(
    kind: str,
    subjects: tuple[str, ...],
    every: bool,
    reason: str,
    who: str,
    config: Path,
    as_json: bool,
) -> None:
    """Say that somebody has seen to it. It opens again should it be reported anew.

    What is so until it is put right, such as a held merge or a row that lacks something, closes by itself only. KIND
    and SUBJECT are as `broker exceptions list` shows them. Ends with 1 where one of them is not open.

    Examples:  broker exceptions close demographics-differ 1.2.840.99.1 --reason "name was being changed"
    ·    broker exceptions close control-id-reused --all --reason "sender repaired"
    """
    if bool(subjects) == every:
        raise click.UsageError("give SUBJECT, or --all")
    told = by(who, reason)
    settings = load_settings(config)
    wanted = subjects or tuple(
        entry["subject"] for entry in exceptions.listed(open_journal(settings)) if entry["kind"] == kind
    )
    now = datetime.now(UTC)
    with open_desk(settings) as desk:
        try:
            done = {
                one: bool(
                    closing.close(desk, kind, one, by=told.who, reason=told.reason, now=now, who=login())
                )
                for one in wanted
            }
        except closing.ClosingError as error:
            raise ConfigError(str(error)) from error
    if as_json:
        print_json([{"kind": kind, "subject": one, "closed": closed} for one, closed in done.items()])
    else:
        for one, closed in done.items():
            click.echo(f"{kind} {one}: {'closed' if closed else 'is not open'}")
    if not all(done.values()):
        raise SystemExit(1)
