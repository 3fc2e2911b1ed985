"""`broker patients split`: undoing a wrong merge by a plan that was looked at. Does nothing that it does not say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli import patients_text
from broker.cli.options import config_option, format_option, load_settings, open_journal, print_json
from broker.cli.patients_decide import decide, people
from broker.cli.patients_merge_status import brief
from broker.errors import ConfigError
from broker.registers import ledger
from broker.registers.changes import Change
from broker.runtime import splitplan
from broker.runtime.splitplan import Plan
from broker.store.transaction import Transaction


@click.command("split")
@click.argument("change")
@click.option("--plan", "planning", is_flag=True, help="Show what would go back to whom, and change nothing.")
@click.option("--apply", "applying", is_flag=True, help="Do what the plan of --plan-id says.")
@click.option("--plan-id", default="", help="The plan that was looked at, as --plan shows it.")
@people
@config_option
@format_option
def command(
    change: str,
    planning: bool,
    applying: bool,
    plan_id: str,
    by: str,
    approved_by: str,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Undo a merge, an id change or a move that was wrong (CHANGE as `merge-status` shows it).

    What came under an identifier goes back with it. No message tells other systems: the plan lists by study what
    people at the PACS must do. A plan is done only while it still is what would be done; doing it twice is harmless.

    Examples:  broker patients split 01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --plan
    ·    broker patients split 01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --apply --plan-id 4f1c09b2a7de --by "Kari Lie"
    --approved-by "Ola Moe" --reason "two persons, case 4711"
    """
    if planning == applying:
        raise click.UsageError("give --plan or --apply")
    settings = load_settings(config)
    if applying:
        decide(settings, "split", change, by, approved_by, reason, as_json, plan_id)
        return
    tx = open_journal(settings)
    planned = splitplan.plan(tx, _change(tx, change))
    if as_json:
        print_json(_planned(planned))
    else:
        patients_text.plan(planned)
    if planned.obstacle:
        raise SystemExit(1)


def _change(tx: Transaction, name: str) -> Change:
    change = ledger.get(tx, name)
    if change is None:
        raise ConfigError(f"there is no change {name}; `broker patients merge-status` lists them")
    return change


def _planned(plan: Plan) -> dict[str, Any]:
    return {
        "plan_id": plan.id,
        **brief(plan.change),
        "obstacle": plan.obstacle,
        "identifiers_back": len(plan.change.leaving),
        "returns": [asdict(item) for item in plan.returns],
        "ambiguous": [asdict(item) for item in plan.ambiguous],
        "work": [asdict(one) for one in plan.work],
        "told": [asdict(one) for one in plan.told],
    }
