"""Any history of two PAS and a RIS: after every message, registers, worklist and deliveries are what the model says.

`python -m tests.histories` is the long run, against a broker of its own process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.event import Decision
from broker.registers import filing
from broker.runtime.configured import Configured, configure
from broker.settings import load
from tests.histories.bench import Bench, judged
from tests.histories.story import FORMS, KINDS, NAMES, PLACES, Action, drawn, tell
from tests.support.events import START
from tests.support.identity_model import Model
from tests.support.shared import REPOSITORY

ENV = {"BROKER_PACS_HL7_PORT": "2599"}
PEOPLE = 3

people = st.integers(0, PEOPLE - 1)
actions = st.builds(
    Action,
    kind=st.sampled_from(KINDS),
    pas=st.integers(0, 1),
    who=people,
    form=st.integers(0, FORMS - 1),
    other=people,
    other_form=st.integers(0, FORMS - 1),
    name=st.integers(0, len(NAMES) - 1),
    born=st.sampled_from((0, 0, 0, 1, 2, 3)),
    sex=st.integers(0, 2),
    mother=st.sampled_from((0, 0, 0, 1, 2, 3)),
    unknown=st.sampled_from((0, 0, 0, 1)),
    lag=st.sampled_from((None, 0, 0, 1, 60, -30)),
    visit=people,
    place=st.integers(0, len(PLACES) - 1),
    order=people,
    status=st.integers(0, 5),
)
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@cache
def configured() -> Configured:
    """The shipped settings and routes, the PACS's HL7 listener among them."""
    return configure(load(REPOSITORY / "config" / "broker.yaml", env=ENV), ENV)


@given(history=st.lists(actions, max_size=60))
@settings(max_examples=25, suppress_health_check=SLOW)
def test_registers_worklist_and_deliveries_are_what_the_model_says(history: Sequence[Action]) -> None:
    bench = judged(configured(), tell(history, START))

    assert bench.rebuilt() == []


@pytest.mark.parametrize("seed", range(3))
def test_so_are_histories_that_a_hospital_might_have(seed: int) -> None:
    bench = judged(configured(), tell(list(drawn(random.Random(seed), 60, people=5)), START))

    assert bench.rebuilt() == []


def test_each_source_keeps_its_order_in_every_interleaving() -> None:
    """Two sources and a RIS, each in order, mixed in several ways: the journal's order is what counts."""
    lines = tell(list(drawn(random.Random(7), 60, people=4)), START)
    queues = [[line for line in lines if line.said.sender == name] for name in ("PASA", "PASB", "RIS")]
    for seed in range(3):
        dice, left = random.Random(seed), [list(queue) for queue in queues]
        mixed = []
        while some := [queue for queue in left if queue]:
            mixed.append(dice.choices(some, [len(queue) for queue in some])[0].pop(0))
        judged(configured(), mixed)


# --- what was merged wrongly ---

plain = st.sampled_from(("A28", "A08", "A01", "A02", "NW", "XO"))
before = st.lists(
    st.builds(
        Action,
        kind=plain,
        who=st.integers(0, 1),
        lag=st.just(0),
        visit=st.integers(0, 1),
        order=st.integers(0, 1),
        place=st.integers(0, len(PLACES) - 1),
    ),
    max_size=12,
)


@given(first=before, then=before)
@settings(max_examples=25, suppress_health_check=SLOW)
def test_a_merge_that_was_split_leaves_what_would_be_without_it(
    first: list[Action], then: list[Action]
) -> None:
    """Two approvers split it. Each says what is his under his own number, so that nothing is in doubt.

    Nobody's demographics change: of two words about one patient the register has kept the newest only.
    """
    one = Action(kind="A28", lag=0)
    merge = Action(kind="A40", who=0, other=1, name=0, born=1, lag=0)
    history = [one, Action(kind="A28", who=1, lag=0, born=1), *map(_own, first), merge, *map(_own, then)]
    lines = tell(history, START)
    bench = Bench(configured())
    without = Model()
    for line in lines:
        now = bench.hear(line)
        if line.said.trigger != "A40":
            without.take(line.said, now)
    assert bench.differences() == []

    (change,) = bench.changes()
    bench.decide(Decision(change=change, by="kari", approved_by="ola", reason="two persons"))

    bench.model.__dict__.update({**without.__dict__, "told": bench.model.told})
    assert bench.differences() == []
    assert bench.rebuilt() == []


def _own(action: Action) -> Action:
    """About this person's own visit and order, and with nothing about the birth that could hold the merge."""
    return replace(action, visit=action.who, order=action.who, born=1, name=0)


# --- whether it would be found ---


def test_a_merge_that_leaves_the_steps_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "FILED", tuple(table for table in filing.FILED if table != "step"))
    found: Counter[str] = Counter()
    for seed in range(3):
        try:
            judged(configured(), tell(list(drawn(random.Random(seed), 100, people=4)), START))
        except AssertionError as difference:
            found.update(line.partition(":")[0] for line in str(difference).splitlines()[1:])

    assert found["steps"]
