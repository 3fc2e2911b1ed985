"""`broker schema`: JSON Schemas for editors and for programs that read events."""

from __future__ import annotations

import rich_click as click

from broker import event, settings
from broker.cli.options import print_json
from broker.routing import schema


@click.command("schema")
@click.argument("what", type=click.Choice(["settings", "route", "event"]))
def command(what: str) -> None:
    """Print the JSON Schema of the settings file, of a route file, or of a canonical event.

    Examples:  broker schema route > config/route.schema.json    ·    broker schema event
    """
    makers = {"settings": settings.json_schema, "route": schema.json_schema, "event": event.json_schema}
    print_json(makers[what]())
