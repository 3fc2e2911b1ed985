"""`broker trace`: every hop of a message, found by what people know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.journal import log, search

KINDS = ("patient", "accession", "control", "study", "instance", "order")


@click.command("trace")
@click.argument("what", default="")
@click.option("--kind", type=click.Choice(KINDS), help="What WHAT is; left out: any of them.")
@click.option("--type", "type_", default="", help="Only this type: ADT^A08, ORM^O01, C-STORE.")
@click.option(
    "--since", default="", help="Only what was received from then on (UTC): 2026-03-09, 2026-03-09T08:15."
)
@click.option("--until", default="", help="Only what was received before then (UTC).")
@click.option("--last", default=20, show_default=True, help="At most so many messages, the newest.")
@config_option
@format_option
def command(
    what: str,
    kind: str | None,
    type_: str,
    since: str,
    until: str,
    last: int,
    config: Path,
    as_json: bool,
) -> None:
    """Show the timeline of messages: received, answered, events, deliveries, every attempt, what people did.

    WHAT is a control id (MSH-10), an accession number, a Study or SOP Instance UID, an order number, a patient's
    id, or a message's own id. Shows no patient data. Give WHAT, a type or a time.

    Examples:  broker trace P000101    ·    broker trace A2026000201 --format json
    ·    broker trace --type ADT^A40 --since 2026-03-09 --last 5
    """
    if not (what or type_ or since or until):
        raise click.UsageError("give WHAT, --type, --since or --until")
    journal = open_journal(load_settings(config))
    numbers = search.find(
        journal, text=what, kind=kind or "", type=type_, since=since, until=until, limit=last
    )
    found = [log.timeline(journal, seq) for seq in numbers]
    if as_json:
        print_json(found)
    else:
        for message in found:
            _print(message)
    if not found:
        click.echo("nothing in the journal fits; `broker status` shows what came in", err=True)
        raise SystemExit(1)


def _print(message: dict[str, Any]) -> None:
    click.echo(
        f"{message['received']}  {message['source']} received {message['type'] or 'bytes'}"
        f" {message['control_id']}: {message['verdict']}, answered {message['answer'] or 'nothing'}"
    )
    if message["reason"]:
        click.echo(f"    why: {message['reason']}")
    if "refused_file" in message:
        kept = message["refused_file"]
        click.echo(
            f"    its bytes: {kept}, in the spool as long as the bodies of the last day on which they came"
            if kept
            else "    its bytes are not kept for it any more: they went with the bodies of its day"
        )
    click.echo(f"    message {message['id']}, site {message['site']}, charset {message['charset'] or '-'}")
    for event in message["events"]:
        click.echo(f"  event {event['type']} (routes {event['routes'] or 'not yet'})")
        for delivery in event["deliveries"]:
            click.echo(
                f"    {delivery['created']}  delivery {delivery['id']} to {delivery['destination']}"
                f" by {delivery['place']}: {delivery['state']} {delivery['detail']}  [{delivery['summary']}]"
            )
            if delivery["replay_of"]:
                click.echo(f"      a replay of delivery {delivery['replay_of']}")
            for line in sorted(_hops(delivery)):
                click.echo(f"      {line}")


def _hops(delivery: dict[str, Any]) -> Iterator[str]:
    """What befell a delivery, each line beginning with when."""
    for attempt in delivery["attempts"]:
        yield f"{attempt['at']}  attempt {attempt['attempt']}: {attempt['outcome']} {attempt['detail']}"
    for done in delivery["interventions"]:
        yield f"{done['at']}  {done['action']} by {done['who']}: {done['reason']}"
    if delivery["finished"]:
        yield f"{delivery['finished']}  {delivery['state']}"
