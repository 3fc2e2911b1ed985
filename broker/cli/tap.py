"""`broker tap`: a live look at what passes. Data on standard output, everything else on standard error."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final

import rich_click as click

from broker.adapter import Verdict
from broker.cli.options import (
    DURATION,
    audited,
    config_option,
    format_option,
    journal_of,
    load_settings,
    patients_number,
)
from broker.errors import ConfigError, StoreError, did_you_mean
from broker.event import EVENT_TYPES
from broker.hl7.er7 import parse_path
from broker.routing.expression import Expression, Scope, compile_condition
from broker.routing.syntax import ExpressionError
from broker.routing.tables import read_table
from broker.runtime import routesets
from broker.settings import Settings
from broker.store.transaction import Transaction
from broker.tap.choice import OUTCOMES, STREAMS, Choice, HashedPatient, Stream
from broker.tap.follow import Follow
from broker.tap.session import Session, Summary
from broker.tap.show import Show
from broker.view import catalogue

_TYPE: Final = re.compile(r"[A-Z*?][A-Z0-9*?^-]{0,9}")
_WHY: Final = {
    "stopped": "stopped",
    "quota": "as many as were asked for",
    "time": "as long as was asked for",
    "closed": "nobody reads any more",
    "unwritable": "the output failed",
}


class _SampleType(click.ParamType[int]):
    """`1/100`, as 100."""

    name = "1/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"1/([1-9][0-9]{0,6})", value)
        if match is None:
            self.fail("must be written 1/100", param, ctx)
        return int(match[1])


@click.command("tap")
@click.argument("streams", nargs=-1, type=click.Choice(STREAMS), metavar="[received|events|deliveries]...")
@click.option("--source", multiple=True, help="Only messages of this listener, and what came of them.")
@click.option("--type", "type_", multiple=True, help="Only this type, or pattern: ADT^A08, 'ADT^*'.")
@click.option("--event", multiple=True, help="Only this event, or pattern: patient.merged, 'patient.*'.")
@click.option(
    "--verdict",
    multiple=True,
    type=click.Choice([v.value for v in Verdict]),
    help="Only messages that were judged so.",
)
@click.option("--route", multiple=True, help="Only deliveries of this route.")
@click.option("--destination", multiple=True, help="Only deliveries to this destination.")
@click.option("--outcome", multiple=True, type=click.Choice(OUTCOMES), help="Only deliveries that end so.")
@click.option(
    "--where",
    help="Only where this is true of an event: a route's expression, over what the event itself says.",
)
@click.option("--patient", help="Only what names this patient's number; `-` reads it from standard input.")
@click.option("--since", type=DURATION, help="Begin so long ago: 5m, 2h.")
@click.option(
    "--last", type=click.IntRange(min=1), default=None, help="Begin with the last so many that fit."
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many.")
@click.option("--for", "seconds", type=DURATION, help="End after so long: 10m.")
@click.option("--sample", type=_SampleType(), default=1, help="One of so many messages, whole: 1/100.")
@click.option("--fields", default="", help="Show these fields of the message: PID-3,PID-5.1.")
@click.option("--raw", is_flag=True, help="Show the message, what the event says, what leaves.")
@click.option("--phi", is_flag=True, help="Show patients' values; needs `tap: allow_phi` and --reason.")
@click.option("--reason", default="", help="Why; kept for ever in the audit.")
@config_option
@format_option
def command(
    streams: tuple[Stream, ...],
    source: tuple[str, ...],
    type_: tuple[str, ...],
    event: tuple[str, ...],
    verdict: tuple[str, ...],
    route: tuple[str, ...],
    destination: tuple[str, ...],
    outcome: tuple[str, ...],
    where: str | None,
    patient: str | None,
    since: float | None,
    last: int | None,
    count: int | None,
    seconds: float | None,
    sample: int,
    fields: str,
    raw: bool,
    phi: bool,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Watch what passes: messages as they are received, events as they are routed, what becomes of deliveries.

    All three, unless some are named, or an option asks for what only one of them has. It follows the journal, from
    any machine that can read it; restarts and `broker apply` do not end it. Values are `•` and their length
    (docs/tap.md). Each use is audited. Ends with Ctrl-C, --count, --for, or with the pipe that it writes to.

    Examples:  broker tap    ·    broker tap deliveries --outcome parked --last 20
    ·    broker tap --type 'ADT^*' --fields PID-3,PV1-3 --count 5
    ·    broker tap events --where "step.modality == 'CT'" --format json | jq .event
    ·    broker tap received --source pas --raw --phi --reason "case 4711: names arrive garbled"
    """
    if since is not None and last is not None:
        raise click.UsageError("give --since or --last")
    if phi and not reason.strip():
        raise click.UsageError("--phi needs --reason")
    settings = load_settings(config)
    _check_names(settings, source, destination, type_, event)
    show = Show(phi=phi, fields=_paths(fields), raw=raw, as_json=as_json)
    journal = journal_of(settings)
    choice = Choice(
        streams=streams or STREAMS,
        source=source,
        type=type_,
        event=event,
        verdict=verdict,
        route=route,
        destination=destination,
        outcome=outcome,
        where=None if where is None else _condition(where, journal.read()),
        patient=None if patient is None else HashedPatient(_number(patient)),
        sample=sample,
    )
    if not choice.seen:
        raise click.UsageError(
            "no stream has all that was asked for: --verdict is of `received`, the others not"
        )
    asked: dict[str, Any] = {**choice.described(), "phi": phi, "raw": raw, "fields": list(show.fields)}
    asked |= {"since": since, "last": last}
    if phi and not settings.broker.tap.allow_phi:
        audited(settings, "tap refused", reason, asked)
        raise ConfigError(
            f"{config}: tap.allow_phi is off: patients' values are not shown; without --phi their length is"
        )
    session = Session(
        Follow(journal.read, choice.seen),
        choice,
        show,
        _write,
        _note,
        quota=count or 0,
        seconds=seconds or 0.0,
    )
    begin = None if since is None else datetime.now(UTC) - timedelta(seconds=since)
    use = audited(settings, "tap", reason, asked)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with suppress(KeyboardInterrupt):  # before it has begun
            _note(
                f"watching {', '.join(choice.seen)}{'' if not phi else ' WITH PATIENT DATA'}; audit entry {use}"
            )
            session.run(since=begin, last=last or 0)
    finally:
        journal.close()
    _end(settings, reason, use, session.summary)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _note(text: str) -> None:
    click.echo(f"tap: {text}", err=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: timeout(1) signals twice, and the second one must not take the audit's last line."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(settings: Settings, reason: str, use: int, summary: Summary) -> None:
    """Says how it went; where nobody reads any more, to the audit alone."""
    detail = {
        "of": use,
        "why": summary.why,
        "shown": summary.shown,
        "seen": summary.seen,
        "seconds": round(summary.seconds, 1),
    }
    if summary.why == "closed":
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
    else:
        _note(
            f"{summary.shown} shown of {summary.seen} that passed in {summary.seconds:.1f} s: {_WHY[summary.why]}"
        )
    try:
        audited(settings, "tap ended", reason, detail)
    except StoreError as exc:
        raise StoreError(f"the audit has the beginning of this tap, and not its end: {exc}") from exc
    if summary.why == "unwritable":
        raise SystemExit(1)


def _number(text: str) -> str:
    number = patients_number(text)
    if not number:
        raise click.UsageError("--patient must say a number")
    return number


def _paths(text: str) -> tuple[str, ...]:
    paths = tuple(part.strip() for part in text.split(",") if part.strip())
    for path in paths:
        try:
            parse_path(path)
        except ValueError as exc:
            raise click.UsageError(f"--fields: {exc}") from None
    return paths


def _condition(text: str, tx: Transaction) -> Expression:
    """A condition over an event alone, with the code tables that are live now."""
    live = routesets.live(tx)
    files = {} if live is None else live.files.tables
    names = {
        name: kind for name, kind in catalogue().items() if name != "patient.verified"
    }  # a register's word
    scope = Scope(
        names=names, tables={name: read_table(name, table.text, table.file) for name, table in files.items()}
    )
    try:
        return compile_condition(text, scope)
    except ExpressionError as exc:
        caret = f"\n  {text}\n  {' ' * exc.offset}^"
        raise click.UsageError(f"--where: {exc}. {exc.hint}".rstrip() + caret) from None


def _check_names(
    settings: Settings,
    sources: Sequence[str],
    destinations: Sequence[str],
    types: Sequence[str],
    events: Sequence[str],
) -> None:
    """A name that nothing can ever have would be waited for in vain."""
    known: tuple[tuple[str, Sequence[str], list[str]], ...] = (
        ("source", sources, [s.name for s in settings.inbound]),
        ("destination", destinations, [s.name for s in settings.outbound]),
        ("event", [name for name in events if not set(name) & set("*?[")], list(EVENT_TYPES)),
    )
    for option, given, names in known:
        for name in given:
            if name not in names:
                hint = did_you_mean(name, names) or f"There are: {', '.join(sorted(names))}."
                raise click.UsageError(f"--{option}: there is no '{name}'. {hint}")
    for name in types:
        if not _TYPE.fullmatch(name):
            raise click.UsageError("--type: write ADT^A08, 'ADT^*' or C-STORE")
