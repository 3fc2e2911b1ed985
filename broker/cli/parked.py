"""`broker parked`: deliveries that wait for a person. Each decision has a reason and is audited."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import rich_click as click

from broker.cli.options import (
    audited,
    by,
    by_options,
    config_option,
    format_option,
    load_settings,
    open_desk,
    open_journal,
    print_json,
    text_of,
)
from broker.delivery import parked, stored
from broker.delivery.parked import NotParkedError, Query
from broker.errors import RemoteProtocolError
from broker.hl7.difference import Change, differences
from broker.hl7.edit import edit as edit_message
from broker.hl7.er7 import Header
from broker.store.transaction import Transaction

F = TypeVar("F", bound=Callable[..., Any])


def _query_options(function: F) -> F:
    """DELIVERY …, or a query; as `query`."""

    @wraps(function)
    def wrapped(**values: Any) -> Any:
        given = {name: values.pop(name) for name in ("ids", "destination", "route", "lane", "detail")}
        return function(query=Query(**given), **values)

    for option in (
        click.option("--detail", default="", help="Only those whose reason holds this text: 'MSA-1 AE'."),
        click.option("--lane", default="", help="Only this patient's lane, as `parked list` shows it."),
        click.option("--route", default="", help="Only those of this route."),
        click.option("--destination", default="", help="Only those for this destination."),
        click.argument("ids", nargs=-1, type=int, metavar="[DELIVERY]..."),
    ):
        wrapped = option(wrapped)
    return cast(F, wrapped)


@click.group("parked")
def command() -> None:
    """Deliveries that wait for a person.

    A parked delivery holds back what comes later for the same patient at the same destination, and nothing else. A
    held one could not be made at all; it holds nobody back. A running broker notices each decision within a second.
    """


@command.command("list")
@_query_options
@config_option
@format_option
def list_(query: Query, config: Path, as_json: bool) -> None:
    """List what waits, the oldest first, and how many deliveries wait behind each. Shows no patient data.

    Examples:  broker parked list    ·    broker parked list --destination epj --format json
    """
    rows = parked.listed(open_journal(load_settings(config)), query)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(
            f"{row['id']:>8}  {row['state']:<6} {row['destination']:<10} {row['summary'] or '-'}  {row['detail']}"
            f"\n          by {row['place']}, message {row['message']}, lane {row['lane']}, {row['attempts']} attempts,"
            f" {row['waiting']} wait behind it"
        )
    click.echo(
        f"{len(rows)} wait for a person" + ("; `broker parked show DELIVERY` says more" if rows else "")
    )


@command.command("show")
@click.argument("delivery", type=int)
@click.option("--payload", is_flag=True, help="Show the bytes that would leave: patient data.")
@config_option
@format_option
def show(delivery: int, payload: bool, config: Path, as_json: bool) -> None:
    """Show one delivery: why it waits, every attempt, and who waits behind it. Patient data only with --payload,
    which is audited.

    Examples:  broker parked show 4711    ·    broker parked show 4711 --payload
    """
    settings = load_settings(config)
    journal = open_journal(settings)
    row = _one(journal, delivery)
    if payload:
        audited(settings, "payload shown", "", {"delivery": delivery})
    row["attempts"] = [
        {"attempt": number, "at": at, "outcome": outcome, "detail": detail}
        for number, at, outcome, detail in stored.attempts(journal, delivery)
    ]
    row["behind"] = parked.behind(journal, delivery)
    if payload:
        row["payload"] = text_of(_payload(journal, delivery))
    if as_json:
        print_json(row)
        return
    click.echo(f"delivery {row['id']} to {row['destination']} by {row['place']}: {row['state']}")
    click.echo(f"  why: {row['detail']}")
    click.echo(f"  {row['summary']}, message {row['message']} from {row['source']}, lane {row['lane']}")
    for attempt in row["attempts"]:
        click.echo(
            f"  {attempt['at']}  attempt {attempt['attempt']}: {attempt['outcome']} {attempt['detail']}"
        )
    click.echo(f"  {len(row['behind'])} wait behind it")
    for waiting in row["behind"]:
        click.echo(
            f"    {waiting['id']:>8}  {waiting['state']:<6} {waiting['summary']}, message {waiting['message']}"
        )
    if payload:
        click.echo(row["payload"])


@command.command("edit")
@click.argument("delivery", type=int)
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="A field's new value: PID-5.1=Berg.")
@click.option("--file", type=click.File("rb"), help="The whole message anew; `-` reads standard input.")
@click.option("--editor", is_flag=True, help="Open the message in $EDITOR, a segment a line.")
@click.option("--release", is_flag=True, help="Release it right afterwards.")
@by_options
@config_option
@format_option
def edit(
    delivery: int,
    sets: tuple[str, ...],
    file: Any,
    editor: bool,
    release: bool,
    who: str,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Change a parked HL7 message before it leaves. The bytes before are kept; the difference is shown (patient data).

    Examples:  broker parked edit 4711 --set PV1-3.1=W3 --reason "ward code fixed" --release
    ·    broker parked edit 4711 --editor --reason "broken OBX repaired by hand"
    """
    done = by(who, reason)
    if sum((bool(sets), file is not None, editor)) != 1:
        raise click.UsageError("give one of --set, --file and --editor")
    with open_desk(load_settings(config)) as desk:
        journal = desk.read()
        if _one(journal, delivery)["kind"] != "hl7":
            raise NotParkedError(f"delivery {delivery} is no HL7 message; it can be released or dropped")
        before = _payload(journal, delivery)
        after = _edited(before, sets, file)
        changes = differences(before, after)
        if not changes:
            raise click.UsageError("nothing was changed")

        def write(tx: Transaction) -> None:
            parked.edit(tx, delivery, after, done, seen=before)
            if release:
                parked.release(tx, delivery, done)

        desk.write(write).result()
    if as_json:
        print_json({"delivery": delivery, "released": release, "changes": [_change(c) for c in changes]})
        return
    for change in changes:
        click.echo(f"{change.place}: {change.before or '-'} → {change.after or '-'}")
    click.echo(
        f"delivery {delivery} edited" + (" and released" if release else "; `broker parked release` sends it")
    )


