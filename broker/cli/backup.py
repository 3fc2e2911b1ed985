"""`broker backup`: a whole, verified copy of the data folder while the broker runs."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.errors import ConfigError
from broker.runtime.backup import Backup, back_up


@click.command("backup")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make; it must not exist, nor be inside the data folder or the spool.",
)
@config_option
@format_option
def command(target: Path, config: Path, as_json: bool) -> None:
    """Copy journal, baseline and received objects to a new folder. The broker may run; it is held up by nothing.

    The copy is one moment of the journal, with every object that it names: hard links where the folder is on the same
    file system, else copies. It is synced and checked before it gets its name. It holds patient data, and nothing of
    the settings and routes. Restore: stop the broker, copy the folder back as the data folder (`instances/` to the
    spool, where that is another folder), start
    (docs/operations.md). Ends with 1 when an object that the journal names is missing.

    Examples:  broker backup --to /var/lib/broker/backup/2026-03-09
    ·    broker backup --to /mnt/backup/broker-1 --format json
    """
    settings = load_settings(config)
    if settings.broker.store.get_secret_value():
        raise ConfigError(
            "the journal is PostgreSQL's: copy it with pg_dump first, then the spool (docs/operations.md)"
        )
    made = back_up(
        settings.data_folder,
        target,
        spool=settings.spool_folder,
        min_free=settings.broker.limits.min_free,
        progress=_told,
    )
    if as_json:
        print_json(_described(made))
    else:
        _print(made)
    if made.missing:
        raise SystemExit(1)


def _told(objects: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\robjects {objects} ", err=True, nl=False)


def _described(made: Backup) -> dict[str, object]:
    return {
        "folder": str(made.folder),
        "schema": made.schema,
        "messages": made.messages,
        "last": made.last,
        "journal_bytes": made.journal_bytes,
        "objects": {"linked": made.linked, "copied": made.copied, "missing": list(made.missing)},
    }


def _print(made: Backup) -> None:
    click.echo(
        f"{made.folder}: {made.messages} messages, the last of {made.last or 'never'}, schema {made.schema}"
    )
    click.echo(
        f"  journal of {made.journal_bytes} bytes; objects: {made.linked} linked, {made.copied} copied"
    )
    for name in made.missing:
        click.echo(f"  missing: {name}, which the journal names; see `broker reconcile`")
    if made.linked:
        click.echo("  links are not a second copy: take the folder to another machine")
