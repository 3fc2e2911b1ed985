"""`broker explain`: what a message would come to, step by step; nothing is sent or kept."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.errors import ConfigError
from broker.routing.language import Given
from broker.runtime.configured import configure
from broker.runtime.offline import Bench
from broker.yamlfile.check import validate
from broker.yamlfile.reading import load


@click.command("explain")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", help="The listener that would take it; left out: the first that takes its type.")
@click.option(
    "--before",
    multiple=True,
    metavar="SOURCE:FILE",
    help="A message taken before it, for the registers; may be given again.",
)
@config_option
@format_option
def command(file: Path, source: str | None, before: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Show what a message would come to: verdict, answer, events, each route's word, and what would leave.

    The file holds one HL7 message, a batch, or a DICOM object for the listener of images; or, as YAML or JSON, what is
    said of a study without a message: `type: study.stored` and `study:` with its fields. Of a batch each message is
    shown, in order. Shows what the message holds, patient data too: it is your file.

    Examples:  broker explain order.hl7 --source orders    ·    broker explain order.hl7 --source orders
    --before pas:adt.hl7 --format json
    """
    bench = Bench(configure(load_settings(config), os.environ), lambda: datetime.now(UTC))
    for entry in before:
        listener, _, name = entry.partition(":")
        if not name:
            raise click.UsageError("--before is written SOURCE:FILE, as in pas:adt.hl7")
        bench.feed(listener, Path(name).read_bytes())
    if file.suffix in (".yaml", ".json"):
        said = validate(load(file, env=os.environ), Given)
        if said.type is None or said.study is None:
            raise ConfigError(
                f"{file}: says nothing of a study; it needs type: (study.stored, say) and study:"
            )
        found = bench.explain_study(source or said.source, said.type, said.study)
    else:
        raw = file.read_bytes()
        found = bench.explain(source or bench.source_of(raw), raw)
    if as_json:
        print_json(found)
    else:
        for one in (found, *found.get("members", ())):
            _print(one)
        for entry in found["exceptions"]:
            click.echo(f"exception {entry['kind']} {entry['subject']}: {entry['reason']}")
    if any(one["verdict"] == "rejected" for one in (found, *found.get("members", ()))):
        raise SystemExit(1)


def _print(found: dict[str, Any]) -> None:
    answer = f"answer {found['answer']}" if found["answer"] else "no answer"
    click.echo(f"{found['message']} control id {found['control_id']}: {found['verdict']}, {answer}")
    if found["reason"]:
        click.echo(f"  why: {found['reason']}")
    if found["flags"]:
        click.echo(f"  flags: {' '.join(found['flags'])}")
    for event in found["events"]:
        click.echo(f"event {event['type'].removeprefix('no.broker.')}")
    for verdict in found["routes"]:
        sign = "matched" if verdict["matched"] else "not    "
        click.echo(
            f"{sign} {verdict['route']} ({verdict['place']}) for {verdict['event']}: {verdict['reason']}"
        )
    for delivery in found["deliveries"]:
        click.echo(f"delivery to {delivery['destination']} by {delivery['place']}: {delivery['summary']}")
        if delivery["detail"]:
            click.echo(f"  {delivery['detail']}")
        shown = delivery["rendered"]
        for line in (shown if isinstance(shown, str) else _lines(shown)).splitlines():
            click.echo(f"  | {line}")


def _lines(value: Any, indent: str = "") -> str:
    """Attributes as indented lines, sequences item by item."""
    if not isinstance(value, dict):
        return f"{indent}{value}"
    lines = []
    for key, part in value.items():
        if isinstance(part, list) and part and isinstance(part[0], dict):
            lines.append(f"{indent}{key}:")
            lines += [_lines(item, f"{indent}  ") for item in part]
        elif isinstance(part, dict):
            lines += [f"{indent}{key}:", _lines(part, f"{indent}  ")]
        else:
            lines.append(f"{indent}{key}: {' | '.join(part) if isinstance(part, list) else part}")
    return "\n".join(lines)
