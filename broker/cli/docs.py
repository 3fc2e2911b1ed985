"""`broker docs`: the reference pages and the schemas, made from the declarations that the code runs by.

One declaration per option gives loader, schema and page; this writes the last two, and `--check` fails when the
files on disk say something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import rich_click as click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from broker import device, event, profiles, registry, settings
from broker.cli import COMMANDS
from broker.cli import broker as root
from broker.cli.conformance import STATEMENTS, facts
from broker.conformance.document import markdown
from broker.graph.model import graph
from broker.graph.text import mermaid
from broker.net.tls import ListenerTls, PeerTls
from broker.routing import rules, schema
from broker.runtime.configured import configure
from broker.runtime.trial import Trial
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
- What can fail must say what happens then: `default(x, y)` takes y, `skip(x)` leaves the line out so that the standard
  mapping stands, `park(x)` holds the output for a person (`broker status`). A file that does not say it is refused. All
  of these failures are permanent: functions read the event, its message and tables, nothing that may answer later, so
  none is tried again. What is transient is the destination, and `on_failure` speaks of that.
- On a worklist, a row without a station, a time or a modality is held and reported: `lookup(…, [])` is enough.
- An expression has at most 2000 characters and 50 levels; there are no loops, and nothing in it reaches beyond the
  fields, the message and the tables.
- `use: [name]` takes in a block of `routes/_shared/*.yaml`, where several routes have lines in common: at a target
  its `set:`, at the route its `on_failure:`, joined key by key. The route's own key wins; of two blocks the later. A
  mistake in a block is told at its line there, with the route that uses it. Editors complete it by
  `config/shared.schema.json`.
- `${{env:NAME:-default}}` may stand for a whole value. A route holds no secrets, for what it sets leaves with the
  message: those stand in `config/broker.yaml`, as `{{file: /run/secrets/x}}`.
- `broker check` looks for what is wrong and for what is hardly meant: [the rules](lint.md).
- A running broker does not watch the folder: `broker apply` makes what it says live (docs/applying.md).
- `broker test` runs the tests; `broker explain FILE --source LISTENER` shows what each route said to a message.

## Code tables

`tables:` in the settings names files that turn a code into values: CSV (`config/stations.csv`) or YAML
(`rows: [{{ code: OYE, aets: [FUNDUS1, OCT1] }}]`). Columns: `code`; `aets` (AE titles) or `values`, several with `|`
between them or as a list; `from` and `to`, which may be left out; `site`, `modality`, `name`, `location`, `comment`
for people.

- A code may stand in several rows, each for a time of its own: `from` is included, `to` is not. A day begins at 00:00
  UTC; `2026-04-01T06:00+02:00` is exact. When the broker received the event's message decides which row holds, never
  today, so that a rebuild gives the same rows. Two rows of a code for the same time are refused.
- Tables are read with the routes and are a part of their version: `broker apply` puts new tables live as it does new
  routes, and nothing else does.
- `broker codes list`, `show`, `where` (which route lines look it up) and `missing` (codes that messages brought and
  no row holds) are about tables.

## Tests

A test stands in the route's file: messages that came `before`, the message that is `given` (a file beside the route
file, the message itself, attributes of an image, or a message of this site's journal), and what to `expect`. It runs
through everything but the sending, with empty registers; `tables` and `at` give it rows and a time of its own.

- What is not as expected is told by its smallest place: `epj[0] PID-5.1 expected BERG, got Berg`. An output that is
  held counts as one without fields: `epj: [{{ ORC-1: "" }}]`.
- `broker test --update` writes what came out as what is expected; comments and layout stay. Another number of outputs,
  and what stands in a block or comes from the environment, is left to a person.
- `broker test --coverage` lists what no test exercised: targets, and the ways an expression can go (each operand that
  decides `&&` or `||`, both sides of `? :` and `default`, a look-up that finds or misses, a function that works or
  fails). Rows of code tables are listed too and do not count. `--min-coverage 100` fails below it, `--junit FILE` is
  for CI.

"""

GRAPH = """# What the shipped configuration connects

Listeners, the events that they make, the routes that take those, and where they go; `worklists` makes no events, it
answers modalities from the worklist. Dashed: off until a variable switches it on. `broker graph` draws it for your
configuration, `--live` with what waits where, `--format svg` as a picture. Events without a route stand on the bus.

"""

LINT = f"""{MADE}
# What `broker check` finds

Every finding has a code in brackets, a place with carets, and mostly a suggestion; `broker check --explain CODE` prints
what stands here. Errors keep the broker from starting. Warnings are what is allowed and hardly meant; with
`--deny-warnings` they fail too. One that is meant to stay is silenced on its line, or in the line above it, with the
reason: `# lint: allow CODE REASON`; the summary counts them.

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
    found = pages(folder)
    for name, text in found.items():
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
        f"{len(found)} files are what the code says" if check or not stale else f"{len(stale)} files written"
    )


def pages(folder: Path) -> Mapping[str, str]:
    """Every file that is made from the code, or from the shipped configuration: its name and its text."""
    return {
        "docs/settings.md": _settings(),
        "docs/routes.md": ROUTES + schema.markdown(),
        "docs/lint.md": LINT + rules.markdown(),
        "docs/metrics.md": _metrics(),
        "docs/commands.md": _commands(),
        "docs/graph.md": _graph(folder),
        **_conformance(folder),
        "config/broker.schema.json": _json(settings.json_schema()),
        "config/route.schema.json": schema.schema_text(),
        "config/shared.schema.json": schema.shared_schema_text(),
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
        *_table("`dicom`: `tls`", ListenerTls),
        *_table("`devices`: each entry", device.Device),
        *_table("`devices`: `window` of an entry", device.Window),
        *_table("Profiles of devices: `profiles/*.yaml`", profiles.Profile),
        *_table("Profiles of devices: `signs`", profiles.Signs),
        *_table("`http`", settings.HttpSettings),
        *_table("`limits`", settings.LimitsSettings),
        *_table("`steps`", settings.StepsSettings),
        *_table("`studies`", settings.StudiesSettings),
        *_table("`tap`", settings.TapSettings),
        "## `inbound`: listeners by name",
        "",
        *_adapters("broker.inbound", settings.InboundEntry),
        "## `outbound`: destinations by name",
        "",
        *_adapters("broker.outbound", settings.OutboundEntry),
        *_table("`tls` of a DICOM destination", PeerTls, level="###"),
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
    if info.default in (None, (), "", SecretStr("")):
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


def _graph(folder: Path) -> str:
    """The shipped configuration, as it is where no variable is set."""
    made = graph(configure(settings.load(folder / "config" / "broker.yaml", env={}), {}))
    return f"{MADE}\n{GRAPH}```mermaid\n{mermaid(made)}```\n"


def _conformance(folder: Path) -> Mapping[str, str]:
    """The statements of the shipped configuration, as it is where no variable is set."""
    configured = configure(settings.load(folder / "config" / "broker.yaml", env={}), {})
    found = facts(configured, Trial(configured=configured, clock=lambda: datetime.now(UTC)))
    return {
        f"docs/conformance-{which}.md": MADE + "\n" + markdown(of(found)) for which, of in STATEMENTS.items()
    }


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
