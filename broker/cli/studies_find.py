"""`broker studies find`: what an archive has, by patient, accession number, date or modality, down to instances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.archives import archive_option, retrieving
from broker.cli.issued import owned
from broker.cli.options import (
    config_option,
    format_option,
    load_settings,
    open_journal,
    patients_number,
    print_json,
)
from broker.dicom import attributes as dicom
from broker.dicom import uid, vr
from broker.dicom.attributes import Attributes
from broker.errors import ConfigError
from broker.net.retrieve_scu import Level, RetrieveScu
from broker.runtime.archive_search import STUDY_KEYS, Found, issuers_of, numbers_of, of_patient
from broker.settings import Settings

_SERIES: Attributes = {
    "SeriesInstanceUID": "",
    "Modality": "",
    "SeriesNumber": "",
    "NumberOfSeriesRelatedInstances": "",
}
_INSTANCES: Attributes = {"SOPInstanceUID": "", "SOPClassUID": "", "InstanceNumber": ""}


@click.command("find")
@archive_option
@click.option("--patient", default="", help="Studies of the patient who has, or had, this number here.")
@click.option(
    "--issuer", default="", help="Of --patient: only the number of this issuer, its OID or its name."
)
@click.option("--accession", default="", help="Studies with this accession number.")
@click.option(
    "--date", default="", help="Studies of this day, or of these days: 20260309, 20260301-20260331."
)
@click.option("--modality", default="", help="Studies with a series of this modality.")
@click.option("--study", default="", help="The series of this study.")
@click.option("--series", default="", help="The instances of this series of --study.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=200, show_default=True, help="At most so many answers."
)
@config_option
@format_option
def command(
    archive: str,
    patient: str,
    issuer: str,
    accession: str,
    date: str,
    modality: str,
    study: str,
    series: str,
    limit: int,
    config: Path,
    as_json: bool,
) -> None:
    """Ask an archive what it has: studies, the series of a study, or the instances of a series (C-FIND).

    A patient is looked for under every number that leads to him here, ended ones too; what the archive has under
    another issuer is left out. `-` reads the number from standard input, so that it stands in no shell's history.
    Shows no patient's name or number.

    Examples:  broker studies find --archive pacs --patient -    ·    broker studies find --archive pacs --date 20260309
    ·    broker studies find --archive pacs --study 1.2.840.99.1 --format json
    """
    narrowed = {
        "AccessionNumber": accession,
        "StudyDate": date,
        "ModalitiesInStudy": modality,
    }
    if series and not study:
        raise click.UsageError("--series needs --study")
    if not (study or patient or any(narrowed.values())):
        raise click.UsageError("say what: --patient, --accession, --date, --modality or --study")
    _check(date, study, series)
    settings = load_settings(config)
    with retrieving(settings, archive) as scu:
        keys = {**STUDY_KEYS, **{key: value for key, value in narrowed.items() if value}}
        if series:
            below = {**_INSTANCES, "StudyInstanceUID": study, "SeriesInstanceUID": series}
            found = _asked(scu, "IMAGE", below, limit)
        elif study:
            found = _asked(scu, "SERIES", {**_SERIES, "StudyInstanceUID": study}, limit)
        elif patient:
            found = _of_patient(scu, settings, patients_number(patient), issuer, keys, limit)
        else:
            found = _asked(scu, "STUDY", keys, limit)
    told = [_told(row) for row in found.answers]
    if as_json:
        print_json(_described(found, told))
        return
    for row in told:
        click.echo("  ".join(_shown(row)))
    click.echo(_summary(archive, told, found))


def _check(date: str, *uids: str) -> None:
    """An archive would find nothing under what is none, or everything. Raises `UsageError`."""
    days = date.split("-")
    if date and (len(days) > 2 or not any(days) or any(vr.broken_rule("DA", day) for day in days if day)):
        raise click.UsageError("--date is a day, or a first and a last one: 20260309, 20260301-20260331")
    if any(one and not uid.valid(one) for one in uids):
        raise click.UsageError("--study and --series take a UID: numbers with dots between")


def _asked(scu: RetrieveScu, level: Level, keys: Attributes, limit: int) -> Found:
    answers = scu.find(level, keys, most=limit + 1)
    return Found(answers=tuple(answers[:limit]), whole=len(answers) <= limit)


def _of_patient(
    scu: RetrieveScu, settings: Settings, value: str, issuer: str, keys: Attributes, limit: int
) -> Found:
    tx = open_journal(settings)
    owners = {one.patient for one in owned(settings, tx, value, issuer)}
    if len(owners) != 1:
        several = "several patients here have this number: say whose with --issuer"
        raise ConfigError(several if owners else "no patient here has this number")
    return of_patient(scu, numbers_of(tx, owners.pop()), issuers_of(settings), keys, limit)


def _told(row: Attributes) -> dict[str, str]:
    """What is shown of an answer, of whatever level."""
    shown = {
        "date": dicom.text_of(row, "StudyDate"),
        "modality": _joined(row, "ModalitiesInStudy") or dicom.text_of(row, "Modality"),
        "instances": dicom.text_of(row, "NumberOfStudyRelatedInstances")
        or dicom.text_of(row, "NumberOfSeriesRelatedInstances"),
        "number": dicom.text_of(row, "SeriesNumber") or dicom.text_of(row, "InstanceNumber"),
        "availability": dicom.text_of(row, "InstanceAvailability"),
        "accession": dicom.text_of(row, "AccessionNumber"),
        "class": dicom.text_of(row, "SOPClassUID"),
        "uid": next(
            (
                number
                for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
                if (number := dicom.text_of(row, key))
            ),
            "",
        ),
    }
    return {key: value for key, value in shown.items() if value}


def _shown(row: dict[str, str]) -> Iterator[str]:
    """As on a line: what alone would be a bare number is named."""
    for key, value in row.items():
        yield {"instances": f"{value} instances", "number": f"number {value}"}.get(key, value)


def _joined(row: Attributes, keyword: str) -> str:
    value = row.get(keyword, "")
    return value if isinstance(value, str) else ",".join(one for one in value if isinstance(one, str))


def _described(found: Found, told: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "found": told,
        "numbers_asked": found.numbers,
        "left_out": {"other_issuer": found.others, "issuer_not_named": found.unsure},
        "whole": found.whole,
    }


def _summary(archive: str, told: list[dict[str, str]], found: Found) -> str:
    said = [f"{len(told)} at {archive}"]
    if found.numbers:
        said.append(f"asked under {found.numbers} number{'' if found.numbers == 1 else 's'}")
    if found.others:
        said.append(f"{found.others} of somebody else left out")
    if found.unsure:
        said.append(f"{found.unsure} left out: the number is several patients', and no issuer is named")
    if not found.whole:
        said.append("there are more: narrow it down, or raise --limit")
    return "; ".join(said)
