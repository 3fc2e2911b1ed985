"""`broker patients release-merge`: letting a held merge happen, or refusing it."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings
from broker.cli.patients_decide import decide, people
from broker.runtime.decisions import Verb


@click.command("release-merge")
@click.argument("change")
@click.option("--refuse", is_flag=True, help="It stays undone: they are two persons.")
@people
@config_option
@format_option
def command(
    change: str, refuse: bool, by: str, approved_by: str, reason: str, config: Path, as_json: bool
) -> None:
    """Let a held merge happen, as its message said, or refuse it (CHANGE as `merge-status` shows it).

    Examples:  broker patients release-merge 01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --by "Kari Lie" --approved-by "Ola Moe"
    --reason "the number was changed by the authorities"    ·    broker patients release-merge
    01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --refuse --by "Kari Lie" --approved-by "Ola Moe" --reason "brothers"
    """
    verb: Verb = "refuse" if refuse else "release"
    decide(load_settings(config), verb, change, by, approved_by, reason, as_json)
