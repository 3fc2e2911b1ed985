"""Every drill on paper: played whole nothing is wrong, and whatever step is left out, something is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from broker import nationalid
from broker.hl7.er7 import Message
from broker.simulate.drills import catalog
from broker.simulate.drills.catalog import DRILLS
from broker.simulate.drills.script import Ask, Drill, Look, Split, Step, Tell
from tests.support.paper import faults

BEGINS = datetime(2026, 3, 2, 8, tzinfo=UTC)


def drill(name: str, seed: int = 1) -> Drill:
    return catalog.write(name, seed, BEGINS)


DOING = [
    (name, number)
    for name in DRILLS
    for number, step in enumerate(drill(name).steps, 1)
    if not isinstance(step, Look | Ask)  # without one of these it is the same drill, less looked at
]


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_played_whole_leaves_nothing_wrong(name: str) -> None:
    assert faults(drill(name)) == {}


@pytest.mark.parametrize(("name", "number"), DOING)
def test_a_step_left_out_is_found(name: str, number: int) -> None:
    assert faults(drill(name), (number,))


@pytest.mark.parametrize("name", DRILLS)
def test_identity_left_wrong_is_found_in_the_register_and_not_only_by_a_missing_message(name: str) -> None:
    wanted = drill(name)
    changes = [
        number
        for number, step in enumerate(wanted.steps, 1)
        if isinstance(step, Split)
        or (isinstance(step, Tell) and Message.parse(step.said.raw)["MSH-9.2"] in ("A40", "A47"))
    ]

    assert changes
    for number in changes:
        places = {check.partition(":")[0] for check in faults(wanted, (number,))}
        # A wrong merge that never was needs no undoing: there only what was said of it is missing.
        assert places & {"PDQ", "register", "PACS"}, number


def test_the_same_seed_gives_the_same_drill_and_another_shares_no_number() -> None:
    for name in DRILLS:
        assert drill(name) == drill(name)
        mine, others = drill(name), drill(name, seed=2)
        assert not {n for t in mine.truths for n in t.numbers} & {n for t in others.truths for n in t.numbers}
        assert mine.tag != others.tag
    assert len({drill(name).tag for name in DRILLS}) == len(DRILLS)


@pytest.mark.parametrize("name", DRILLS)
def test_every_number_is_synthetic(name: str) -> None:
    found = set()
    for number in (number for truth in drill(name).truths for number in truth.numbers):
        oid = number.issuer.split("&")[1]
        kind = nationalid.kind_of(oid) or ("h-number" if number.value.isdecimal() else None)
        read = nationalid.read(number.value, kind)
        if kind is None:
            assert drill(name).tag in number.value, "a hospital's own"
            continue
        assert read is not None
        assert read.valid
        assert read.kind == kind
        assert read.series == ("tenor" if kind == "fnr" else "")
        found.add(kind)
    assert "fnr" in found


def test_the_wrong_merge_is_a_week_old_when_it_is_split() -> None:
    steps = drill("wrong-merge").steps
    split = next(number for number, step in enumerate(steps) if isinstance(step, Split))
    before, after = told(steps[:split]), told(steps[split:])

    assert before[2]["MSH-9.2"] == "A40"
    assert (moment(after[0]) - moment(before[2])).days == 7
    assert sorted(map(moment, before)) == list(map(moment, before))


def told(steps: Iterable[Step]) -> list[Message]:
    """What PAS says in these steps."""
    return [
        Message.parse(step.said.raw) for step in steps if isinstance(step, Tell) and step.said.flow == "pas"
    ]


def moment(message: Message) -> datetime:
    return datetime.strptime(message["EVN-2"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def test_two_unknowns_differ_in_number_and_name() -> None:
    registered = [message for message in told(drill("trauma").steps) if message["MSH-9.2"] == "A04"]

    assert len({message["PID-3.1"] for message in registered}) == 2
    assert len({message.text("PID-5") for message in registered}) == 2
    assert {(m["PID-31"], m["PID-7"], m["PV1-2"]) for m in registered} == {("Y", "", "E")}
