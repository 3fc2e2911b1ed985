"""Compares what a route test expects with what came out. Pure: the pipeline is run by somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from broker.adapter import Kind
from broker.dicom.elements import tag_name
from broker.errors import BrokerError
from broker.hl7.er7 import parse_path
from broker.routing.engine import Route, RouteSet
from broker.routing.language import Expect, Given
from broker.yamlfile.document import NodePath

Field = str | tuple[str, ...] | None
"""A field of an output; None and "" both mean that nothing stands there."""


class GivenError(BrokerError):
    """The message of a test is not to be had; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output that a route made."""

    route: str
    destination: str
    kind: Kind
    read: Callable[[str], Field]
    """An HL7 path, or a DICOM keyword, to what stands there."""
    payload: bytes = b""
    """As it was rendered; empty: it does not leave."""
    kept: str = ""
    """`held: …` or `withheld: …`: why it does not leave. Such an output has no fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the message under test."""

    ack: str = ""
    events: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as expected."""

    where: str
    """`ack`, `events`, `epj[0] PID-5.1`, `worklist[0] (0010,0010) PatientName`."""
    expected: str
    actual: str
    at: NodePath = ()
    """What of `expect` would be written anew to make it hold. Empty: only a person can say."""
    value: str | tuple[str, ...] = ""
    """What would have to stand there."""

    def __str__(self) -> str:
        return f"{self.where} expected {self.expected}, got {self.actual}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """A test of a route and how it went."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    route: str
    name: str
    place: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the pipeline is fed: messages taken before, and the message under test."""

    folder: Path
    """`Given.file` is relative to it."""
    before: tuple[Given, ...]
    given: Given
    tables: Mapping[str, Mapping[str, str | tuple[str, ...]]] = field(default_factory=dict)
    """Rows laid over the code tables: table to code to values."""
    at: datetime | None = None
    """When the messages are received; None: now."""


Run = Callable[[Case], Outcome]
"""Feeds a case through an empty pipeline and says what the last message came to. Raises `GivenError`."""


def run_tests(routes: RouteSet, folder: Path, run: Run, *, only: str = "") -> list[TestResult]:
    """Every test of every enabled route, or of the one that is named, in the order of the files."""
    enabled = [route for route in routes.routes if route.enabled and only in ("", route.name)]
    return [run_test(route, place, folder, run) for route in enabled for place in route.tests]


def run_test(route: Route, place: str, folder: Path, run: Run) -> TestResult:
    """The test of a route that stands at `place`; `folder` is where the route file stands."""
    test = route.tests[place]
    case = Case(folder=folder, before=test.before, given=test.given, tables=test.tables, at=test.at)
    try:
        differences = compare(test.expect, run(case), route=route.name)
    except GivenError as error:
        differences = [Difference(where="given", expected="a message", actual=str(error))]
    return TestResult(route=route.name, name=test.name, place=place, differences=tuple(differences))


def compare(expect: Expect, actual: Outcome, *, route: str) -> list[Difference]:
    """All differences. Only this route's outputs count; what the test does not name is not compared."""
    found: list[Difference] = []
    if expect.ack is not None and expect.ack != actual.ack:
        said = actual.ack or "none"
        found.append(Difference(where="ack", expected=expect.ack, actual=said, at=("ack",), value=actual.ack))
    if expect.events is not None and expect.events != actual.events:
        shown = _list(expect.events), _list(actual.events)
        found.append(
            Difference(
                where="events", expected=shown[0], actual=shown[1], at=("events",), value=actual.events
            )
        )
    outputs = [output for output in actual.outputs if output.route == route]
    if expect.none and outputs:
        found.append(
            Difference(where="none", expected="nothing", actual=_list([o.destination for o in outputs]))
        )
    for name, wanted in expect.outputs.items():
        here = [o for o in outputs if name in (o.destination, f"{o.kind}.{o.destination}")]
        if len(here) != len(wanted):
            found.append(Difference(where=name, expected=_count(len(wanted)), actual=_count(len(here))))
        for number, (fields, output) in enumerate(zip(wanted, here, strict=False)):
            if output.kept and any(map(_same, fields.values())):
                kept = f"none, {output.kept}"
                found.append(Difference(where=f"{name}[{number}]", expected="a message", actual=kept))
                continue
            for path, value in fields.items():
                got = output.read(path)
                if _same(value) != _same(got):
                    # Where one more or one less came, which is which is for a person to say.
                    at: NodePath = (name, number, path) if len(here) == len(wanted) else ()
                    for where, expected, actually in finest(output.kind, path, value, got):
                        found.append(
                            Difference(
                                where=f"{name}[{number}] {where}",
                                expected=_show(expected),
                                actual=_show(actually),
                                at=at,
                                value=got or "",
                            )
                        )
    return found


def finest(kind: Kind, path: str, expected: Field, actual: Field) -> Iterator[tuple[str, Field, Field]]:
    """The smallest places that differ: components of an HL7 field, a DICOM attribute by tag."""
    if kind != "hl7":
        yield f"{tag_name(tag_for_keyword(path) or 0)} {path}", expected, actual
        return
    where = parse_path(path)
    if where.component is not None or not isinstance(expected, str) or not isinstance(actual, str):
        yield path, expected, actual
        return
    repeated = "(" in path  # it names the repetition already
    pairs = zip_longest(expected.split("~"), actual.split("~"), fillvalue="")
    for number, (one, other) in enumerate(pairs, 1):
        place = path if repeated or number == 1 else f"{path}({number})"
        if one == other:
            continue
        if "^" not in one + other or not one or not other:
            yield place, one, other
            continue
        for component, (was, now) in enumerate(
            zip_longest(one.split("^"), other.split("^"), fillvalue=""), 1
        ):
            if was != now:
                yield f"{place}.{component}", was, now


def _same(value: Field) -> tuple[str, ...]:
    """One form for what is the same: nothing, one text, a list of one."""
    if value is None or value == "":
        return ()
    return (str(value),) if isinstance(value, str) else tuple(value)


def _show(value: Field) -> str:
    texts = _same(value)
    return " | ".join(texts) if texts else "nothing"


def _count(number: int) -> str:
    return f"{number} output" + ("" if number == 1 else "s")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
