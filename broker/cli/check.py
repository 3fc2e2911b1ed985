"""`broker check`: settings, tables and routes as a compiler would read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings
from broker.errors import ConfigError, Fault
from broker.routing import check
from broker.runtime.offline import configure


@click.command("check")
@config_option
@format_option
@click.option("--deny-warnings", is_flag=True, help="Warnings fail too.")
def command(config: Path, as_json: bool, deny_warnings: bool) -> None:
    """Read settings, tables and routes; say what is wrong, and where. Nothing is opened or sent.

    Examples:  broker check    ·    broker check --format json --deny-warnings
    """
    faults: list[Fault] = []
    routes = 0
    try:
        configured = configure(load_settings(config), os.environ)
    except ConfigError as exc:
        if not exc.faults:
            raise
        faults = list(exc.faults)
    else:
        routes = len(configured.routes.routes)
        faults = check.lint(configured.routes)
    errors = sum(fault.severity == "error" for fault in faults)
    if as_json:
        click.echo(check.faults_json(faults))
    elif faults:
        click.echo(check.render_faults(faults, _sources(faults)))
    if not as_json:
        warnings = len(faults) - errors
        said = f"{errors} errors, {warnings} warnings"
        click.echo(said if errors else f"{routes} routes, {said}: ready for `broker test`")
    if errors or (deny_warnings and faults):
        raise SystemExit(1)


def _sources(faults: Iterable[Fault]) -> dict[str, str]:
    """The text of the files that faults stand in, for the line and the caret."""
    found = {}
    for name in {fault.file for fault in faults}:
        path = Path(name)
        if path.is_file():
            found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found
