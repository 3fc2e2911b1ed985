"""`broker studies fetch`: has an archive send a study, into a folder (C-GET) or to an AE title (C-MOVE)."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import rich_click as click

from broker.cli.archives import archive_option, retrieving
from broker.cli.options import audited, config_option, format_option, load_settings, print_json
from broker.dicom import status, uid, vr
from broker.dicom.pdu import SubOperations
from broker.errors import ConfigError
from broker.net.retrieve_scu import Entity, Outcome, Watch
from broker.net.retrieved import into


@click.command("fetch")
@click.argument("study_uid", metavar="UID")
@archive_option
@click.option("--series", default="", help="Only this series.")
@click.option("--instance", default="", help="Only this instance of --series.")
@click.option(
    "--into",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Fetch it into this folder, a file for each instance (C-GET).",
)
@click.option(
    "--to", "aet", default="", help="Have it sent to this AE title, which the archive knows (C-MOVE)."
)
@click.option("--reason", required=True, help="Why; kept for ever in the audit.")
@config_option
@format_option
def command(
    study_uid: str,
    archive: str,
    series: str,
    instance: str,
    folder: Path | None,
    aet: str,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Fetch a study from an archive, or have the archive send it elsewhere. Audited: these are a patient's images.

    Objects come as the archive has them. A file has its name once it is whole. What did not arrive is listed, and then
    the command ends with 1; it may simply be run again. Ctrl-C asks the archive to end (C-CANCEL), once more hangs up.

    Examples:  broker studies fetch 1.2.840.99.1 --archive pacs --into /tmp/case --reason "case 4711"
    ·    broker studies fetch 1.2.840.99.1 --archive far --to PACS --reason "prior for tomorrow" --format json
    """
    if (folder is None) == (not aet):
        raise click.UsageError("say where: --into FOLDER, or --to AET")
    if broken := vr.broken_rule("AE", aet) if aet else "":
        raise click.UsageError(f"--to: {broken}")
    if instance and not series:
        raise click.UsageError("--instance needs --series")
    if any(one and not uid.valid(one) for one in (study_uid, series, instance)):
        raise click.UsageError("a UID is dotted numbers, at most 64 characters")
    entity = Entity(study_uid=study_uid, series_uid=series, sop_instance_uid=instance)
    settings = load_settings(config)
    where = str(folder.resolve()) if folder else aet
    with retrieving(settings, archive) as scu, _stopping() as stopping:
        detail = {"archive": archive, "study": study_uid, "level": entity.level, "to": where}
        audited(settings, "studies fetch", reason, detail)
        watch = Watch(progress=_progress, cancelled=stopping.is_set)
        if folder is None:
            done = scu.move(entity, where, watch)
        else:
            _make(folder)
            done = scu.get(entity, folder, into(folder), watch)
    number = done.received if folder else _moved(done)
    if as_json:
        print_json({**asdict(done), "status": f"{done.status:04X}", "to": where, "whole": done.whole})
    else:
        _print(done, number, archive, where)
    if not done.whole or number == 0:
        raise SystemExit(1)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{folder}: {exc.strerror}; choose another folder with --into") from exc


def _moved(done: Outcome) -> int | None:
    """How many arrived, warnings of the receiver too."""
    counts = done.sub_operations
    return None if counts.completed is None else counts.completed + (counts.warning or 0)


def _print(done: Outcome, number: int | None, archive: str, where: str) -> None:
    for one in done.failed:
        click.echo(f"did not arrive: {one}")
    if done.status == status.CANCEL:
        click.echo("cancelled")
    if done.whole and number == 0:
        click.echo(
            f"{archive} has nothing under this UID; `broker studies find --archive {archive}` shows what it has"
        )
        return
    said = "what it has was sent, it does not say how many" if number is None else f"{number} instances"
    failed = done.sub_operations.failed or len(done.failed)
    click.echo(f"{said} from {archive} to {where}{f', {failed} did not arrive' if failed else ''}")


def _progress(counts: SubOperations) -> None:
    if sys.stderr.isatty() and counts.completed is not None:
        of = "" if counts.remaining is None else f" of {counts.completed + counts.remaining}"
        click.echo(f"\r{counts.completed}{of} ", err=True, nl=False)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C; the second one is the usual one."""
    stopping = threading.Event()

    def first(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before)
        click.echo("the archive is asked to end; Ctrl-C once more hangs up", err=True)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
