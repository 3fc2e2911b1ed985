"""Compares what a route test expects with what came out. Pure: the pipeline is run by somebody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.adapter import Kind
from broker.routing.engine import Route, RouteSet
from broker.routing.language import Expect, Given

Field = str | tuple[str, ...] | None
"""A field of an output; None and "" both mean that nothing stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output that a route made."""

    route: str
    destination: str
    kind: Kind
    read: Callable[[str], Field]
    """An HL7 path, or a DICOM keyword, to what stands there."""


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
    """`ack`, `events`, `epj[0].MSH-9`."""
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.actual}"


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


Run = Callable[[Case], Outcome]
"""Feeds a case through an empty pipeline and says what the last message came to."""


def run_tests(routes: RouteSet, folder: Path, run: Run) -> list[TestResult]:
    """Every test of every enabled route, in the order of the files."""
    enabled = [route for route in routes.routes if route.enabled]
    return [run_test(route, place, folder, run) for route in enabled for place in route.tests]


def run_test(route: Route, place: str, folder: Path, run: Run) -> TestResult:
    """The test of a route that stands at `place`; `folder` is where the route file stands."""
    test = route.tests[place]
    outcome = run(Case(folder=folder, before=test.before, given=test.given))
    differences = compare(test.expect, outcome, route=route.name)
    return TestResult(route=route.name, name=test.name, place=place, differences=tuple(differences))


def compare(expect: Expect, actual: Outcome, *, route: str) -> list[Difference]:
    """All differences. Only this route's outputs count; what the test does not name is not compared."""
    found: list[Difference] = []
    if expect.ack is not None and expect.ack != actual.ack:
        found.append(Difference(where="ack", expected=expect.ack, actual=actual.ack or "none"))
    if expect.events is not None and expect.events != actual.events:
        found.append(Difference(where="events", expected=_list(expect.events), actual=_list(actual.events)))
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
            for path, value in fields.items():
                got = output.read(path)
                if _same(value) != _same(got):
                    where = f"{name}[{number}].{path}"
                    found.append(Difference(where=where, expected=_show(value), actual=_show(got)))
    return found


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
