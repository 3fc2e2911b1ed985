"""`broker graph`: what the configuration connects, and what waits there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import rich_click as click

from broker.cli.options import config_option, load_settings, open_journal, print_json
from broker.graph.model import Graph, Live, graph
from broker.graph.svg import svg
from broker.graph.text import dot, mermaid
from broker.runtime.configured import configure
from broker.runtime.figures import status
from broker.runtime.inforce import live_configured

DRAWN: Final[Mapping[str, Callable[[Graph], str]]] = MappingProxyType(
    {"mermaid": mermaid, "dot": dot, "svg": svg}
)


@click.command("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice([*DRAWN, "json"]),
    default="mermaid",
    show_default=True,
    help="Mermaid for a page, Graphviz's DOT, a picture, or JSON for programs.",
)
@click.option(
    "--live",
    is_flag=True,
    help="The routes that are live, with what was received, and what waits where and how long, from the journal.",
)
@config_option
def command(form: str, live: bool, config: Path) -> None:
    """Draw listeners, events, routes and destinations as the folder connects them. Shows no patient data.

    What is switched off is dashed; with --live a box where something waits has a thick line.

    Examples:  broker graph > graph.mmd    ·    broker graph --format svg --live > graph.svg
    """
    settings = load_settings(config)
    if live:
        tx = open_journal(settings)
        now = Live(status=status(tx), now=datetime.now(UTC))
        made = graph(live_configured(settings, os.environ, tx), now)
    else:
        made = graph(configure(settings, os.environ))
    if form == "json":
        print_json(made.described())
    else:
        click.echo(DRAWN[form](made), nl=False)
