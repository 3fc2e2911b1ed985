"""`broker why`: why a row is, or is not, on a device's list; where a value came from; why a delivery is where it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click
from pydicom.datadict import keyword_dict

from broker.cli.options import audited, config_option, format_option, journal_of, load_settings, print_json
from broker.errors import did_you_mean
from broker.runtime.inforce import live_configured
from broker.runtime.queries import GIVEN, SHOWN
from broker.why import delivery as deliveries
from broker.why import query as queries
from broker.why.desk import Desk, desk
from broker.why.device import asking
from broker.why.facts import Question, Tag
from broker.why.gather import gather, tags
from broker.why.judge import Answer, judge
from broker.why.rules import NOTHING


@click.group("why")
def command() -> None:
    """Why a row is, or is not, on a list; where a value came from; why a delivery is where it is."""


def _who(function: Any) -> Any:
    """The options that say whose row is meant."""
    function = click.option("--accession", default="", help="Only this accession or order number.")(function)
    function = click.option(
        "--issuer", default="", help="Who issued the number: an OID, or the short name that senders use."
    )(function)
    return click.option("--patient", required=True, help="The patient's number, under any issuer.")(function)


at_option = click.option(
    "--at",
    default="",
    help="As it was then: 10:03 (today, local time), 2026-03-09T10:03, with a zone or local.",
)


@command.command("mwl")
@click.option("--ae", required=True, help="The device's AE title.")
@_who
@at_option
@click.option(
    "--query",
    "keys",
    multiple=True,
    metavar="KEY=VALUE",
    help="Try this query against the row: Modality=CT. May be given again for further keys.",
)
@config_option
@format_option
def mwl(
    ae: str,
    patient: str,
    issuer: str,
    accession: str,
    at: str,
    keys: tuple[str, ...],
    config: Path,
    as_json: bool,
) -> None:
    """Say why a patient's examination is, or is not, on a device's worklist: the whole chain, and what to do next.

    From the message over route, table row and status to what the device itself asked. With --at, and for what is not
    there: nothing came, it was refused, it is held, cancelled, or another station's. A past moment is made anew from
    the event log, which takes its time on a large one. Shows the number that you type, and no other patient data. Ends
    with 1 where nothing was found at all.

    Examples:  broker why mwl --ae CT2_STO --patient 700123    ·    broker why mwl --ae CT2_STO --patient 700123
    --accession A2026000201 --at 10:03    ·    broker why mwl --ae CT2_STO --patient 700123 --query Modality=CT
    --query ScheduledProcedureStepStartDate=20260310-
    """
    typed = queries.typed(keys)
    with _desk(config, at) as it:
        question = Question(ae=ae, patient=patient, issuer=issuer, accession=accession, at=it.until)
        facts = gather(it, question, typed, asking(it.configured.settings, it.until))
    answers = judge(facts)
    if as_json:
        print_json(
            {
                "question": asdict(question),
                "routes": facts.version,
                "more": facts.more,
                "answers": [answer.described() for answer in answers],
            }
        )
    else:
        if it.until:
            click.echo(f"as it was at {it.until}, by today's routes")
        for answer in answers:
            _print(answer)
        if facts.more:
            click.echo(f"{facts.more} further steps are not shown; give --accession")
    if all(answer.verdict in NOTHING for answer in answers):
        raise SystemExit(1)


@command.command("tag")
@click.argument("keyword")
@click.option("--ae", default="", help="The device's AE title, where the patient has rows of several.")
@_who
@at_option
@click.option("--names", is_flag=True, help="Show the value also where it says who the patient is.")
@config_option
@format_option
def tag(
    keyword: str,
    ae: str,
    patient: str,
    issuer: str,
    accession: str,
    at: str,
    names: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Say which route line, table row, field and message gave an attribute of a row its value.

    KEYWORD is DICOM's: ScheduledStationAETitle, RequestedProcedureDescription. What says who somebody is, is shown only
    with --names. Ends with 1 where the patient has no row.

    Examples:  broker why tag ScheduledStationAETitle --ae CT2_STO --patient 700123
    ·    broker why tag PatientName --patient 700123 --names --format json
    """
    if keyword not in keyword_dict:
        raise click.UsageError(
            f"there is no DICOM keyword '{keyword}'. {did_you_mean(keyword, keyword_dict)}".strip()
        )
    with _desk(config, at) as it:
        question = Question(ae=ae, patient=patient, issuer=issuer, accession=accession, at=it.until)
        found = tags(it, question, keyword)
    if names and keyword not in SHOWN:
        audited(load_settings(config), "value shown", "", {"keyword": keyword, "ae": ae})
    shown = [_described(one, shown=names or keyword in SHOWN) for one in found]
    if as_json:
        print_json({"question": asdict(question), "keyword": keyword, "rows": shown})
    else:
        for row in shown:
            _print_tag(keyword, row)
    if not found:
        click.echo(
            f"the patient has no row; `broker why mwl --ae {ae or 'AE'} --patient …` says why", err=True
        )
        raise SystemExit(1)


