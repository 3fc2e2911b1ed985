"""`broker codes`: the code tables, where routes look into them, and which codes they lack. Changes no table."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import DURATION, config_option, format_option, journal_of, load_settings, print_json
from broker.errors import ConfigError, did_you_mean
from broker.routing import codes
from broker.routing.engine import RouteSet
from broker.routing.tables import Row, Table
from broker.runtime.configured import configure
from broker.runtime.missing import Missing, missing
from broker.scalars import moment


@click.group("codes")
def command() -> None:
    """Code tables: what stands in them, where it is used, what is missing."""


@command.command("list")
@config_option
@format_option
def tables(config: Path, as_json: bool) -> None:
    """List the code tables: how many codes each has, and how many lines of routes look into it.

    Examples:  broker codes list    ·    broker codes list --format json
    """
    routes = _routes(config)
    found = [
        {
            "table": table.name,
            "file": table.file,
            "codes": len(table.rows),
            "rows": sum(map(len, table.rows.values())),
            "uses": len(codes.uses(routes, table.name)),
        }
        for table in routes.tables.values()
    ]
    if as_json:
        print_json(found)
        return
    for one in found:
        size = f"{one['codes']} codes in {one['rows']} rows"
        click.echo(f"{one['table']}  {one['file']}: {size}, looked into by {one['uses']} lines")


@command.command("show")
@click.argument("table")
@click.argument("code", required=False)
@click.option(
    "--at", default="", help="Mark what holds then instead of now: 2026-04-01, 2026-04-01T06:00+02:00."
)
@config_option
@format_option
def show(table: str, code: str | None, at: str, config: Path, as_json: bool) -> None:
    """Show the rows of TABLE, or those of CODE: what it stands for, when, and in which line of the file.

    Rows that hold now (or `--at` a time) are marked with `*`. Ends with 1 where the table has no such code.

    Examples:  broker codes show stations    ·    broker codes show stations MR-LAB1 --at 2026-04-01
    """
    try:
        when = f"{moment(at) if at else datetime.now(UTC):%Y%m%d%H%M%S}"
    except ValueError as exc:
        raise click.UsageError(f"--at {exc}") from None
    found = _table(_routes(config), table)
    rows = [(key, row) for key, rows in found.rows.items() for row in rows if code in (None, key)]
    if as_json:
        print_json([_described(found, key, row, when) for key, row in rows])
    for key, row in () if as_json else rows:
        period = f"  [{_day(row.start)} to {_day(row.end)}]" if row.start or row.end else ""
        about = f"  ({row.about})" if row.about else ""
        sign = "*" if row.holds(when) else " "
        click.echo(f"{sign} {key} = {' | '.join(row.values)}{period}{about}  {found.file}:{row.line}")
    if not rows:
        hint = did_you_mean(code or "", found.rows)
        click.echo(f"table '{table}' has no code '{code}'. {hint}".strip(), err=True)
        raise SystemExit(1)


@command.command("where")
@click.argument("table")
@click.argument("code", required=False)
@config_option
@format_option
def where(table: str, code: str | None, config: Path, as_json: bool) -> None:
    """Show where TABLE is used, or where CODE may be: the lines of the routes that look it up.

    A line that takes its code from the event may ask for any; one that names another code is left out.

    Examples:  broker codes where stations    ·    broker codes where stations MR-LAB1 --format json
    """
    routes = _routes(config)
    _table(routes, table)
    found = codes.uses(routes, table, code)
    if as_json:
        print_json([asdict(use) for use in found])
        return
    for use in found:
        click.echo(f"{use.place}: route {use.route}, {use.field}: {use.lookup}")
    if not found:
        click.echo("no route looks it up")


@command.command("missing")
@click.option("--last", type=DURATION, default="7d", show_default=True, help="How far back: 12h, 7d.")
@click.option("--table", "only", default="", help="Only this table.")
@config_option
@format_option
def lacking(last: float, only: str, config: Path, as_json: bool) -> None:
    """List the codes that messages brought and no row holds, the most frequent first.

    Looks at the journal's events again with the routes and tables of the folder, each at the time when it came, so
    that a code which was added since is not listed; the broker may run. Where several codes were asked for, any of them
    would do. Shows codes, counts and times, no patient data. Ends with 1 where something is missing.

    Examples:  broker codes missing    ·    broker codes missing --last 24h --table stations --format json
    """
    settings = load_settings(config)
    routes = configure(settings, os.environ).routes
    if only:
        _table(routes, only)
    since = (datetime.now(UTC) - timedelta(seconds=last)).isoformat()
    with journal_of(settings).snapshot() as tx:
        found = [one for one in missing(tx, routes, since, _told) if only in ("", one.table)]
    if sys.stderr.isatty():
        click.echo("", err=True)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        _print(found, since)
    if found:
        raise SystemExit(1)


def _print(found: list[Missing], since: str) -> None:
    for one in found:
        asked = " or ".join(one.codes) or "(no code at all)"
        types = ", ".join(f"{count} {name}" for name, count in one.types.items())
        click.echo(f"{one.table}: {asked}")
        click.echo(f"  {types}; first {one.first}, last {one.last}; asked by {', '.join(one.places)}")
    click.echo(
        f"{len(found)} codes are missing since {since[:16]}Z"
        if found
        else f"nothing was missing since {since[:16]}Z"
    )


def _told(seen: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\revents seen again {seen} ", err=True, nl=False)


def _routes(config: Path) -> RouteSet:
    return configure(load_settings(config), os.environ).routes


def _table(routes: RouteSet, name: str) -> Table:
    """Raises `ConfigError` for a table that there is not."""
    if name not in routes.tables:
        hint = did_you_mean(name, routes.tables) or f"There are {', '.join(sorted(routes.tables)) or 'none'}."
        raise ConfigError(f"there is no table '{name}'. {hint}")
    return routes.tables[name]


def _day(moment_: str) -> str:
    """`2026-04-01` of a row's period, with the time where it is not the beginning of a day (UTC)."""
    if not moment_:
        return "…"
    found = datetime.strptime(moment_, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return f"{found:%Y-%m-%d}" if moment_.endswith("000000") else f"{found:%Y-%m-%dT%H:%M:%SZ}"


def _described(table: Table, code: str, row: Row, when: str) -> dict[str, Any]:
    return {
        "code": code,
        "values": list(row.values),
        "from": _day(row.start) if row.start else None,
        "to": _day(row.end) if row.end else None,
        "holds": row.holds(when),
        "about": row.about,
        "place": f"{table.file}:{row.line}",
    }
