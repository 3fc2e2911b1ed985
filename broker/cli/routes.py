"""`broker routes`: the route sets that were live, what they said, going back to one; and a new route file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import rich_click as click

from broker.adapter import Send
from broker.cli.apply import put_live
from broker.cli.options import (
    Number,
    by,
    by_options,
    config_option,
    format_option,
    load_settings,
    open_journal,
    print_json,
    write_new,
)
from broker.create.route import Wanted, route_files
from broker.create.samples import Sample
from broker.errors import ConfigError
from broker.routing.files import RouteFiles, difference
from broker.routing.language import check_name
from broker.runtime import routesets
from broker.runtime.configured import configure, read_files, shown
from broker.yamlfile.reading import read_text


@click.group("routes")
def command() -> None:
    """Route sets by number: each that went live is kept, with who made it so, when and why; and a new route file."""


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@config_option
@format_option
def list_(limit: int, config: Path, as_json: bool) -> None:
    """List the route sets that were live, the newest first.

    Examples:  broker routes list    ·    broker routes list --limit 100 --format json
    """
    rows = routesets.listed(open_journal(load_settings(config)), limit)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        mark = "live" if row["live"] else ""
        said = f"  {row['reason']}" if row["reason"] else ""
        click.echo(f"v{row['number']:<5} {mark:<5} {row['version']}  {row['at'][:19]}Z  {row['who']}{said}")
    if not rows:
        click.echo("no routes were live yet; `broker run` takes the folder's, `broker apply` too")


@command.command("show")
@click.argument("number", type=Number())
@click.option("--diff", "other", type=Number(), help="Show what differs from that set, as `diff -u` does.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write its files to a new folder.",
)
@config_option
@format_option
def show(number: int, other: int | None, folder: Path | None, config: Path, as_json: bool) -> None:
    """Show one route set: its files, or what differs between it and another one.

    Examples:  broker routes show 41    ·    broker routes show 42 --diff 41    ·    broker routes show 41 --to ../v41
    """
    tx = open_journal(load_settings(config))
    stored = routesets.get(tx, number)
    lines = [] if other is None else list(difference(routesets.get(tx, other).files, stored.files))
    if folder is not None:
        _write(stored.files, folder)
    if as_json:
        print_json(
            {
                "number": stored.number,
                "version": stored.version,
                "at": stored.by.at,
                "who": stored.by.who,
                "reason": stored.by.reason,
                "files": stored.files.texts(),
                "diff": lines,
            }
        )
        return
    if other is not None:
        for line in lines:
            click.echo(line)
        if not lines:
            click.echo(f"v{number} says the same as v{other}")
        return
    click.echo(f"v{number}, version {stored.version}, live from {stored.by.at} by {stored.by.who}")
    if stored.by.reason:
        click.echo(f"  {stored.by.reason}")
    for name, text in stored.files.texts().items():
        click.echo(f"  {name}  {len(text.splitlines())} lines")


@command.command("rollback")
@click.argument("number", type=Number())
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that nodes get to answer.",
)
@by_options
@config_option
@format_option
def rollback(number: int, timeout: float, who: str, reason: str, config: Path, as_json: bool) -> None:
    """Make a set that was live before the live one again, under a new number; as `broker apply`, without the tests.

    The folder stays as it is. An embedded broker takes the folder when it starts: put it right before that
    (`broker routes show 41 --to FOLDER`).

    Examples:  broker routes rollback 41 --reason "v42 sent reports twice"
    """
    settings, done = load_settings(config), by(who, reason)
    files = routesets.get(open_journal(settings), number).files
    put_live(configure(settings, os.environ, files), f"v{number}", done, timeout, False, as_json)
    if read_files(settings).texts() != files.texts():
        click.echo(
            "the folder says otherwise: `broker apply`, or the next start of an embedded broker, makes it live;"
            f" `broker routes show {number} --to FOLDER` writes out what is live now",
            err=True,
        )


def _named(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        return check_name(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


@command.command("create")
@click.argument("name", callback=_named)
@click.option(
    "--on", multiple=True, required=True, metavar="EVENT", help="An event, or `patient.*`; several times."
)
@click.option(
    "--to", multiple=True, required=True, metavar="DESTINATION", help="A destination; several times."
)
@click.option(
    "--send",
    type=click.Choice(get_args(Send)),
    default="source",
    show_default=True,
    help="What an HL7 destination gets: the message as it came, an order's status, or what was rejected.",
)
@click.option(
    "--message",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An HL7 message to test it with, synthetic: it is copied beside the routes. Default: one of the broker's.",
)
@config_option
@format_option
def create(
    name: str,
    on: tuple[str, ...],
    to: tuple[str, ...],
    send: str,
    message: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Write a commented route file with a test and its message, tried on these settings before it is written.

    Examples:  broker routes create reports-to-archive --on result.available --to archive
    """
    settings = load_settings(config)
    sample = Sample(hl7=_hl7(message)) if message is not None else None
    wanted = Wanted(name=name, on=on, to=to, send=send, sample=sample)
    files = route_files(settings, os.environ, wanted, lambda: datetime.now(UTC))
    write_new(files)
    if as_json:
        print_json({"route": name, "files": [shown(path) for path in files]})
        return
    for path in files:
        click.echo(f"wrote {shown(path)}")
    click.echo("say in it who asked for it, then: broker check, broker test, broker apply")


def _hl7(path: Path) -> str:
    """A message a segment a line, as tests have them. Raises `ConfigError` where it is no UTF-8."""
    text = read_text(path, str(path)).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(f"{line}\n" for line in text.split("\n") if line.strip())


def _write(files: RouteFiles, folder: Path) -> None:
    """The files of a set as a folder would have them. Raises `ConfigError` where the folder is there already."""
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; give --to a folder that is not")
    for name, text in files.texts().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
