"""`broker patients`: who a patient is here, and what merges changed. Each verb is a module of its own."""

from __future__ import annotations

import rich_click as click

from broker.cli import (
    patients_disclosures,
    patients_list,
    patients_merge_status,
    patients_recall,
    patients_release_merge,
    patients_show,
    patients_split,
)


@click.group("patients")
def command() -> None:
    """Who a patient is here, what merges changed, and undoing a wrong one (docs/patients.md).

    A patient's values are `•` and their length; with --phi they are shown, where `tap.allow_phi` allows it, and that
    is audited.
    """


for verb in (
    patients_list,
    patients_disclosures,
    patients_recall,
    patients_show,
    patients_merge_status,
    patients_split,
    patients_release_merge,
):
    command.add_command(verb.command)
