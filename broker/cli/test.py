"""`broker test`: runs the tests that stand in the route files, through everything but the sending."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.runtime.offline import configure, tested


@click.command("test")
@config_option
@format_option
def command(config: Path, as_json: bool) -> None:
    """Run the tests that stand in the route files. Each starts with empty registers; nothing is sent.

    Examples:  broker test    ·    broker test --format json
    """
    configured = configure(load_settings(config), os.environ)
    results = tested(configured, lambda: datetime.now(UTC))
    failed = [result for result in results if not result.passed]
    if as_json:
        print_json([{**asdict(result), "passed": result.passed} for result in results])
    else:
        for result in results:
            click.echo(f"{'ok  ' if result.passed else 'FAIL'} {result.route}: {result.name}")
            for difference in result.differences:
                click.echo(f"     {result.place}: {difference}")
        off = sum(not route.enabled for route in configured.routes.routes)
        note = f", {off} routes are not enabled" if off else ""
        click.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed{note}")
    if failed:
        raise SystemExit(1)
