"""`broker trace`: every hop of a message, found by what people know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.journal import log


@click.command("trace")
@click.argument("what")
@click.option("--last", default=20, show_default=True, help="At most so many messages, the newest.")
@config_option
@format_option
def command(what: str, last: int, config: Path, as_json: bool) -> None:
    """Show the timeline of messages: received, answered, events, deliveries, every attempt.

    WHAT is a control id (MSH-10), an accession number, a Study or SOP Instance UID, an order number, or a
    message's own id. Shows no patient data.

    Examples:  broker trace P000101    ·    broker trace A2026000201 --format json
    """
    journal = open_journal(load_settings(config))
    found = [log.timeline(journal, seq) for seq in log.find(journal, what)[-last:]]
    if as_json:
        print_json(found)
    else:
        for message in found:
            _print(message)
    if not found:
        click.echo("nothing in the journal has this id; `broker status` shows what came in", err=True)
        raise SystemExit(1)


def _print(message: dict[str, Any]) -> None:
    click.echo(
        f"{message['received']}  {message['source']} received {message['type'] or 'bytes'}"
        f" {message['control_id']}: {message['verdict']}, answered {message['answer'] or 'nothing'}"
    )
    if message["reason"]:
        click.echo(f"    why: {message['reason']}")
    click.echo(f"    message {message['id']}, site {message['site']}, charset {message['charset'] or '-'}")
    for event in message["events"]:
        click.echo(f"  event {event['type']} (routes {event['routes'] or 'not yet'})")
        for delivery in event["deliveries"]:
            click.echo(
                f"    {delivery['created']}  {delivery['destination']} by {delivery['place']}: {delivery['state']}"
                f" {delivery['detail']}  [{delivery['summary']}]"
            )
            for attempt in delivery["attempts"]:
                click.echo(
                    f"      {attempt['at']}  attempt {attempt['attempt']}: {attempt['outcome']} {attempt['detail']}"
                )
