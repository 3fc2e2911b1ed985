"""`broker replay`: send again what was delivered, or take messages in again, with a look at it first."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import rich_click as click

from broker.cli.options import (
    audited,
    by,
    by_options,
    config_option,
    format_option,
    load_settings,
    open_desk,
    print_json,
    text_of,
)
from broker.errors import ConfigError
from broker.journal import search
from broker.runtime import rehearsal
from broker.runtime import replay as replays
from broker.runtime.inforce import live_configured
from broker.runtime.rehearsal import Planned
from broker.runtime.selection import Mode, Selection, count


@click.command("replay")
@click.argument("what", nargs=-1)
@click.option(
    "--delivery", "deliveries", multiple=True, type=int, help="A delivery, by number (`broker trace`)."
)
@click.option("--destination", default="", help="Only what went to this destination.")
@click.option("--route", default="", help="Only what this route made.")
@click.option("--source", default="", help="Only messages of this listener.")
@click.option("--since", default="", help="Only what was received from then on (UTC): 2026-03-09T08:15.")
@click.option("--until", default="", help="Only what was received before then (UTC).")
@click.option(
    "--mode",
    type=click.Choice(get_args(Mode)),
    default="sent",
    show_default=True,
    help="The bytes as they were sent; rendered anew by today's routes and registers; or the whole message"
    " received again by today's mapping (also one that was refused).",
)
@click.option("--dry-run", is_flag=True, help="Send nothing; show the bytes and what differs: patient data.")
@by_options
@config_option
@format_option
def command(
    what: tuple[str, ...],
    deliveries: tuple[int, ...],
    destination: str,
    route: str,
    source: str,
    since: str,
    until: str,
    mode: Mode,
    dry_run: bool,
    who: str,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Send again what was delivered. Each replay is marked with the delivery it repeats, and audited.

    WHAT is a message's id or any key that `broker trace` takes. What is still queued is not replayed. Receivers that
    remember control ids may take no second one: `--mode sent` keeps the first one's.

    Examples:  broker replay P000101 --destination epj --dry-run --reason "EPJ restored from backup"
    ·    broker replay --destination epj --since 2026-03-09T02 --until 2026-03-09T04 --reason "EPJ lost two hours"
    ·    broker replay P000101 --mode received --reason "station table completed"
    """
    if not (what or deliveries or destination or route or source or since or until):
        raise click.UsageError("say what: a message, --delivery, or a query")
    done, settings = by(who, reason), load_settings(config)
    with open_desk(settings) as desk:
        configured = live_configured(settings, os.environ, desk.read())
        messages = [seq for text in what for seq in search.find(desk.read(), text=text, limit=1000)]
        if what and not messages:
            raise ConfigError("nothing in the journal has this id; `broker status` shows what came in")
        selection = Selection(
            deliveries=deliveries,
            messages=tuple(dict.fromkeys(messages)),
            destination=destination,
            route=route,
            source=source,
            since=since,
            until=until,
        )
        now = datetime.now(UTC)
        if dry_run:
            planned = rehearsal.plan(desk, configured, selection, mode, now)
            audited(settings, "replay rehearsed", done.reason, {"deliveries": len(planned), "mode": mode})
            _show(planned, as_json)
            raise SystemExit(1 if not planned or any(one.problem for one in planned) else 0)
        with click.progressbar(
            length=count(desk.read(), selection, mode), label="queued", file=sys.stderr
        ) as bar:
            number = replays.run(
                desk, configured, selection, mode, done, now, lambda n: bar.update(n - bar.pos)
            )
    if as_json:
        print_json({"replayed": number, "mode": mode})
    else:
        click.echo(f"{number} {'messages taken in' if mode == 'received' else 'deliveries queued'} again")
    if not number:
        click.echo("nothing that was delivered fits; `broker trace` shows what was", err=True)
        raise SystemExit(1)


def _show(planned: list[Planned], as_json: bool) -> None:
    if as_json:
        print_json([_described(one) for one in planned])
        return
    for one in planned:
        first = f"again after delivery {one.replay_of}" if one.replay_of else "for the first time"
        click.echo(f"message {one.message} to {one.destination} by route {one.route}, {first}")
        if one.problem:
            click.echo(f"  cannot leave: {one.problem}")
            continue
        click.echo("  " + text_of(one.after).strip("\n").replace("\n", "\n  "))
        for change in one.changes:
            click.echo(f"  differs  {change.place}: {change.before or '-'} → {change.after or '-'}")
        if not one.changes and one.replay_of:
            click.echo("  the same bytes as the first time")
    click.echo(f"{len(planned)} would leave; nothing was sent")


def _described(one: Planned) -> dict[str, Any]:
    return {
        "message": one.message,
        "replay_of": one.replay_of,
        "destination": one.destination,
        "route": one.route,
        "payload": text_of(one.after),
        "problem": one.problem,
        "changes": [{"place": c.place, "before": c.before, "after": c.after} for c in one.changes],
    }
