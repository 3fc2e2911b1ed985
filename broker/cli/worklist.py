"""`broker worklist`: the rows that modalities see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli import worklist_files
from broker.cli.options import audited, config_option, format_option, load_settings, open_journal, print_json
from broker.registers.worklist import Reader


@click.group("worklist")
def command() -> None:
    """Rows that modalities see."""


@command.command("list")
@click.option("--ae", help="Only rows of this station AE title.")
@click.option("--date", help="Only rows that start on this day, YYYYMMDD.")
@click.option("--all", "everything", is_flag=True, help="Also rows that are done, cancelled or expired.")
@click.option("--names", is_flag=True, help="Show patients' names and ids, not only accession numbers.")
@config_option
@format_option
def list_rows(
    ae: str | None, date: str | None, everything: bool, names: bool, config: Path, as_json: bool
) -> None:
    """List the rows, the earliest first; a HELD one, which no device is shown, with what it lacks.

    Patients' names and ids are shown only with --names, which is audited.

    Examples:  broker worklist list --ae CT1_STO    ·    broker worklist list --all --format json
    """
    reader, settings = Reader(lambda: journal), load_settings(config)
    journal = open_journal(settings)
    if names:
        audited(settings, "names shown", "", {"worklist": ae or "every"})
    rows = [
        _row(row.key, row.status, row.attributes, names) | {"held": row.held}
        for row in reader.listed(everything=everything)
    ]
    rows = [r for r in rows if (ae is None or ae in r["stations"]) and (date is None or r["date"] == date)]
    rows.sort(key=lambda row: (row["date"], row["time"]))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        who = f"  {row['patient_id']} {row['patient_name']}" if names else ""
        click.echo(
            f"{row['date']} {row['time'][:4]}  {row['modality']:<4} {','.join(row['stations']):<24}"
            f" {row['accession']:<16} {row['status']}{who}" + (f"  {row['held']}" if row["held"] else "")
        )
    click.echo(f"{len(rows)} rows")


for _one in (worklist_files.import_rows, worklist_files.export_rows, worklist_files.withdraw_row):
    command.add_command(_one)


def _row(key: str, status: str, attributes: Any, names: bool) -> dict[str, Any]:
    step = attributes["ScheduledProcedureStepSequence"][0]
    stations = step.get("ScheduledStationAETitle", ())
    row = {
        "key": key,
        "status": status,
        "date": step.get("ScheduledProcedureStepStartDate", ""),
        "time": step.get("ScheduledProcedureStepStartTime", ""),
        "modality": step.get("Modality", ""),
        "stations": [stations] if isinstance(stations, str) else list(stations),
        "accession": attributes.get("AccessionNumber", ""),
        "study": attributes.get("StudyInstanceUID", ""),
    }
    if names:
        row |= {
            "patient_id": attributes.get("PatientID", ""),
            "patient_name": attributes.get("PatientName", ""),
        }
    return row
