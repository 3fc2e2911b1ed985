"""`broker bus`: how far the event log was published, and publishing it again from an earlier place."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click
import structlog

from broker.bus.connection import unanswered
from broker.cli.options import (
    by,
    by_options,
    config_option,
    format_option,
    load_settings,
    open_desk,
    open_journal,
    print_json,
)
from broker.errors import ConfigError
from broker.journal import cursor
from broker.store.transaction import Transaction
from broker.telemetry import configure_logging

log = structlog.get_logger("broker.bus")


@click.group("bus")
def command() -> None:
    """Events for other programs: how far they were published, and publishing them again (docs/bus.md)."""


@command.command("status")
@config_option
@format_option
def status(config: Path, as_json: bool) -> None:
    """Show how far the event log was published, how much is behind, and whether the bus answers from here.

    Exit code 1 when the bus does not answer.

    Examples:  broker bus status    ·    broker bus status --format json
    """
    settings = load_settings(config)
    tx = open_journal(settings)
    place = cursor.get(tx)
    error = unanswered(settings.bus)
    found: dict[str, Any] = {
        "bus": str(settings.bus),
        "published": settings.bus.shared,
        "answers": not error,
        "error": error,
        "event": place.event if place is not None else None,
        "at": place.at if place is not None else "",
        "lag": cursor.lag(tx, place) if settings.bus.shared else 0,
        "queues": {name: list(patterns) for name, patterns in settings.broker.bus_queues.items()},
    }
    if as_json:
        print_json(found)
    elif not settings.bus.shared:
        click.echo(
            f"{settings.bus}: nothing is published; set `bus` to redis://… or amqp://… for others to listen"
        )
    else:
        click.echo(f"{settings.bus}: {'answers' if not error else f'does not answer ({error})'}")
        told = f"place {found['event']}, written down {found['at']}" if found["at"] else "nothing yet"
        click.echo(f"published up to: {told}; behind: {found['lag']}")
        for name, patterns in found["queues"].items():
            click.echo(f"queue {name}: {', '.join(patterns)}")
    if error:
        raise SystemExit(1)


@command.command("rewind")
@click.option(
    "--to", required=True, help="An event's id, or a time (UTC): 2026-03-09T08:15. That is repeated too."
)
@by_options
@config_option
@format_option
def rewind(to: str, who: str, reason: str, config: Path, as_json: bool) -> None:
    """Publish again what was published from an event or a time on: every subscriber gets it once more.

    For a subscriber that lost something: give the id of the last event it has. A running broker begins within a
    second or two. Never forward. Who did it and why goes to the log on standard error.

    Examples:  broker bus rewind --to 2026-03-09T08:15 --reason "research lost its disk"
    ·    broker bus rewind --to 01JNX3T7Q2E4V9B6M1K8R5ZC0D.0 --reason "registry restored"
    """
    done, settings = by(who, reason), load_settings(config)
    with open_desk(settings) as desk:
        back = _place(desk.read(), to)
        after = desk.write(partial(cursor.rewind, event=back)).result()
        lag = cursor.lag(desk.read(), after)
    configure_logging()
    log.info("bus rewound", to=to, behind=after.event, events=lag, who=done.who, reason=done.reason)
    if as_json:
        print_json({"event": after.event, "lag": lag})
    else:
        click.echo(f"{lag} events will be published, those after place {after.event}")


def _place(tx: Transaction, to: str) -> int:
    """Place of the event before the first that is to be published again. Raises `ConfigError`."""
    if (number := cursor.number(tx, to)) is not None:
        return number - 1
    try:
        time = datetime.fromisoformat(to)
    except ValueError:
        raise ConfigError(
            "--to is neither an event that the journal has routed nor a time like 2026-03-09T08:15"
        ) from None
    return cursor.before(tx, time if time.tzinfo is not None else time.replace(tzinfo=UTC))
