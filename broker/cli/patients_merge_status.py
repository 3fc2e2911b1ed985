"""`broker patients merge-status`: how far merges, id changes and moves have come. Shows no patient data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli import patients_text
from broker.cli.options import (
    config_option,
    format_option,
    load_settings,
    open_journal,
    patients_number,
    print_json,
)
from broker.registers import ledger
from broker.registers.changes import Change
from broker.runtime import splitplan
from broker.store.transaction import Transaction


@click.command("merge-status")
@click.argument("what", required=False, default="")
@config_option
@format_option
def command(what: str, config: Path, as_json: bool) -> None:
    """Show merges, id changes and moves: where they stand here, and what each destination has got of them.

    WHAT is a change's id, a message's id or a patient's number (`-` reads it from standard input); without it, what
    is held and waits for a decision. Shows no patient data.

    Examples:  broker patients merge-status    ·    broker patients merge-status 700123 --format json
    """
    tx = open_journal(load_settings(config))
    changes = splitplan.find(tx, patients_number(what)) if what else ledger.held(tx)
    if as_json:
        print_json([_status(tx, change) for change in changes])
    else:
        for change in changes:
            patients_text.status(_status(tx, change))
        click.echo(f"{len(changes)} changes")
    if what and not changes:
        raise SystemExit(1)


def brief(change: Change) -> dict[str, Any]:
    """What a change is, as JSON has it."""
    names = ("id", "kind", "state", "at", "survivor", "absorbed", "reason", "ended")
    return {name: getattr(change, name) for name in names}


def _status(tx: Transaction, change: Change) -> dict[str, Any]:
    return {
        **brief(change),
        "worklists": {
            key: dict(splitplan.lists_of(tx, key)) for key in (change.survivor, change.absorbed) if key
        },
        "destinations": [asdict(one) for one in splitplan.told(tx, change)],
    }
