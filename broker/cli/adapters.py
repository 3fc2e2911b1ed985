"""`broker adapters`: which adapters are installed, without importing any."""

from __future__ import annotations

import rich_click as click

from broker import registry
from broker.cli.options import format_option, print_json


@click.group("adapters")
def command() -> None:
    """Adapters that are installed."""


@command.command("list")
@format_option
def list_adapters(as_json: bool) -> None:
    """List the adapters by direction, with the distribution they come from.

    Examples:  broker adapters list    ·    broker adapters list --format json
    """
    found = [
        {
            "direction": group.removeprefix("broker."),
            "name": name,
            "distribution": point.dist.name if point.dist else "",
            "version": point.dist.version if point.dist else "",
        }
        for group in ("broker.inbound", "broker.outbound")
        for name, point in sorted(registry.installed(group).items())
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        click.echo(f"{row['direction']:<9} {row['name']:<12} {row['distribution']} {row['version']}")
