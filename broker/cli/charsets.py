"""`broker devices charset`: which character sets each peer declares, what they cannot show, and what it got of late."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import rich_click as click

from broker.cli.options import audited, config_option, format_option, journal_of, load_settings, print_json
from broker.errors import ConfigError
from broker.why.device import asking
from broker.why.showable import Peer, names, peers

DAYS: Final = 7
"""Back so far it is counted what destinations got."""


@click.command("charset")
@click.argument("peer", default="")
@click.option(
    "--scan", is_flag=True, help="Also look through every patient of the register: it takes its time."
)
@click.option(
    "--names", "shown", is_flag=True, help="List the names; needs `tap: allow_phi`, PEER and --reason."
)
@click.option("--reason", default="", help="Why names are shown; kept for ever in the audit.")
@config_option
@format_option
def command(peer: str, scan: bool, shown: bool, reason: str, config: Path, as_json: bool) -> None:
    """Show, for each device and destination, its character sets, and how much it cannot show in them.

    PEER is an AE title or the name of a destination; without it, all of them. Rows are those on its worklist now;
    `--scan` counts the names of the whole patient register. What a device asked with, and was shown, the running broker
    remembers; what a destination got is counted by the day. Values are shown with --names only, which is audited.

    Examples:  broker devices charset    ·    broker devices charset DX1_STO --scan --format json
    """
    settings = load_settings(config)
    if shown and not (peer and reason.strip()):
        raise click.UsageError("--names needs PEER and --reason")
    database = journal_of(settings)
    since = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
    ask = asking(settings)
    with database.snapshot() as tx:
        found = peers(tx, settings, lambda aet: ask(aet, None)[0], since=since, scan=scan)
        chosen = [one for one in found if peer in ("", one.name)]
        if not chosen:
            raise ConfigError(
                f"{peer}: no device and no destination with character sets is called so; see `broker devices charset`"
            )
        unshown: list[str] = []
        if shown:
            allowed = settings.broker.tap.allow_phi
            audited(
                settings,
                f"charset names{'' if allowed else ' refused'}",
                reason,
                {"peer": peer, "scan": scan},
            )
            if not allowed:
                raise ConfigError(
                    "tap.allow_phi is off: names are not shown; without --names they are counted"
                )
            unshown = names(tx, chosen[0], scan=scan)
    told = [{key: value for key, value in asdict(one).items() if key != "codecs"} for one in chosen]
    if as_json:
        print_json([{**one, "names": unshown} for one in told] if shown else told)
        return
    for one in chosen:
        click.echo(_line(one))
    for name in unshown:
        click.echo(f"  {name}")


def _line(one: Peer) -> str:
    sets = ", ".join(one.charsets) if one.charsets else "as it comes"
    said = [f"{one.name:<16} {one.kind:<12} {sets}{'' if one.declared else ' (by default)'}"]
    if one.rows is not None:
        said.append(f"{one.rows_unshown} of {one.rows} rows cannot be shown whole")
    if one.patients is not None:
        said.append(f"{one.patients_unshown} of {one.patients} patients neither")
    if one.asked:
        said.append(f"asked with {', '.join(term or 'no set' for term in one.asked)}")
    if one.lossy:
        said.append(f"{one.lossy} lossy {'answers' if one.kind == 'device' else f'in {DAYS} days'}")
    return "; ".join(said)
