"""`broker doctor`: looks at everything around the broker and says what to do about what it finds."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, print_json, role_option
from broker.doctor import checks
from broker.doctor.finding import Finding
from broker.errors import ConfigError
from broker.runtime.roles import Role


@click.command("doctor")
@config_option
@format_option
@click.option("--deny-warnings", is_flag=True, help="Warnings fail too.")
@role_option("Only the ports that this part of a cluster opens")
def command(config: Path, as_json: bool, deny_warnings: bool, roles: frozenset[Role]) -> None:
    """Look at ports, disk, journal, clock, bus, other nodes, versions, limits, AE titles, destinations; say what to do.

    Beside a running broker, or before its first start. Nothing is changed, and a destination gets no more than a TCP
    connect, a C-ECHO, or a search (QIDO-RS) for a study that nobody has. A destination that does not answer is a
    warning: its deliveries wait. Ends with 1 on a fault.

    Examples:  broker doctor    ·    broker doctor --format json --deny-warnings
    ·    broker doctor --role intake
    """
    findings = _examined(config, roles)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(f.state == "fault" or (deny_warnings and f.state == "warning") for f in findings):
        raise SystemExit(1)


def _examined(config: Path, roles: frozenset[Role]) -> list[Finding]:
    """Without settings that can be read there is nothing else to look at."""
    try:
        settings = load_settings(config)
    except ConfigError as exc:
        return list(checks.unreadable(exc))
    it = checks.Scene(settings=settings, env=os.environ, now=datetime.now().astimezone(), roles=roles)
    return list(checks.examine(it))


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{finding.state:<8} {finding.check}: {finding.found}")
        if finding.do:
            click.echo(f"{'':<8} → {finding.do}")
    counted = {state: sum(f.state == state for f in findings) for state in ("ok", "warning", "fault")}
    click.echo(f"{counted['ok']} ok, {counted['warning']} warnings, {counted['fault']} faults")
