"""The five ticks of a device."""

from __future__ import annotations

from typing import Any

import pytest

from broker.journal.devices import Safe, Sent
from broker.why.coverage import Covered, covered


def sent(type: str = "C-STORE", verdict: str = "accepted", last: str = "1", **fields: Any) -> Sent:
    return Sent(**{"aet": "CT1", "type": type, "verdict": verdict, "number": 1, "last": last} | fields)


def test_a_device_that_does_everything() -> None:
    messages = [sent(), sent("N-CREATE", scheduled=1)]

    kept = Safe(stored=3, committed=2)

    (found,) = covered(["CT1"], messages, {"CT1": ("epj",)}, frozenset(), frozenset(), {"CT1": kept})

    assert found == Covered(
        ae="CT1", demographics=True, worklist=True, delivers=True, notifies=("epj",), committed=kept
    )


@pytest.mark.parametrize(
    ("messages", "told", "answered", "expected"),
    [
        ([], (), (), (False, False, False)),
        ([], ("CT1",), (), (True, False, False)),
        ([], (), ("CT1",), (True, True, False)),
        ([sent("N-CREATE", scheduled=0)], (), (), (False, False, False)),
        ([sent("N-CREATE", "rejected", scheduled=1)], (), (), (False, False, False)),
        ([sent(verdict="rejected")], (), (), (False, False, False)),
        ([sent()], (), (), (False, False, True)),
    ],
)
def test_each_tick_has_its_own_evidence(
    messages: list[Sent], told: tuple[str, ...], answered: tuple[str, ...], expected: tuple[bool, bool, bool]
) -> None:
    (found,) = covered(["CT1"], messages, {}, frozenset(told), frozenset(answered), {})

    assert (found.demographics, found.worklist, found.delivers) == expected


def test_who_sends_without_being_known_is_listed_behind_the_others() -> None:
    found = covered(["CT1", "CT2"], [sent(aet="GUEST")], {}, frozenset(), frozenset(), {})

    assert [one.ae for one in found] == ["CT1", "CT2", "GUEST"]
