"""A new route file with a test: what a sample message really comes to is what its test expects. Writes nothing.

The route is tried on the site's own settings before it is handed back, so that `broker check` and `broker test` pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from broker.adapter import Kind
from broker.create.samples import SAMPLES, Sample
from broker.errors import ConfigError, did_you_mean
from broker.routing.testing import Outcome, Output
from broker.runtime.configured import Configured, configure, read_files, shown
from broker.runtime.offline import Bench, instance
from broker.settings import Settings

SCHEMA: Final = "# yaml-language-server: $schema=../config/route.schema.json\n"

_SHOWN: Final[Mapping[Kind, tuple[str, ...]]] = {
    "hl7": ("MSH-9", "PID-3(1).1", "PID-5", "ORC-1", "ORC-5", "OBR-25"),
    "worklist": ("PatientID", "AccessionNumber", "Modality", "ScheduledStationAETitle"),
    "dicom": ("PatientID", "PatientName", "SOPInstanceUID"),
}
"""What a test says of an output; what the sample leaves empty is not mentioned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A route as its author asks for it."""

    name: str
    on: tuple[str, ...]
    to: tuple[str, ...]
    """Destinations by name."""
    send: str = "source"
    where: str = ""
    set: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    test: str = "the sample arrives"
    sample: Sample | None = None
    """Tried before ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A message that the route made something of: which, whose, and what."""

    sample: Sample
    source: str
    outcome: Outcome
    outputs: tuple[Output, ...]
    """Those of the route."""


def route_files(
    settings: Settings, env: Mapping[str, str], wanted: Wanted, clock: Callable[[], datetime]
) -> dict[Path, str]:
    """The route file and its message, by path. Raises `ConfigError` saying what is in the way."""
    folder = settings.routes_folder
    path, message = folder / f"{wanted.name}.yaml", folder / "tests" / f"{_snake(wanted.name)}.hl7"
    for there in (path, message):
        if there.exists():
            raise ConfigError(f"{shown(there)}: is there already; choose another name")
    text = _text(wanted, _kinds(settings, wanted.to))
    tried = _tried(settings, env, wanted, text, clock)
    given = f"tests/{message.name}" if tried.sample.hl7 else ""
    found = {path: text + "\ntests:\n" + test_text(wanted.test, tried, given)}
    if given:
        found[message] = tried.sample.hl7
    for number, before in enumerate(tried.sample.before, 1):
        found[folder / "tests" / _before(message.name, number)] = before
    return found


def test_text(name: str, tried: Tried, file: str) -> str:
    """One test of a route file: what was given, and what came of it."""
    lines = [f"  - name: {_scalar(name)}\n"]
    if tried.sample.before:
        lines.append("    before:\n")
        befores = (_before(file, number) for number, _ in enumerate(tried.sample.before, 1))
        lines += [f"      - {{ source: {tried.source}, file: {before} }}\n" for before in befores]
    if file:
        lines.append(f"    given: {{ source: {tried.source}, file: {file} }}\n")
    else:
        lines.append(f"    given:\n      source: {tried.source}\n      dicom:\n")
        lines += [f"        {key}: {_scalar(value)}\n" for key, value in tried.sample.dicom.items()]
    lines.append("    expect:\n")
    lines.append(f"      ack: {_scalar(tried.outcome.ack)}\n")
    lines.append(f"      events: [{', '.join(tried.outcome.events)}]\n")
    for destination in dict.fromkeys(output.destination for output in tried.outputs):
        lines.append(f"      {destination}:\n")
        for output in (o for o in tried.outputs if o.destination == destination):
            fields = [(path, output.read(path)) for path in _SHOWN[output.kind]]
            told = [f"{path}: {_value(value)}" for path, value in fields if value]
            lines += [f"        {'- ' if first else '  '}{line}\n" for first, line in _marked(told)]
    return "".join(lines)


def trial(configured: Configured, sample: Sample, route: str, clock: Callable[[], datetime]) -> Tried | None:
    """The first listener by which the sample makes the route send something; an empty `route` stands for any."""
    raw = _er7(sample.hl7) if sample.hl7 else instance(sample.dicom)
    for source in configured.readers:
        bench = Bench(configured, clock)
        for before in sample.before:
            bench.feed(source, _er7(before))
        outcome = bench.feed(source, raw)
        outputs = tuple(output for output in outcome.outputs if route in ("", output.route))
        if outputs:
            return Tried(sample=sample, source=source, outcome=outcome, outputs=outputs)
    return None


def with_texts(settings: Settings, env: Mapping[str, str], routes: Mapping[str, str]) -> Configured:
    """The folder's routes with these laid over them. Raises `ConfigError` with every fault."""
    files = read_files(settings)
    folder = shown(settings.routes_folder)
    laid = {f"{folder}/{name}": text for name, text in routes.items()}
    return configure(settings, env, replace(files, routes={**files.routes, **laid}))


