"""`broker studies ask`: has an archive asked to commit to what it took and has not committed to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import rich_click as click

from broker.cli.options import (
    DURATION,
    audited,
    config_option,
    format_option,
    load_settings,
    open_desk,
    open_journal,
    print_json,
    reason_option,
)
from broker.errors import ConfigError, did_you_mean
from broker.runtime import asking
from broker.runtime.archives import archives_of
from broker.settings import Settings

CHUNK = 100
"""Studies in one transaction: between them a running broker takes messages."""


@click.command("ask")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--archive", required=True, help="Whose word is wanted: a destination of `outbound`.")
@click.option(
    "--since",
    type=DURATION,
    default="30d",
    show_default=True,
    help="Without STUDY: of which something came so lately.",
)
@click.option("--dry-run", is_flag=True, help="Show what it would be asked for; ask nothing.")
@reason_option()
@config_option
@format_option
def command(
    studies: tuple[str, ...],
    archive: str,
    since: float,
    dry_run: bool,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Have an archive asked to commit to what it took and has not committed to (docs/commitment.md).

    For studies that were stored before anybody asked it, and for what it refused and has by now. STUDY is a Study
    Instance UID; without one all that are complete are looked at. What it owes already is asked for by itself. Routes
    make the requests, one a study; nothing is sent again. Ends with 1 where it owes nothing of the STUDY named.

    Examples:  broker studies ask --archive pacs --since 90d --reason "commitment is switched on" --dry-run
    ·    broker studies ask 1.2.840.99.1 --archive pacs --reason "its disk is mended" --format json
    """
    settings, now = load_settings(config), datetime.now(UTC)
    _check(settings, archive)
    begin = (now - timedelta(seconds=since)).isoformat()
    wanted = asking.uncommitted(open_journal(settings), archive, begin, studies)
    if wanted and not dry_run:
        numbers = {"archive": archive, "studies": len(wanted)}
        audited(settings, "studies ask", reason, numbers)
        with open_desk(settings) as desk:
            for first in range(0, len(wanted), CHUNK):
                part, site = wanted[first : first + CHUNK], settings.broker.site
                desk.write(partial(asking.ask, wanted=part, site=site, now=now)).result()
    if as_json:
        found = [{"study": one.study_uid, "instances": len(one.instances)} for one in wanted]
        print_json({"archive": archive, "asked": not dry_run, "studies": found})
    else:
        for one in wanted:
            click.echo(f"{one.study_uid}  {len(one.instances)} instances")
        said = (
            "would be asked for" if dry_run else "are asked for; `broker studies show STUDY` tells the answer"
        )
        click.echo(f"{len(wanted)} studies {said}" if wanted else f"{archive} owes nothing of these studies")
    if studies and not wanted:
        raise SystemExit(1)


def _check(settings: Settings, archive: str) -> None:
    """Raises `ConfigError` unless somebody asks the archive to commit."""
    asked = {one.name: one.asked_by for one in archives_of(settings)}
    if archive not in asked:
        hint = did_you_mean(archive, asked) or f"These are: {', '.join(asked) or 'none'}."
        raise ConfigError(f"no archive is called '{archive}'. {hint}")
    if not asked[archive]:
        raise ConfigError(
            f"nobody asks {archive} to commit: add a destination `adapter: archive-commitment` with"
            f" `archive: {archive}`, and a route to it (docs/commitment.md)"
        )
