"""The conductor: every act once, a story's in its order, a failing one noted and passed over."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.simulate.conductor import Conductor, Play
from broker.simulate.records import Records
from broker.simulate.story import Act, Part

PARTS: Sequence[Part] = ("pas", "orders", "results")


def play(acts: Sequence[Act], player: Play, workers: int = 2) -> Records:
    records = Records()
    parts: dict[Part, Sequence[Play]] = {part: [player] * workers for part in PARTS}
    conductor = Conductor(acts, parts, records, speed=1e9)
    conductor.run(threading.Event())
    records.not_begun = conductor.left
    return records


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(PARTS)), max_size=60))
def test_every_act_is_played_once_and_a_story_in_its_order(drawn: list[tuple[int, Part]]) -> None:
    acts = [Act(at=float(n), part=part, story=story) for n, (story, part) in enumerate(drawn)]
    played: list[Act] = []
    records = play(acts, played.append)

    assert sorted(act.at for act in played) == [act.at for act in acts]
    for story in range(5):
        assert [a.at for a in played if a.story == story] == [a.at for a in acts if a.story == story]
    assert (len(records.lags), records.not_begun, records.errors) == (len(acts), 0, [])


def test_a_failing_act_is_noted_and_the_story_goes_on() -> None:
    played: list[float] = []

    def player(act: Act) -> None:
        if act.at == 1.0:
            raise ValueError("a value that must not be told")
        played.append(act.at)

    records = play([Act(at=float(n), part="pas", story=1) for n in range(4)], player)

    assert played == [0.0, 2.0, 3.0]
    (error,) = records.errors
    assert error.startswith("pas: ValueError at test_conductor.py:")
    assert "a value" not in error


def test_a_stop_ends_it_and_what_had_not_begun_is_known() -> None:
    stopping, records = threading.Event(), Records()
    acts = [Act(at=0.0, part="pas", story=1), Act(at=1e12, part="pas", story=1)]
    conductor = Conductor(acts, {"pas": [lambda act: stopping.set()]}, records, speed=1.0)
    conductor.run(stopping)

    assert conductor.left == 1
