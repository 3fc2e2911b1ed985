"""`broker devices`: the devices that the configuration knows, their lists, whether they work, and adding one."""

from __future__ import annotations

import difflib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import rich_click as click

from broker.cli import charsets, checkup, profiles
from broker.cli.options import (
    config_option,
    format_option,
    load_settings,
    open_journal,
    print_json,
    write_new,
)
from broker.create import device
from broker.create.listing import Listed, listed
from broker.errors import ConfigError
from broker.registers.worklist import Reader
from broker.runtime.configured import read_files, shown
from broker.settings import Settings

table_option = click.option(
    "--table",
    default="stations",
    show_default=True,
    help="The code table that turns stations into AE titles.",
)


@click.group("devices")
def command() -> None:
    """Devices by AE title: their station codes, whether they may call, and the rows on their worklists."""


command.add_command(charsets.command)
command.add_command(checkup.verify)
command.add_command(checkup.coverage)
command.add_command(profiles.command)


@command.command("list")
@table_option
@config_option
@format_option
def list_devices(table: str, config: Path, as_json: bool) -> None:
    """List every AE title that the station table, `dicom.peers` or a worklist names, and what is missing of it.

    Examples:  broker devices list    ·    broker devices list --format json
    """
    settings = load_settings(config)
    sheet = device.sheet_of(settings, read_files(settings), table)
    rows, why = _on_worklists(settings)
    found = listed(sheet, settings.broker.dicom.peers, rows)
    if as_json:
        print_json([one.told() for one in found])
        return
    table_rows = [_cells(one) for one in found]
    widths = [max(map(len, column)) for column in zip(*table_rows, strict=True)]
    for cells in table_rows:
        click.echo("  ".join(map(str.ljust, cells, widths)).rstrip())
    click.echo(f"{len(found)} devices{why}")


def _cells(one: Listed) -> list[str]:
    about = ", ".join(text for text in (one.name, one.location) if text)
    rows = "" if one.rows is None else f"{one.rows} rows"
    said = f"!  {'; '.join(one.missing)}" if one.missing else ""
    return [one.ae, one.modality, "|".join(one.stations), rows, about, said]


def _on_worklists(settings: Settings) -> tuple[dict[str, int] | None, str]:
    """Rows by AE title, or why nobody knows."""
    try:
        journal = open_journal(settings)
    except ConfigError:
        return None, "; what stands on their worklists is not known: there is no journal yet"
    found: dict[str, int] = {}
    for row in Reader(lambda: journal).listed():
        for step in row.attributes["ScheduledProcedureStepSequence"]:
            titles = step.get("ScheduledStationAETitle", ())
            for title in (titles,) if isinstance(titles, str) else titles:
                if title:
                    found[title] = found.get(title, 0) + 1
    return found, ""


@command.command("create")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(get_args(device.Kind)),
    default="modality",
    show_default=True,
    help="A modality has a worklist and sends images; a sender only sends images.",
)
@click.option("--ae", required=True, help="Its AE title.")
@click.option("--station", default="", help="The code by which orders name it, or its room.")
@click.option("--modality", default="", help="CT, MR, US … (PS3.3 C.7.3.1.1.1).")
@click.option("--location", default="", help="Where it stands, for people.")
@click.option("--dry-run", is_flag=True, help="Show what would change, as `diff -u` does; write nothing.")
@table_option
@config_option
@format_option
def create(
    name: str,
    kind: device.Kind,
    ae: str,
    station: str,
    modality: str,
    location: str,
    dry_run: bool,
    table: str,
    config: Path,
    as_json: bool,
) -> None:
    """Add a device: its station row, its AE title among the peers, and a test that shows its row on its worklist.

    Lines are put into the files, everything else stays as it is. Where no route shows such rows, one is written.

    Examples:  broker devices create "CT 3" --ae CT3_STO --station CT-LAB3 --modality CT --dry-run
    """
    settings = load_settings(config)
    wanted = device.Device(name=name, kind=kind, ae=ae, station=station, modality=modality, location=location)
    plan = device.plan(settings, os.environ, wanted, lambda: datetime.now(UTC), table)
    before = {path: path.read_text(encoding="utf-8") if path.is_file() else "" for path in plan.files}
    if not dry_run:
        write_new(plan.files)
    if as_json:
        changed = [
            {"file": shown(path), "diff": _difference(path, before[path], text)}
            for path, text in plan.files.items()
        ]
        print_json({"written": not dry_run, "files": changed, "notes": list(plan.notes)})
        return
    for path, text in plan.files.items():
        if dry_run:
            click.echo("\n".join(_difference(path, before[path], text)))
        else:
            click.echo(f"{'changed' if before[path] else 'wrote'} {shown(path)}")
    for note in plan.notes:
        click.echo(note)
    if not dry_run:
        click.echo(
            "next: broker check, broker test, broker apply; the AE title counts from the next start of the broker"
        )


def _difference(path: Path, before: str, after: str) -> list[str]:
    name = shown(path)
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), name if before else "/dev/null", name, lineterm=""
    )
    return list(lines)