def _tried(
    settings: Settings, env: Mapping[str, str], wanted: Wanted, text: str, clock: Callable[[], datetime]
) -> Tried:
    configured = with_texts(settings, env, {f"{wanted.name}.yaml": text})
    samples = (wanted.sample,) if wanted.sample is not None else SAMPLES
    for sample in samples:
        tried = trial(configured, sample, wanted.name, clock)
        if tried is not None:
            return tried
    what = "that message" if wanted.sample is not None else "any message that this command knows"
    raise ConfigError(
        f"no listener of {shown(settings.file)} makes this route send anything of {what}:"
        f" does one make {' or '.join(wanted.on)}? Then give a message of your own with --message"
    )


def _kinds(settings: Settings, names: tuple[str, ...]) -> list[tuple[Kind, str]]:
    known = {setting.name: setting.spec.kind for setting in settings.outbound}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"There are {', '.join(sorted(known))}."
            raise ConfigError(f"there is no destination '{name}'. {hint}")
    return [(known[name], name) for name in names]


def _text(wanted: Wanted, targets: list[tuple[Kind, str]]) -> str:
    """The file up to its tests."""
    said = wanted.description or f"{' and '.join(wanted.on)} to {' and '.join(wanted.to)}."
    lines = [
        SCHEMA,
        f"route: {wanted.name}\n",
        f"description: {_scalar(said)}   # who asked for it, and why\n",
        "\n",
        f"on: [{', '.join(wanted.on)}]   # docs/routes.md lists the events; patient.* stands for all that begin so\n",
        f"where: {_scalar(wanted.where)}\n"
        if wanted.where
        else f"# where: {_example(wanted.on)}   # a condition, if not all; `broker check` knows every field\n",
        "to:\n",
    ]
    for kind, name in targets:
        lines += _target(kind, name, wanted)
    lines += [
        "\n",
        "# While a destination does not take it; what is not said here is in docs/routes.md.\n",
        "# on_failure: { retry: { first: 1s, factor: 2, max: 5m }, alert: somebodys-desk }\n",
    ]
    return "".join(lines)


def _example(on: tuple[str, ...]) -> str:
    """A condition that may stand there: on a field that these events fill."""
    roots = {event.partition(".")[0] for event in on}
    (root,) = roots if len(roots) == 1 else ("",)
    return f"{root}.modality == 'CT'" if root in ("step", "instance") else "source == 'pas'"


def _target(kind: Kind, name: str, wanted: Wanted) -> Iterator[str]:
    yield f"  - {kind}: {name}\n"
    if kind == "hl7":
        yield f"    send: {wanted.send}   # source: the message as it came; others are built (docs/routes.md)\n"
        yield "    # purpose: contact   # lets address, telephone and next of kin through\n"
    if wanted.set:
        yield "    set:   # only what differs from the standard mapping\n"
        yield from (f"      {key}: {_scalar(value)}\n" for key, value in wanted.set.items())
    elif kind != "dicom":
        example = "MSH-6: WARD" if kind == "hl7" else "ScheduledStationName: CT 1"
        yield f"    # set: {{ {example} }}   # only what differs from the standard mapping\n"


def _marked(lines: list[str]) -> Iterator[tuple[bool, str]]:
    for number, line in enumerate(lines):
        yield number == 0, line


def _before(file: str, number: int) -> str:
    return file.replace(".hl7", f"_before_{number}.hl7")


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _er7(text: str) -> bytes:
    return text.replace("\n", "\r").encode()


def _value(value: str | tuple[str, ...]) -> str:
    return _scalar(value) if isinstance(value, str) else f"[{', '.join(map(_scalar, value))}]"


def _scalar(text: str) -> str:
    """Plain where that is the same text to every reader of YAML, else in double quotes."""
    plain = re.fullmatch(r"[^\W\d][\w.^/()-]*(?: [\w.^/()*-]+)*|[1-9]\d*(?:\.\d+){2,}|[1-9]\d*", text)
    return (
        text
        if plain and text.lower() not in ("null", "true", "false")
        else json.dumps(text, ensure_ascii=False)
    )
