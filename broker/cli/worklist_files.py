"""`broker worklist import`, `export` and `withdraw`: rows that come and go as files. Commands of `worklist`."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import (
    audited,
    config_option,
    format_option,
    load_settings,
    login,
    open_desk,
    open_journal,
    print_json,
    reason_option,
)
from broker.dicom import part10, uid
from broker.dicom.encode import encode
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN
from broker.dicom_identity import Profile
from broker.errors import ConfigError
from broker.event import OPERATOR
from broker.hl7.demographics import Issuers, read_issuer
from broker.journal import audit
from broker.registers.worklist import SERVED, Reader
from broker.runtime import imports
from broker.settings import Settings
from broker.store.transaction import Transaction

WORKLIST = "1.2.840.10008.5.1.4.31"
CHUNK = 100
"""Rows taken in by one transaction: between them a running broker takes messages."""


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Read the files and say what is wrong; write nothing.")
@reason_option()
@config_option
@format_option
def import_rows(paths: tuple[Path, ...], dry_run: bool, reason: str, config: Path, as_json: bool) -> None:
    """Take in worklist rows from files: `.wl` of Orthanc and wlmscpfs, or DCMTK's text of them (`dump2dcm`).

    Of a folder, all `*.wl` and `*.dump` files in it. Each row goes through the journal and the routes as an order's
    does, and keeps every attribute, private ones too, contact data apart. A row that was imported before is changed.
    Files that cannot be taken are told, the others are taken; ends with 1 if there is one.

    Examples:  broker worklist import /var/lib/orthanc/worklists --reason "moving from Orthanc" --dry-run
    """
    settings = load_settings(config)
    profile = profile_of(settings)
    rows: list[imports.Item] = []
    faults: list[dict[str, str]] = []
    found = imports.files(list(paths))
    for path in found:
        try:
            rows += imports.read(path.read_bytes(), profile)
        except (imports.RowError, OSError) as exc:
            why = exc.strerror or "cannot be read" if isinstance(exc, OSError) else str(exc)
            faults.append({"file": str(path), "reason": why})
    if rows and not dry_run:
        _write(settings, rows, reason, len(found))
    if as_json:
        print_json({"written": not dry_run, "rows": [row.step.key for row in rows], "faults": faults})
    else:
        for fault in faults:
            click.echo(f"{fault['file']}: {fault['reason']}")
        click.echo(f"{len(rows)} rows of {len(found)} files{', not written' if dry_run else ' taken in'}")
    if faults or not found:
        raise SystemExit(1)


def _write(settings: Settings, rows: list[imports.Item], reason: str, files: int) -> None:
    now, site = datetime.now(UTC), settings.broker.site
    audited(settings, "worklist import", reason, {"files": files, "rows": len(rows)})
    with open_desk(settings) as desk:
        for first in range(0, len(rows), CHUNK):
            desk.write(partial(_taken, rows=rows[first : first + CHUNK], site=site, now=now)).result()


def _taken(tx: Transaction, *, rows: list[imports.Item], site: str, now: datetime) -> None:
    for row in rows:
        imports.write(tx, row, site=site, now=now)


@click.command("withdraw")
@click.argument("key")
@reason_option()
@config_option
@format_option
def withdraw_row(key: str, reason: str, config: Path, as_json: bool) -> None:
    """Take an imported row off the lists. KEY is as `broker worklist list --format json` tells it.

    Rows of orders are their orders' to end.

    Examples:  broker worklist withdraw 'import|STO|A901|S1' --reason "done on paper"
    """
    settings, now = load_settings(config), datetime.now(UTC)

    def work(tx: Transaction) -> str:
        message = imports.withdraw(tx, key, site=settings.broker.site, now=now)
        detail = {"message": message}
        audit.note(tx, at=now, who=login(), action="worklist withdraw", reason=reason.strip(), detail=detail)
        return message

    with open_desk(settings) as desk:
        try:
            message = desk.write(work).result()
        except imports.RowError as exc:
            raise ConfigError(str(exc)) from None
    if as_json:
        print_json({"key": key, "message": message})
    else:
        click.echo(f"withdrawn; `broker trace {message}` shows it")


@click.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@reason_option()
@config_option
@format_option
def export_rows(folder: Path, reason: str, config: Path, as_json: bool) -> None:
    """Write the rows that devices are shown into a new or empty FOLDER, one `.wl` file each (wlmscpfs, Orthanc).

    A fallback for the day when no broker answers. The files are patient data: only their owner may read them.

    Examples:  broker worklist export /srv/wl/BROKER --reason "fallback before maintenance"
    """
    settings = load_settings(config)
    journal = open_journal(settings)
    rows = [row for row in Reader(lambda: journal).listed() if row.status in SERVED]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty; rows of another time must not stand beside these")
    audited(settings, "worklist export", reason, {"rows": len(rows)})
    for row in rows:
        name = hashlib.sha256(row.key.encode()).hexdigest()[:16]
        with open(
            folder / f"{name}.wl", "xb", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as file:
            file.write(_file(row.key, encode({**row.attributes, "SpecificCharacterSet": ""})))
    (folder / "lockfile").touch(mode=0o600)
    if as_json:
        print_json({"folder": str(folder), "rows": len(rows)})
    else:
        click.echo(f"{len(rows)} rows in {folder}")


def _file(key: str, dataset: bytes) -> bytes:
    return (
        part10.head(
            sop_class_uid=WORKLIST,
            sop_instance_uid=uid.derive(key),
            transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
            calling_aet="BROKER",
        )
        + dataset
    )


def profile_of(settings: Settings) -> Profile:
    """Whose the ids are: as the first DICOM listener reads them that says an issuer."""
    for setting in settings.inbound:
        options: Any = setting.config
        if hasattr(options, "issuer") and hasattr(options, "national"):
            national = tuple(read_issuer(text) for text in options.national)
            known = (*(read_issuer(text) for text in options.issuers), *national)
            issuers = Issuers(default=read_issuer(options.issuer), known=known)
            return Profile(name=OPERATOR, site=settings.broker.site, issuers=issuers, national=national)
    raise ConfigError(
        "no listener says whose a Patient ID is that names no issuer: an mpps listener has `issuer`"
    )
