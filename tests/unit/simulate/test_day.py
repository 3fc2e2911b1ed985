"""The timeline: the same for the same seed, stories in an order that makes sense, faults where they were asked for."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.simulate import day as days
from broker.simulate.day import HOURS, Day, plan
from broker.simulate.faults import FAULTS
from broker.simulate.messages import Said
from broker.simulate.story import Act

SMALL = {"hours": 2.0, "scale": 0.05}
ALL = tuple(FAULTS)


def said_of(day: Day) -> list[Said]:
    return [said for act in day.acts for said in act.said]


def trigger(said: Said) -> str:
    return said.raw.split(b"|")[8].split(b"^")[1].decode()


@settings(max_examples=5)
@given(st.integers(0, 10**9))
def test_the_same_seed_gives_the_same_day_to_the_byte(seed: int) -> None:
    assert plan(seed, faults=ALL, **SMALL) == plan(seed, faults=ALL, **SMALL)


def test_control_ids_are_unique_over_a_run_and_over_seeds() -> None:
    ids = [said.control_id for seed in range(5) for said in said_of(plan(seed, faults=ALL, **SMALL))]

    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= 20, "HL7 v2.5.1 2.15.9.10"


def test_the_day_has_the_shape_and_the_size_of_a_region_s() -> None:
    assert sum(HOURS) == pytest.approx(1.0)
    assert sum(HOURS[8:17]) == pytest.approx(0.70)
    assert max(HOURS) == pytest.approx(2.5 / 24, abs=0.001)
    day = plan(1, start=0.0, hours=24.0, scale=0.1)
    flows = Counter(said.flow for said in said_of(day))
    polls = sum(act.part == "polls" for act in day.acts)
    assert flows["pas"] == pytest.approx(1800, rel=0.15)
    assert flows["orders"] == pytest.approx(890, rel=0.25)
    assert flows["results"] == pytest.approx(960, rel=0.25)
    assert polls == 8200


def test_acts_stand_by_time_and_messages_of_a_story_in_its_order() -> None:
    day = plan(2, **SMALL)
    assert [act.at for act in day.acts] == sorted(act.at for act in day.acts)
    stories: dict[int, list[Act]] = defaultdict(list)
    for act in day.acts:
        stories[act.story].append(act)
    for acts in stories.values():
        ids = [int(said.control_id[7:]) for act in acts for said in act.said]
        assert ids == sorted(ids), "the story was written in this order"
        triggers = [trigger(said) for act in acts for said in act.said if said.flow == "pas"]
        if "A03" in triggers:
            assert triggers[0] in ("A04", "A05")
        if "A02" in triggers:
            assert "A01" in triggers[: triggers.index("A02")]


def test_a_short_window_has_whole_stories() -> None:
    day = plan(3, hours=0.2)

    assert day.acts[-1].at <= day.seconds
    assert day.seconds == pytest.approx(720, rel=0.05)
    triggers = Counter(trigger(said) for said in said_of(day))
    assert triggers["A05"] >= 1
    assert triggers["A03"] > triggers["A01"]
    assert min(triggers["A40"], triggers["A47"]) >= 1


def test_a_merge_falls_between_two_images_of_one_examination() -> None:
    day = plan(4, faults=("merge-during-exam",), **SMALL)
    stories: dict[int, list[Act]] = defaultdict(list)
    for act in day.acts:
        stories[act.story].append(act)
    found = 0
    for acts in stories.values():
        parts = [act.exam if act.exam else [trigger(said) for said in act.said] for act in acts]
        if ["A40"] not in parts or not any(act.exam for act in acts):
            continue
        found += 1
        at = parts.index(["A40"])
        before, after = acts[at - 1].exam, acts[at + 1].exam
        assert before is not None
        assert after is not None
        assert (before.step, before.last + 1) == (after.step, after.first)
        merge = acts[at].said[0]
        assert merge.patients[1] in before.patient, "images are begun under the record that ends"
        assert merge.patients[0] in after.owners
        assert merge.patients[1] not in after.owners
    assert found == 2


def test_what_is_open_in_the_end_has_the_last_name_and_what_is_done_is_not_open() -> None:
    day = plan(5, hours=10.0, scale=0.2)
    assert {row.open for row in day.rows} == {True, False}
    last: dict[str, bytes] = {}
    for said in said_of(day):
        if said.flow == "pas":
            last[said.patients[0]] = said.raw.split(b"\r")[2].split(b"|")[5]
    for row in day.rows:
        if row.open:
            assert row.name.encode() == last[row.patient[-1]]


def test_every_fault_has_its_victims_and_no_victim_two() -> None:
    day = plan(6, faults=ALL, **SMALL)
    committed = Counter(act.fault for act in day.acts if act.fault)
    assert set(committed) == {name for name, fault in FAULTS.items() if fault.place in ("feed", "story")}
    assert set(day.epj.values()) == {fault.epj for fault in FAULTS.values() if fault.epj}
    assert set(day.pacs.values()) == {2}
    keys = {key for act in day.acts if not act.fault for said in act.said for key in said.epj}
    assert day.epj.keys() <= keys, "the EPJ's faults do not fall on messages that have one already"
    for act in day.acts:
        assert len(act.said) == (2 if act.fault in ("pipelined", "lying-charset") else len(act.said[:1]))
        assert len({said.flow for said in act.said}) <= 1


def test_faults_change_nothing_of_what_is_due() -> None:
    def due(day: Day) -> Counter[str]:
        return Counter(key for said in said_of(day) for key in said.epj)

    without = tuple(name for name in ALL if name != "merge-during-exam")

    assert due(plan(7, faults=without, **SMALL)) == due(plan(7, **SMALL))


def test_a_window_over_midnight_goes_on_with_the_first_hour() -> None:
    share = sum(weight for _, weight in days._weights(23.5, 1.0))

    assert share == pytest.approx(HOURS[23] / 2 + HOURS[0] / 2)
