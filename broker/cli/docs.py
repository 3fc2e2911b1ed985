"""`broker docs`: the reference pages and the schemas, made from the declarations that the code runs by.

One declaration per option gives loader, schema and page; this writes the last two, and `--check` fails when the
files on disk say something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import rich_click as click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from broker import event, registry, settings
from broker.cli import COMMANDS
from broker.cli import broker as root
from broker.routing import schema
from broker.telemetry import METRICS

MADE = "<!-- Made by `broker docs`. Change the declaration in the code, not this page. -->\n"

ROUTES = f"""{MADE}
# Route files: `routes/*.yaml`

A route says which events (`on`), under which condition (`where`), go to which destinations (`to`), and proves it
(`tests`). The shipped files are the best examples; editors complete and check them by `config/route.schema.json`.

- Literal is literal: `NO` is text, `010190…` keeps its zero. `${{ … }}` marks an expression, and nothing else does.
- An expression is a small, checked subset of CEL over the fields below; a name that does not exist is an error with
  line, column and a suggestion (`broker check`).
- `send: source` passes on the message that caused the event. Without `purpose: contact` it loses address, telephone,
  next of kin, employer, insurance, and Z-segments, of which only the sender knows what they hold.
- A lookup that misses holds a worklist row; elsewhere it holds the delivery for a person to see. Nothing is dropped.
- A running broker does not watch the folder: `broker apply` makes what it says live (docs/applying.md).
- `broker test` runs the tests; `broker explain FILE --source LISTENER` shows what each route said to a message.

"""


@click.command("docs")
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is not what the code says.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="The project's folder."
)
def command(check: bool, folder: Path) -> None:
    """Write docs/*.md and config/*.schema.json anew from the code.

    Examples:  broker docs    ·    broker docs --check
    """
    stale = []
    for name, text in pages().items():
        path = folder / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            click.echo(f"wrote {name}")
    if check and stale:
        click.echo(f"not what the code says: {', '.join(stale)}; run `broker docs`", err=True)
        raise SystemExit(1)
    click.echo(
        f"{len(pages())} files are what the code says"
        if check or not stale
        else f"{len(stale)} files written"
    )


def pages() -> Mapping[str, str]:
    """Every file that is made from the code: its name and its text."""
    return {
        "docs/settings.md": _settings(),
        "docs/routes.md": ROUTES + schema.markdown(),
        "docs/metrics.md": _metrics(),
        "docs/commands.md": _commands(),
        "config/broker.schema.json": _json(settings.json_schema()),
        "config/route.schema.json": schema.schema_text(),
        "docs/event.schema.json": _json(event.json_schema()),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _settings() -> str:
    lines = [
        MADE,
        "# Settings: `config/broker.yaml`",
        "",
        "`${env:NAME:-default}` takes an environment variable. Durations are written `250ms`, `5s`, `10m`, `24h`,"
        " sizes `512KiB`, `64MiB`, `2GiB`.",
        "",
        *_table("The file", settings.BrokerSettings),
        *_table("`dicom`", settings.DicomSettings),
        *_table("`http`", settings.HttpSettings),
        *_table("`limits`", settings.LimitsSettings),
        *_table("`tap`", settings.TapSettings),
        "## `inbound`: listeners by name",
        "",
        *_adapters("broker.inbound", settings.InboundEntry),
        "## `outbound`: destinations by name",
        "",
        *_adapters("broker.outbound", settings.OutboundEntry),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _adapters(group: registry.Group, common: type[BaseModel]) -> Iterator[str]:
    yield from _table("Every entry", common, level="###")
    for name, point in sorted(registry.installed(group).items()):
        spec = _spec(group, point)
        yield from _table(f"`adapter: {name}`", spec.config, level="###", text=spec.summary)


def _spec(group: registry.Group, point: EntryPoint) -> Any:
    return registry.load_inbound(point) if group == "broker.inbound" else registry.load_outbound(point)


def _table(title: str, model: type[BaseModel], *, level: str = "##", text: str = "") -> Iterator[str]:
    yield from (f"{level} {title}", "")
    if text:
        yield from (f"{text}.", "")
    if not model.model_fields:
        yield from ("It has no options.", "")
        return
    yield from ("| option | default | what it is |", "| --- | --- | --- |")
    for name, info in model.model_fields.items():
        yield f"| `{info.alias or name}` | {_default(info)} | {info.description or ''} |"
    yield ""


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "needed" if info.default_factory is None else "none"
    if info.default in (None, (), ""):
        return "unset"
    if isinstance(info.default, tuple):
        return ", ".join(f"`{item}`" for item in info.default)
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"


def _metrics() -> str:
    lines = [
        MADE,
        "# Metrics: `/metrics`",
        "",
        "Labels come from the settings and from fixed words, never from messages.",
        "",
        "| name | kind | labels | what it is |",
        "| --- | --- | --- | --- |",
    ]
    for name, metric in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        lines.append(f"| `{name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def _commands() -> str:
    lines = [MADE, "# Commands", ""]
    context = click.Context(root)
    for name in COMMANDS:
        found = root.get_command(context, name)
        if isinstance(found, click.Group):
            for verb in found.commands.values():
                lines += _described(f"broker {name} {verb.name}", verb)
        elif found is not None:
            lines += _described(f"broker {name}", found)
    return "\n".join(lines).rstrip() + "\n"


def _described(usage: str, found: click.Command) -> Iterator[str]:
    arguments = [p for p in found.params if isinstance(p, click.Argument)]
    usage = " ".join([usage, *(str(p.name).upper() for p in arguments)])
    yield from (f"## `{usage}`", "")
    for paragraph in (found.help or "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    options = [p for p in found.params if isinstance(p, click.Option)]
    if options:
        yield from ("| option | what it is |", "| --- | --- |")
        for option in options:
            names = ", ".join(f"`{o}`" for o in option.opts)
            choices = f" ({', '.join(option.type.choices)})" if isinstance(option.type, click.Choice) else ""
            yield f"| {names} | {option.help or ''}{choices} |"
        yield ""
