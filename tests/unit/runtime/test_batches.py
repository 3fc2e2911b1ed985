"""Commit 2 of many events at once comes to what commit 2 of each of them alone comes to, to the row."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from broker.adapter import Reception, Rendered, Target
from broker.event import Decision
from broker.hl7.er7 import Header
from broker.journal import intake
from broker.journal import log as journal
from broker.runtime.pipeline import Pipeline
from broker.store.sqlite import SqliteTransaction, in_memory
from broker.store.transaction import Transaction
from broker.view import View
from tests.histories.bench import Bench
from tests.histories.story import Action, drawn, tell
from tests.support.events import START
from tests.support.shared import REPOSITORY

if TYPE_CHECKING:
    from broker.runtime.configured import Configured
    from tests.unit.runtime.conftest import House

UNHAPPY = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


def everything(tx: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    names = "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return {name: sorted(tx.rows(f"SELECT * FROM {name}"), key=repr) for (name,) in tx.rows(names)}


def routed(
    receptions: Sequence[Reception], pipeline: Pipeline, sizes: Sequence[int]
) -> dict[str, list[tuple[Any, ...]]]:
    """What stands once everything was received and then routed, so many events at once; 0: each alone."""
    tx = in_memory()
    for reception in receptions:
        intake.append(tx, reception)
    turn = 0
    while batch := journal.unrouted(tx, sizes[turn % len(sizes)] or 1):
        if sizes[turn % len(sizes)]:
            pipeline.route_all(tx, batch)
        else:
            pipeline.route(tx, batch[0])
        turn += 1
    return everything(tx)


def history(configured: Configured, seed: int, length: int) -> list[Reception]:
    """What two PAS and a RIS say of few people, who are merged, moved and renamed the while."""
    lines = tell(list(drawn(random.Random(seed), length, people=3)), START)
    return [
        configured.readers[line.port].receive(line.raw, message_id=f"M{number:05}", now=START)
        for number, line in enumerate(lines)
    ]


@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(0, 16), min_size=1, max_size=4))
@settings(max_examples=5, suppress_health_check=UNHAPPY)
def test_the_rows_do_not_depend_on_how_many_are_routed_at_once(
    configured: Configured, seed: int, sizes: list[int]
) -> None:
    receptions = history(configured, seed, 30)
    pipeline = Pipeline(configured.routes, configured.renderers)

    assert routed(receptions, pipeline, sizes) == routed(receptions, pipeline, [0])


@given(seed=st.integers(0, 10_000), which=st.integers(2, 4))
@settings(max_examples=3, suppress_health_check=UNHAPPY)
def test_nor_on_who_fails_among_them(configured: Configured, seed: int, which: int) -> None:
    """Every so-manieth message cannot be rendered: what the others of its batch had read and written is undone."""
    receptions = history(configured, seed, 30)
    render = configured.renderers["epj"]

    def broken(view: View, target: Target) -> Rendered:
        if int(view.event.message_id[1:]) % which == 0:
            raise ZeroDivisionError
        return render(view, target)

    pipeline = Pipeline(configured.routes, {**configured.renderers, "epj": broken})
    with capture_logs():
        alone, together = (routed(receptions, pipeline, [size]) for size in (0, 16))

    assert together == alone
    assert any(row[0] == "event-failed" for row in alone["exception"])


BOTH: Final = 6
"""A number of each PAS: one of them may change hands without the other."""
PLAIN: Final = [Action(kind="A28", who=who, form=BOTH, lag=0, born=1) for who in (0, 1)]
AFTER: Final = [
    Action(kind=kind, who=who, pas=pas, lag=0, born=1)
    for who in (0, 1)
    for pas in (0, 1)
    for kind in ("A08", "NW")
]
CHANGES: Final = {
    "merged": [Action(kind="A40", who=0, other=1, lag=0, born=1)],
    "renumbered": [Action(kind="A47", who=0, form=1, other=0, lag=0, born=1)],
    "moved": [Action(kind="A43", who=0, other=1, lag=0, born=1)],
    "an order first": [Action(kind="NW", who=2, lag=0), Action(kind="A28", who=2, lag=0)],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("apart", [False, True])
def test_nor_is_a_record_kept_that_changed_hands(configured: Configured, change: str, *, apart: bool) -> None:
    """Everything about two patients in one batch: they are known, change hands, and are spoken of again."""
    one, together = Bench(configured), _Together(configured)
    for line in tell([*PLAIN, *AFTER, *CHANGES[change], *AFTER], START):
        for bench in (one, together):
            bench.hear(line)
    for name in one.changes() if apart else ():
        decision = Decision(change=name, by="kari", approved_by="ola", reason="two persons")
        for bench in (one, together):
            bench.decide(decision)
    for line in tell(AFTER, START, prefix="Z"):
        for bench in (one, together):
            bench.hear(line)
    together.route_together()

    assert everything(together.tx) == everything(one.tx)


class _Together(Bench):
    """Routes nothing until it is told to."""

    def route(self) -> None:
        """Later."""

    def route_together(self) -> None:
        """Commit 2 of all there is, at once."""
        self.pipeline.route_all(self.tx, journal.unrouted(self.tx, 1000))


def test_a_message_that_says_nothing_new_costs_few_statements(
    sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adds one reads here what it costs every message: of a patient, of the visit, and of two deliveries."""
    house = sqlite_house
    counted: list[str] = []

    def counting(name: str) -> Any:
        run = getattr(SqliteTransaction, name)

        def counted_and_run(tx: SqliteTransaction, sql: str, *parameters: Any) -> Any:
            counted.append(sql)
            return run(tx, sql, *parameters)

        return counted_and_run

    for _ in range(2):
        house.receive("pas", _anew("adt_a04_registered.hl7"))
        house.route()
    house.receive("pas", _anew("adt_a04_registered.hl7"))
    for name in ("rows", "execute", "each"):
        monkeypatch.setattr(SqliteTransaction, name, counting(name))
    house.route()

    assert len(counted) <= 25, "\n".join(counted)


_numbers = itertools.count()


def _anew(name: str) -> bytes:
    """The file under a control id of its own."""
    raw = (REPOSITORY / "routes" / "tests" / name).read_bytes()
    control_id = Header.read(raw).control_id.encode()
    return raw.replace(control_id, control_id + f"-{next(_numbers)}".encode(), 1)
