"""The end of a drill: whatever is not as it must be is told at its place, and no patient is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.simulate.drills import catalog, ending
from broker.simulate.drills.ending import Answered, Seen
from tests.support.paper import Paper

DRILL = catalog.write("merge-running", 1, datetime(2026, 3, 2, 8, tzinfo=UTC))
RIGHT = Paper(DRILL).play()
(TRUTH,) = DRILL.truths
FIRST = TRUTH.numbers[0]
((AET, LABEL),) = DRILL.rows
SOMEBODY = Answered(current=frozenset(("X",)), name="Hansen^Kari")


def found(seen: Seen) -> dict[str, str]:
    return {check.place: check.fault for check in ending.checks(DRILL, seen) if check.fault}


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"pdq": {**RIGHT.pdq, FIRST: ()}}, "PDQ"),
        ({"pdq": {**RIGHT.pdq, FIRST: (*RIGHT.pdq[FIRST], SOMEBODY)}}, "PDQ"),
        ({"pdq": {**RIGHT.pdq, FIRST: (replace(RIGHT.pdq[FIRST][0], name="Odegard^Mahtte"),)}}, "PDQ"),
        ({"root": {**RIGHT.root, FIRST: ("X",)}}, "Patient Root"),
        ({"root": {}}, "Patient Root"),
        ({"keys": {**RIGHT.keys, FIRST: frozenset(("P1",))}}, "register"),
        ({"keys": {}}, "register"),
        ({"rows": {}}, "worklists"),
        ({"rows": {(AET, LABEL): frozenset(("X",))}}, "worklists"),
        ({"rows": {(AET, LABEL): RIGHT.rows[AET, LABEL] | {"X"}}}, "worklists"),
        ({"rows": {**RIGHT.rows, (AET, "another"): RIGHT.rows[AET, LABEL]}}, "worklists"),
        ({"running": ("2.25.1",)}, "worklists"),
        ({"filed": {}}, "PACS"),
        ({"filed": dict.fromkeys(RIGHT.filed, "X")}, "PACS"),
        ({"strayed": ("2.25.1",)}, "PACS"),
        ({"epj": {**RIGHT.epj, "lost": 1}}, "EPJ"),
        ({"epj": {**RIGHT.epj, "out_of_order": 2}}, "EPJ"),
        ({"exceptions": ("mpps-unscheduled",)}, "exceptions"),
        ({"rebuilt": False}, "reconcile"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(changed: dict[str, Any], place: str) -> None:
    faults = found(replace(RIGHT, **changed))

    assert list(faults) == [place]
    told = " ".join(faults.values())
    assert not any(number.value in told for number in TRUTH.numbers)
    assert TRUTH.name not in told


def test_nothing_wrong_is_nothing_told() -> None:
    assert found(RIGHT) == {}


def test_two_persons_who_are_one_patient_are_found() -> None:
    drill = catalog.write("wrong-merge", 1, datetime(2026, 3, 2, 8, tzinfo=UTC))
    seen = Paper(drill).play()
    one = frozenset(("P1",))
    faults = {
        check.title: check.fault
        for check in ending.checks(drill, replace(seen, keys=dict.fromkeys(seen.keys, one)))
    }

    assert faults["nobody is anybody else"] == "two persons are one patient"
