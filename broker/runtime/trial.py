"""Runs the tests of route files: each on a bench of its own, with the tables and at the time that it names.

Compares nothing: that is `broker.routing.testing`. Sends nothing; of a journal it reads the messages that tests name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from broker.routing.coverage import Coverage
from broker.routing.language import Given
from broker.routing.tables import Row, Table
from broker.routing.testing import Case, GivenError, Outcome, TestResult, run_tests
from broker.routing.watch import recompiled
from broker.runtime.configured import Configured
from broker.runtime.offline import Bench, instance
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction

Messages = Callable[[str], bytes]
"""The bytes of a message of the journal, by its id; raises `GivenError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A way to run cases (`broker.routing.testing.Run`)."""

    configured: Configured
    clock: Callable[[], datetime]
    journal: Messages = lambda _id: _nowhere()
    coverage: Coverage | None = None
    registers: Callable[[], Transaction] = in_memory
    """A transaction of an empty journal, for each case; whose engine it is makes no difference."""

    def results(self, only: str = "") -> list[TestResult]:
        """Every test of the folder's enabled routes, or of the one that is named."""
        return run_tests(self.configured.routes, self.configured.settings.routes_folder, self, only=only)

    def __call__(self, case: Case) -> Outcome:
        """Feeds the messages before, then the one under test."""
        routes = self.configured.routes
        if case.tables:
            routes = recompiled(routes, tables=_laid_over(routes.tables, case.tables))
        if self.coverage is not None:
            routes = self.coverage.watching(routes)
        at = case.at
        clock = self.clock if at is None else lambda: at
        bench = Bench(replace(self.configured, routes=routes), clock, self.registers())
        for given in case.before:
            self._feed(bench, given, case.folder)
        return self._feed(bench, case.given, case.folder)

    def _feed(self, bench: Bench, given: Given, folder: Path) -> Outcome:
        if given.type is not None and given.study is not None:
            return bench.say(given.source, given.type, given.study)
        return bench.feed(given.source, self.message(given, folder))

    def message(self, given: Given, folder: Path) -> bytes:
        """The message as it would come in: a file, inline ER7 a segment a line, an instance without pixels."""
        if given.file:
            return (folder / given.file).read_bytes()
        if given.hl7:
            lines = [line.strip() for line in given.hl7.splitlines()]
            return "\r".join(line for line in lines if line).encode() + b"\r"
        return self.journal(given.journal) if given.journal else instance(given.dicom)


def _nowhere() -> bytes:
    raise GivenError("there is no journal to read it from")


def _laid_over(
    tables: Mapping[str, Table], rows: Mapping[str, Mapping[str, str | tuple[str, ...]]]
) -> dict[str, Table]:
    """The tables with these rows instead of those of the same codes; a code without values has none."""
    found = dict(tables)
    for name, codes in rows.items():
        known = dict(tables[name].rows)
        for code, said in codes.items():
            values = (said,) if isinstance(said, str) else said
            known[code] = (Row(values=values, line=0),) if any(values) else ()
        found[name] = replace(tables[name], rows=known)
    return found
