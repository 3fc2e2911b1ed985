"""`broker apply`: the folder's routes and tables become the live ones, on all nodes at once, or nothing changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import (
    config_option,
    format_option,
    load_settings,
    messages_of,
    open_desk,
    print_json,
    who_option,
)
from broker.delivery.parked import By
from broker.doctor.look import broker_on
from broker.plan.proposal import short
from broker.plan.report import summary
from broker.routing.testing import TestResult
from broker.runtime import nodes, routesets
from broker.runtime.applying import Applied, Expected, apply
from broker.runtime.configured import Configured, configure
from broker.runtime.inforce import MUST_AGREE
from broker.runtime.trial import Trial
from broker.settings import Settings
from broker.store.database import Database


@click.command("apply")
@click.option("--check-only", is_flag=True, help="Do all of it but the last step: nothing goes live.")
@click.option("--no-tests", is_flag=True, help="Do not run the tests that stand in the route files.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that nodes get to answer.",
)
@click.option("--reason", default="", help="Why; kept for ever beside the set.")
@who_option
@config_option
@format_option
def command(
    check_only: bool, no_tests: bool, timeout: float, reason: str, who: str, config: Path, as_json: bool
) -> None:
    """Make the routes and tables of the folder the live ones (docs/applying.md).

    They are checked and their tests run; what differs is shown, with the deliveries that wait and are touched (`broker
    plan` shows more); every node that routes or delivers loads them beforehand; then all switch
    between two events, in one transaction. On any fault nothing changes: exit code 2 where the files cannot be used,
    1 where a test fails, a node cannot load them, or does not answer in time.

    Examples:  broker apply --reason "CT3 is new"    ·    broker apply --check-only
    """
    settings = load_settings(config)
    configured = configure(settings, os.environ)
    trial = Trial(configured=configured, clock=lambda: datetime.now(UTC), journal=messages_of(settings))
    results = [] if no_tests else trial.results()
    failed = [result for result in results if not result.passed]
    if failed:
        _tell_failed(results, failed, as_json)
        raise SystemExit(1)
    by = By(who=who, at=datetime.now(UTC).isoformat(), reason=reason.strip())
    put_live(configured, "folder", by, timeout, check_only, as_json, tests=len(results))


def put_live(
    configured: Configured,
    name: str,
    by: By,
    timeout: float,
    check_only: bool,
    as_json: bool,
    *,
    tests: int = 0,
) -> None:
    """What `apply` and `routes rollback` share. Ends with 1 where nothing went live that should have.

    `name`: what the set is called in the plan, which is shown first.
    """
    settings, files, version = configured.settings, configured.files, configured.routes.version
    with open_desk(settings) as desk:
        live = routesets.live(desk.read())
        same = live is not None and live.files.texts() == files.texts()
        plan = None if live is None or same else short(desk.read(), live, configured, name)[0]
        if plan is not None and not as_json:
            for line in summary(plan):
                click.echo(line)
        if live is not None and same:
            found = Applied(number=live.number)
        else:
            found = apply(
                desk, files, version, by, _expected(settings, desk), seconds=timeout, rehearsal=check_only
            )
    if as_json:
        told: dict[str, Any] = {
            "live": found.number,
            "was": live.number if live is not None else 0,
            "tests": tests,
            "plan": plan.described() if plan is not None else None,
        }
        print_json({**told, **{name: value for name, value in asdict(found).items() if name != "number"}})
    else:
        _tell(found, same, tests, timeout)
    if not found.agreed:
        raise SystemExit(1)


def _expected(settings: Settings, desk: Database) -> Expected:
    """The nodes that go by routes. An embedded broker is the only one, and is there while it holds its data folder."""
    if desk.shared:
        return lambda tx: nodes.living(tx, MUST_AGREE)
    return lambda _tx: [settings.node] if broker_on(settings.data_folder) is not None else []


def _tell(found: Applied, same: bool, tests: int, timeout: float) -> None:
    if tests:
        click.echo(f"{tests} tests passed")
    for answer in found.loaded:
        click.echo(f"{answer.node}: loaded, version {answer.version}")
    for answer in found.refused:
        click.echo(f"{answer.node}: cannot load them: {answer.fault}")
    late = f"did not answer within {timeout:g} s; `broker status` shows whether it lives"
    for node in found.silent:
        click.echo(f"{node}: {'had not answered yet' if found.refused else late}")
    if same:
        click.echo(f"routes v{found.number} live already: nothing to change")
    elif found.number:
        click.echo(f"routes v{found.number} live")
    else:
        click.echo(
            "nothing was changed" + ("; without --check-only they would go live" if found.agreed else "")
        )


def _tell_failed(results: Sequence[TestResult], failed: Sequence[TestResult], as_json: bool) -> None:
    if as_json:
        print_json({"live": 0, "tests": len(results), "failed": [asdict(result) for result in failed]})
        return
    for result in failed:
        click.echo(f"FAIL {result.route}: {result.name}")
        for difference in result.differences:
            click.echo(f"     {result.place}: {difference}")
    click.echo(f"{len(failed)} of {len(results)} tests failed: nothing was changed")