@command.command("release")
@click.option("--all", "everything", is_flag=True, help="Everything that is parked.")
@by_options
@_query_options
@config_option
@format_option
def release(query: Query, everything: bool, who: str, reason: str, config: Path, as_json: bool) -> None:
    """Let parked deliveries be tried again, as if for the first time; those behind them follow in order.

    Examples:  broker parked release 4711 --reason "EPJ repaired"
    ·    broker parked release --destination epj --detail "MSA-1 AR" --reason "EPJ upgraded"
    """
    _decide(query, everything, ("parked",), parked.release, "released", who, reason, config, as_json)


@command.command("drop")
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@by_options
@_query_options
@config_option
@format_option
def drop(query: Query, everything: bool, who: str, reason: str, config: Path, as_json: bool) -> None:
    """Give deliveries up: they never leave, and what waits behind them goes on. They stay countable as dropped.

    Examples:  broker parked drop 4711 --reason "test message sent by mistake"
    """
    _decide(query, everything, ("parked", "held"), parked.drop, "dropped", who, reason, config, as_json)


def _decide(
    query: Query,
    everything: bool,
    states: tuple[str, ...],
    action: Callable[[Transaction, int, parked.By], None],
    done: str,
    who: str,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    if not everything and query == Query():
        raise click.UsageError("name deliveries, give a query, or say --all")
    decided = by(who, reason)
    with open_desk(load_settings(config)) as desk:

        def write(tx: Transaction) -> list[int]:
            found = [row["id"] for row in parked.listed(tx, query, limit=-1) if row["state"] in states]
            for missing in sorted(set(query.ids) - set(found)):
                action(tx, missing, decided)  # says why it cannot be
            for number in found:
                action(tx, number, decided)
            return found

        found = desk.write(write).result()
    if as_json:
        print_json({done: found})
        return
    click.echo(f"{len(found)} {done}" + ("" if found else "; `broker parked list` shows what waits"))
    if not found:
        raise SystemExit(1)


def _one(journal: Transaction, delivery: int) -> dict[str, Any]:
    for row in parked.listed(journal, Query(ids=(delivery,))):
        return row
    raise NotParkedError(
        f"delivery {delivery} does not wait for a person; `broker parked list` shows those that do"
    )


def _payload(journal: Transaction, delivery: int) -> bytes:
    return stored.payload_of(journal, delivery) or b""


def _edited(before: bytes, sets: tuple[str, ...], file: Any) -> bytes:
    """The message as it shall leave, with a header that can be read. Raises `UsageError`."""
    if sets:
        pairs = dict(one.split("=", 1) for one in sets if "=" in one)
        if len(pairs) != len(sets):
            raise click.UsageError("--set takes PATH=VALUE")
        return edit_message(before, pairs, add=True)
    if file is not None:
        after: bytes = file.read()
    else:
        lines = click.edit(text_of(before), extension=".hl7")
        if lines is None:
            raise click.UsageError("the editor saved nothing; nothing was changed")
        after = lines.encode("utf-8")
    after = after.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    try:
        header = Header.read(after)
    except RemoteProtocolError as exc:
        raise click.UsageError(f"the new message cannot be read: {exc}") from exc
    if not header.control_id:
        raise click.UsageError("the new message has no control id (MSH-10)")
    return after


def _change(change: Change) -> dict[str, str | None]:
    return {"place": change.place, "before": change.before, "after": change.after}
