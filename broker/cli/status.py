"""`broker status`: what came in, what waits and why, and what a person must look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.runtime.figures import status


@click.command("status")
@config_option
@format_option
def command(config: Path, as_json: bool) -> None:
    """Show what came in, what waits and why, what a person must look at, and which routes are live.

    Shows no patient data. Where nodes share a journal, each is listed with its roles and the routes by which it goes.

    Examples:  broker status    ·    broker status --format json
    """
    found = status(open_journal(load_settings(config)))
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    click.echo("received")
    for row in found["received"]:
        click.echo(f"  {row['source']:<12} {row['verdict']:<10} {row['messages']}")
    if found["events_waiting"]:
        click.echo(f"  {found['events_waiting']} events wait to be routed")
    click.echo("destinations")
    for row in found["destinations"]:
        click.echo(
            f"  {row['destination']:<12} {row['delivered']} delivered, {row['queued']} queued,"
            f" {row['parked']} parked, {row['held']} held, {row['dropped']} dropped,"
            f" {row['withheld']} withheld"
        )
        if row["lossy"]:
            click.echo(f"    {row['lossy']} with other letters than the text has (`broker devices charset`)")
        if row["queued"]:
            click.echo(f"    the oldest waits since {row['oldest']}")
        if failing := row["failing"]:
            number, times = failing["delivery"], failing["attempts"]
            click.echo(f"    delivery {number} failed {times} times, is tried again: {failing['detail']}")
    said = found["studies"]
    click.echo(f"studies: {said['receiving']} go on, {said['requests']} requests for commitment wait")
    if routes := found["routes"]:
        click.echo(f"routes v{routes['number']} live since {routes['at']}")
    for node in found["nodes"]:
        click.echo(f"  {node['node']}  {_node(node, found['routes'])}")
    click.echo(f"exceptions: {len(found['exceptions'])}")
    for entry in found["exceptions"]:
        click.echo(f"  {entry['kind']:<22} {entry['subject']}  {entry['reason']}")
        trace = f"; `broker trace {entry['message']}`" if entry["message"] else ""
        click.echo(f"    since {entry['since']}{trace}")


def _node(node: dict[str, Any], live: dict[str, Any] | None) -> str:
    """What a node is and does, and what is not as it should be."""
    said = [f"{', '.join(node['roles'])}{' (leads)' if node['leads'] else ''}, {node['software']}"]
    said.append(f"routes v{node['routes']}" if node["routes"] else "no routes")
    if not node["living"]:
        said.append(f"not seen for {node['seen']:.0f} s")
    elif node["fault"]:
        said.append(f"cannot use the live ones: {node['fault']}")
    elif live is not None and node["version"] != live["version"] and node["routes"] == live["number"]:
        said.append("its environment gives the routes other values")
    return "; ".join(said)
