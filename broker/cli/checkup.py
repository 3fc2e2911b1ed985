"""`broker devices verify` and `broker devices coverage`: whether a device, or all of them, work with this broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import rich_click as click

from broker.adapter import WorklistRow
from broker.cli.options import config_option, format_option, journal_of, load_settings, print_json
from broker.create.device import sheet_of
from broker.create.listing import listed
from broker.device import is_own, stands_for
from broker.journal import devices as journal
from broker.journal.devices import Safe
from broker.net import action_scu, echo_scu
from broker.net.tls import PeerTls
from broker.registers.worklist import Reader
from broker.runtime.archives import archives_of
from broker.runtime.configured import read_files
from broker.runtime.queries import GIVEN
from broker.settings import Settings
from broker.why import checkup
from broker.why.checkup import Line, Listed, Seen
from broker.why.coverage import Covered, covered
from broker.why.device import asking
from broker.why.facts import Device
from broker.why.reading import AskDevice, stations
from broker.why.showable import peers

PATIENCE: Final = 5.0
"""Seconds that a device gets to connect, and to answer."""
MOST: Final = 500
"""Rows that its query is held against."""

days_option = click.option(
    "--days",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="How far back the journal is looked through.",
)


@click.command("verify")
@click.argument("ae")
@click.option("--host", default="", help="Where it answers a C-ECHO; else as `devices` says.")
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port there; else as `devices` says.")
@days_option
@config_option
@format_option
def verify(ae: str, host: str, port: int | None, days: int, config: Path, as_json: bool) -> None:
    """Say what works with a device, and what does not: a line for each check, with what to do next.

    AE is its AE title. Where its address is known it is sent a C-ECHO, and asked whether it would take a report of
    storage commitment; nothing else leaves. What it asked, and what it would be answered now, the running broker is
    asked; what it sent, and what became of that, stands in the journal. Shows no patient data. Ends with 1 where
    something fails; what is not known is no failure.

    Examples:  broker devices verify CT2_STO    ·    broker devices verify DX1_STO --host 10.0.3.7 --format json
    """
    settings = load_settings(config)
    declared = settings.device(ae)
    host, port = (
        host or (declared.host if declared else ""),
        port or (declared.port if declared else 104),
    )
    tls = _tls(settings) if declared is not None and declared.tls else None
    echo = _echo(settings, ae, host, port, tls) if host else None
    reports = _reports(settings, ae, host, port, tls) if host and not echo else None
    since = _since(days)
    with journal_of(settings).snapshot() as tx:
        ask = asking(settings)
        asked, silent = ask(ae, None)
        today = datetime.now(ZoneInfo(settings.broker.time_zone))
        day = today.strftime("%Y%m%d")
        own, ofday = stands_for(declared, ae), Reader(lambda: tx).candidates(dates=(day, day))
        rows = [row for row in ofday if is_own(stations(row.attributes), own)]
        shown = peers(tx, settings, lambda _aet: (), since=since[:10], scan=False)
        seen = Seen(
            ae=ae,
            days=days,
            listed=ae in settings.broker.dicom.peers,
            admitted=settings.open_ae or ae in settings.broker.dicom.peers,
            echo=echo,
            asked=asked,
            silent=silent,
            rows=_matched(ae, rows, asked, ask, today),
            peer=next((one for one in shown if (one.name, one.kind) == (ae, "device")), None),
            sent=tuple(one for one in journal.sent(tx, since) if one.aet == ae),
            performed=journal.performed(tx, ae, since),
            filed=journal.filed(tx, ae, since),
            asked_commitment=journal.asked(tx, ae, since),
            commits=_commits(settings),
            reports=reports,
        )
    lines = checkup.sheet(seen)
    if as_json:
        print_json({"ae": ae, "checks": [asdict(line) for line in lines], "not_tried": checkup.NOT_TRIED})
    else:
        _print(lines)
    if any(line.verdict == "fail" for line in lines):
        raise SystemExit(1)


def _tls(settings: Settings) -> PeerTls:
    """Whom the destination that tells devices trusts, and what it shows them."""
    told = (
        getattr(s.config, "tls", None) for s in settings.outbound if s.entry.adapter == "device-commitment"
    )
    return next(filter(None, told), PeerTls())


def _echo(settings: Settings, ae: str, host: str, port: int, tls: PeerTls | None) -> str:
    ours = settings.broker.dicom.ae_title
    return echo_scu.echo(host, port, called_aet=ae, calling_aet=ours, patience=PATIENCE, tls=tls)


def _reports(settings: Settings, ae: str, host: str, port: int, tls: PeerTls | None) -> str:
    return action_scu.takes_reports(
        action_scu.Place(
            host=host,
            port=port,
            called_aet=ae,
            calling_aet=settings.broker.dicom.ae_title,
            connect_timeout=PATIENCE,
            response_timeout=PATIENCE,
            tls=tls,
        )
    )


def _commits(settings: Settings) -> bool:
    """Whether some archive is asked to commit."""
    return any(one.asked_by for one in archives_of(settings))


def _since(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def _matched(
    ae: str, rows: list[WorklistRow], asked: tuple[Device, ...], ask: AskDevice, today: datetime
) -> Listed:
    """A query of today held against each of today's rows by the broker that remembers it; else all of them match.

    One that names a patient, or of another day, says nothing of the list as a whole.
    """
    broad = next((one for one in asked if _is_broad(one, today)), None)
    if broad is None:
        return Listed(query="a query for its AE title and today", stand=len(rows), matched=len(rows))
    matched, excluding = 0, dict[str, None]()
    for row in rows[:MOST]:
        answers, _ = ask(ae, row.attributes)
        held = next((one for one in answers if one.at == broad.at), None)
        if held is None:  # it has asked many more times meanwhile
            continue
        matched += not held.excluding
        excluding |= dict.fromkeys(str(key["key"]) for key in held.excluding)
    query = f"its query of {checkup.moment(broad.at)}"
    return Listed(query=query, stand=len(rows), matched=matched, excluded_by=tuple(excluding))


def _is_broad(one: Device, today: datetime) -> bool:
    at = datetime.fromisoformat(one.at).astimezone(today.tzinfo)
    return at.date() == today.date() and all(key["wanted"] != GIVEN for key in one.keys)


def _print(lines: list[Line]) -> None:
    for line in lines:
        click.echo(f"{line.verdict:<9}  {line.check:<11}  {line.found}")
        if line.do:
            click.echo(f"{'':<24}→ {line.do}")
    counted = {
        verdict: sum(line.verdict == verdict for line in lines) for verdict in ("pass", "fail", "not known")
    }
    click.echo(", ".join(f"{number} {verdict}" for verdict, number in counted.items()))
    click.echo(f"not tried: {checkup.NOT_TRIED}")


@click.command("coverage")
@days_option
@click.option(
    "--table",
    default="stations",
    show_default=True,
    help="The code table that turns stations into AE titles.",
)
@config_option
@format_option
def coverage(days: int, table: str, config: Path, as_json: bool) -> None:
    """Show of each device whether it gets demographics and a worklist, delivers, notifies the EPJ, and is committed.

    From the last days of the journal; which worklist queries were answered, the running broker remembers. A device that
    performs a step of its list (MPPS) had that list. Committed is told in numbers: of its objects that archives took,
    those that one has committed to.

    Examples:  broker devices coverage    ·    broker devices coverage --days 30 --format json
    """
    settings = load_settings(config)
    since = _since(days)
    with journal_of(settings).snapshot() as tx:
        known = [
            one.ae
            for one in listed(
                sheet_of(settings, read_files(settings), table), settings.broker.dicom.peers, None
            )
        ]
        ours = settings.broker.dicom.ae_title  # notes that were made here come from it (docs/rejections.md)
        sent = [one for one in journal.sent(tx, since) if one.aet != ours]
        titles = dict.fromkeys([*known, *(one.aet for one in sent)])
        answered, silent = _answered(titles, asking(settings))
        found = list(
            covered(
                known,
                sent,
                journal.reached(tx, since),
                journal.told(tx, since),
                answered,
                journal.safe(tx, since) if _commits(settings) else {},
            )
        )
    if as_json:
        print_json([asdict(one) for one in found])
        return
    _print_coverage(found)
    click.echo(f"{len(found)} devices, {days} days{f'; {silent}' if silent else ''}")


def _answered(titles: Mapping[str, Any], ask: AskDevice) -> tuple[frozenset[str], str]:
    """Those whose last queries brought rows; or why that is not known."""
    found = set()
    for ae in titles:
        asked, silent = ask(ae, None)
        if silent:
            return frozenset(), "which worklist queries were answered is not known: no broker answers"
        if any(one.answers for one in asked):
            found.add(ae)
    return frozenset(found), ""


def _print_coverage(found: list[Covered]) -> None:
    columns: dict[str, Callable[[Covered], str]] = {
        "device": lambda one: one.ae,
        "demographics": lambda one: _tick(one.demographics),
        "worklist": lambda one: _tick(one.worklist),
        "delivers": lambda one: _tick(one.delivers),
        "notifies EPJ": lambda one: ", ".join(one.notifies) or "no",
        "committed": lambda one: _number(one.committed),
    }
    table = [list(columns), *([cell(one) for cell in columns.values()] for one in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        click.echo("  ".join(map(str.ljust, cells, widths)).rstrip())


def _tick(value: bool) -> str:
    return "yes" if value else "no"


def _number(safe: Safe | None) -> str:
    return "-" if safe is None else f"{safe.committed} of {safe.stored}"
