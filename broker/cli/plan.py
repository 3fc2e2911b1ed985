"""`broker plan`: what would be otherwise, were the folder's routes the live ones; nothing is changed."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import rich_click as click

from broker.cli.options import DURATION, Number, config_option, journal_of, load_settings, print_json
from broker.errors import ConfigError
from broker.journal.window import window
from broker.plan import report
from broker.plan.outputs import Pair
from broker.plan.proposal import Plan, short
from broker.plan.rows import remade
from broker.plan.shadow import Registers, choose, shadow
from broker.runtime import routesets
from broker.runtime.configured import configure
from broker.runtime.rebuild import BASELINE
from broker.scalars import moment

DIFFERENT = 3
"""Exit code: something would be otherwise."""


@click.command("plan")
@click.option("--last", type=click.IntRange(min=1), help="Replay the last so many messages.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Replay the last so many days.")
@click.option("--since", default="", help="Replay from then on: 7d, 12h, 2026-03-09, 2026-03-09T08:15Z.")
@click.option(
    "--to", "number", type=Number(), help="A set that was live before, instead of the folder (a rollback)."
)
@click.option("--no-replay", is_flag=True, help="Leave the shadow replay out.")
@click.option(
    "--sample", type=click.IntRange(min=1), default=1, show_default=True, help="Route every so many-th event."
)
@click.option(
    "--registers",
    type=click.Choice(["auto", "before", "now"]),
    default="auto",
    show_default=True,
    help="Replay over the registers as they stood before, made from the log, or as they stand now; auto: before,"
    " unless that would fold more than 100,000 events.",
)
@click.option("--verbose", is_flag=True, help="Show every line of the files that differs.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="For people, for programs, or for a pull request.",
)
@config_option
def command(
    last: int | None,
    days: float | None,
    since: str,
    number: int | None,
    no_replay: bool,
    sample: int,
    registers: Registers | Literal["auto"],
    verbose: bool,
    form: str,
    config: Path,
) -> None:
    """Show what would be otherwise with the folder's routes: files, waiting deliveries, worklist rows, past traffic.

    The last messages of this site's journal go through both route sets (the shadow replay): without a choice the
    last 1000, or those of the last day of traffic where they are fewer. Nothing is sent or kept; the broker may run.
    No patient's value is shown: fields, shapes of values (`Aaaa^Aaa`), codes of the routes and tables, and ids of
    messages. Exit code 0: nothing differs; 3: something does; 2: the files cannot be used.

    Examples:  broker plan    ·    broker plan --last 50000 --sample 10    ·    broker plan --since 7d --format markdown
    ·    broker plan --to v41 --verbose
    """
    if sum(given is not None for given in (last, days, since or None)) > 1:
        raise click.UsageError("give one of --last, --days and --since")
    settings = load_settings(config)
    database = journal_of(settings)
    received = _from(since, days)
    with database.snapshot() as tx:
        stored = routesets.live(tx)
        if stored is None:
            raise ConfigError(
                "no routes were live yet, there is nothing to compare; `broker apply` makes the folder's live"
            )
        files = None if number is None else routesets.get(tx, number).files
        proposed = configure(settings, os.environ, files)
        plan, live = short(tx, stored, proposed, "folder" if number is None else f"v{number}")
        if live is not None:
            pair = Pair(live=live, proposed=proposed.routes, renderers=proposed.renderers)
            plan = replace(plan, rows=remade(tx, pair, _told))
            if not no_replay:
                baseline, stretch = database.beside(BASELINE), window(tx, last=last, since=received)
                over = choose(tx, baseline, stretch) if registers == "auto" else registers
                found = shadow(
                    tx, baseline, proposed, pair, stretch, registers=over, sample=sample, progress=_told
                )
                plan = replace(plan, shadow=found)
    if sys.stderr.isatty():
        click.echo("", err=True)
    _show(plan, form, verbose)
    if live is None:
        raise SystemExit(2)
    if plan.differs:
        raise SystemExit(DIFFERENT)


def _from(since: str, days: float | None) -> str:
    """When the replay begins (ISO 8601, UTC); empty: as `--last` says."""
    if days is not None:
        return (datetime.now(UTC) - timedelta(days=days)).isoformat()
    if not since:
        return ""
    if since[-1:] in "smhd":
        return (datetime.now(UTC) - timedelta(seconds=DURATION.convert(since, None, None))).isoformat()
    try:
        return moment(since).isoformat()
    except ValueError as exc:
        raise click.UsageError(f"--since {exc}") from None


def _told(what: str, done: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{what} {done:,} ", err=True, nl=False)


def _show(plan: Plan, form: str, verbose: bool) -> None:
    if form == "json":
        print_json(plan.described())
        return
    for line in report.markdown(plan) if form == "markdown" else report.text(plan, verbose=verbose):
        click.echo(line)