@command.command("delivery")
@click.argument("number", type=int)
@config_option
@format_option
def delivery(number: int, config: Path, as_json: bool) -> None:
    """Say what a delivery was made of: message, event, route and version, mapping; its attempts; what to do next.

    NUMBER is the one that `broker trace` and `broker parked list` show. Shows no patient data.

    Examples:  broker why delivery 4711    ·    broker why delivery 4711 --format json
    """
    with _desk(config, "") as it:
        found = deliveries.why(it, number)
    if as_json:
        print_json(found)
    else:
        _print_delivery(found)


@contextmanager
def _desk(config: Path, at: str) -> Iterator[Desk]:
    settings = load_settings(config)
    database = journal_of(settings)
    configured = live_configured(settings, os.environ, database.read())
    with desk(database, configured, _moment(at), _progress) as it:
        yield it


def _moment(text: str) -> str:
    """ISO 8601 in UTC of what a person writes; empty for nothing. Raises `click.UsageError`."""
    if not text:
        return ""
    now = datetime.now().astimezone()
    try:
        found = datetime.fromisoformat(text if "-" in text else f"{now:%Y-%m-%d}T{text}")
    except ValueError:
        raise click.UsageError(f"--at {text}: write 10:03, or 2026-03-09T10:03") from None
    return found.astimezone(UTC).isoformat()


def _progress(done: int) -> None:
    """One line on a terminal that is written over."""
    if sys.stderr.isatty():
        click.echo(f"\revents folded {done} ", err=True, nl=False)


def _print(answer: Answer) -> None:
    what = " ".join(filter(None, (answer.accession, answer.step)))
    click.echo(f"{f'{what}: ' if what else ''}{answer.verdict}: {answer.because}")
    for link in answer.chain:
        place = f"  ({link.place})" if link.place else ""
        click.echo(f"  {link.stage:<8} {link.text}{place}")
    for text in answer.next:
        click.echo(f"  → {text}")


def _described(one: Tag, *, shown: bool) -> dict[str, Any]:
    value = one.value
    return {
        "accession": one.accession,
        "step": one.step,
        "lists": list(one.lists),
        "route": one.route,
        "route_place": one.route_place,
        "value": value.shown if shown or not value.shown else GIVEN,
        "set_by": "route" if value.place else "standard mapping",
        "place": value.place or one.route_place,
        "origins": list(value.origins),
    }


def _print_tag(keyword: str, row: dict[str, Any]) -> None:
    click.echo(f"{row['accession']} {row['step']}: {keyword} = {row['value'] or 'nothing'}")
    click.echo(f"  set by the {row['set_by']}  ({row['place']})")
    for origin in row["origins"]:
        click.echo(f"  ← {origin}")
    if not row["lists"]:
        click.echo("  → the row stands on no list: `broker why mwl` says why")


def _print_delivery(found: dict[str, Any]) -> None:
    made, message = found["delivery"], found["message"]
    click.echo(
        f"delivery {made['id']} to {made['destination']}: {found['verdict']} {made['detail']}".rstrip()
    )
    click.echo(
        f"  message  {message['received']} {message['source']} got {message['type']} {message['control_id']}:"
        f" {message['verdict']}, answered {message['answer'] or 'nothing'} (message {message['id']})"
    )
    click.echo(f"  event    {found['event']['type']}")
    other = "" if found["same_routes"] else f"; today's are {found['routes_today']}, their lines may differ"
    click.echo(f"  route    {made['route']} of routes {made['version']}{other}  ({made['place']})")
    click.echo(f"  made     {made['summary']}")
    for line in found["mapping"]:
        click.echo(
            f"  value    {line['name']}{''.join(f' ← {o}' for o in line['origins'])}  ({line['place']})"
        )
    for attempt in made["attempts"]:
        click.echo(
            f"  attempt  {attempt['at']} {attempt['attempt']}: {attempt['outcome']} {attempt['detail']}"
        )
    for done in made["interventions"]:
        click.echo(f"  person   {done['at']} {done['action']} by {done['who']}: {done['reason']}")
    for text in found["next"]:
        click.echo(f"  → {text}")
