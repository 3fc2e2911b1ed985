"""What two people decide of a merge, written down; a running broker does it. Does not judge whether it may be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import rich_click as click

from broker.cli.options import login, open_desk, print_json
from broker.runtime import decisions
from broker.runtime.decisions import Verb
from broker.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def people(function: F) -> F:
    """`--by`, `--approved-by` and `--reason`: two people, and why."""
    for option in (
        click.option("--reason", default="", help="Why; kept for ever in the audit."),
        click.option("--approved-by", default="", help="Who approved it: somebody else."),
        click.option("--by", default="", help="Who decided it."),
    ):
        function = option(function)
    return function


def decide(
    settings: Settings,
    verb: Verb,
    change: str,
    by: str,
    approved_by: str,
    reason: str,
    as_json: bool,
    plan_id: str = "",
) -> None:
    with open_desk(settings) as desk:
        message = decisions.decide(
            desk,
            verb,
            change,
            by=by,
            approved_by=approved_by,
            reason=reason,
            now=datetime.now(UTC),
            who=login(),
            plan_id=plan_id,
        )
    if as_json:
        print_json({"change": change, "decision": verb, "message": message or None, "new": bool(message)})
    elif message:
        click.echo(f"{verb}: message {message}; a running broker does it within a second (merge-status)")
    else:
        click.echo(f"{verb}: that was decided already; nothing was written")
