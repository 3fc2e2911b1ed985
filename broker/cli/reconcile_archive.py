"""`broker reconcile --archive`: what an archive says it has of each study, held against what is here."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import rich_click as click

from broker.cli.archives import asked
from broker.cli.options import journal_of, print_json, progress
from broker.runtime.archive_check import Compared, Lately, compared, lately
from broker.settings import Settings


def run(settings: Settings, archive: str, last: float, as_json: bool) -> None:
    """Compares, shows it, and ends with 1 where something differs. `last` in seconds."""
    since = (datetime.now(UTC) - timedelta(seconds=last)).isoformat()
    with asked(settings, archive) as there:
        with journal_of(settings).snapshot() as tx:
            here = lately(tx, archive, since)
        found = list(compared(here.studies, there, progress("study")))
    differing = [one for one in found if not one.agrees]
    if as_json:
        print_json(
            {
                "archive": archive,
                "compared": len(found),
                "receiving": here.receiving,
                "waiting": sum(one.waiting for one in found),
                "differing": [asdict(one) for one in differing],
            }
        )
    else:
        for one in differing:
            _print(one, archive)
        click.echo(_summary(found, here, archive))
    if differing:
        raise SystemExit(1)


def _print(one: Compared, archive: str) -> None:
    click.echo(f"study {one.study_uid}: {archive} has {one.there} instances")
    for uid in one.missing:
        gone = "; its file was given up here too" if uid in one.lost else ""
        click.echo(f"  missing there  {uid}{gone}")
    for uid in one.unknown:
        click.echo(f"  unknown here   {uid}")
    if len(one.missing) > len(one.lost):
        click.echo(
            f"  → `broker replay {one.study_uid} --destination {archive} --reason …` sends the study again"
        )
    if one.lost:
        click.echo("  → an archive that still has it may send it: `broker studies fetch`")
    if one.unknown:
        click.echo(
            "  → it came there past the broker: ask who sent it, and whether PAS's patient stands in it"
        )


def _summary(found: list[Compared], here: Lately, archive: str) -> str:
    differing = sum(not one.agrees for one in found)
    said = [
        f"{len(found)} studies compared with {archive}",
        f"{differing} differ" if differing else "all of it is there",
    ]
    if waiting := sum(one.waiting for one in found):
        said.append(f"{waiting} instances still wait to be sent")
    if here.receiving:
        said.append(f"{here.receiving} studies go on, and were not compared")
    return "; ".join(said)
