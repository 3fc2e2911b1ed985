"""Outputs paired and held against each other: identical sets never differ, one line of `set:` is exactly its field."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.adapter import Rendered, Target
from broker.errors import UnmappableError
from broker.event import Event, EventData, Patient
from broker.plan.outputs import Made, Pair, changes, paired
from broker.plan.shapes import names_somebody, shape, shown
from broker.plan.tally import EXAMPLES, GROUPS, Tally
from broker.routing.engine import RouteSet
from broker.routing.loader import Site, load_files
from broker.view import View

FIELDS = ("MSH-8", "MSH-14", "PV1-3", "ZZZ-1")
values = st.text(
    st.characters(codec="latin-1", exclude_categories=("C", "Z"), exclude_characters="|^~\\&${}"), min_size=1
)
sets = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)


def view() -> View:
    event = Event(
        id="E1",
        type="order.placed",
        source="orders",
        site="STO",
        time=datetime(2026, 3, 9, tzinfo=UTC),
        message_id="M1",
        data=EventData(),
    )
    return View(event=event, patient=Patient(identifiers=()))


def render(_view: View, target: Target) -> Rendered:
    """A message that holds what `set:` says, and a parked one for an empty value."""
    found = {path.partition("-"): value for path, value in target.set.items()}
    if "stop" in target.set.values():
        raise UnmappableError(f"{target.place}: MSH-8: no")
    lines = {"MSH": ["MSH", "^~\\&"] + [""] * 12, "PV1": ["PV1"] + [""] * 3, "ZZZ": ["ZZZ", ""]}
    for (segment, _, number), value in found.items():
        lines[segment][int(number) - (segment == "MSH")] = str(value)
    return Rendered(payload="\r".join("|".join(fields) for fields in lines.values()).encode())


def routes(*said: dict[str, str], name: str = "r") -> RouteSet:
    files = {
        f"routes/{n}.yaml": f"route: {name}{n}\non: [order.placed]\nto:\n  - hl7: epj\n    send: ORM^O01\n"
        + (f"    set: {json.dumps(one)}\n" if one else "")
        for n, one in enumerate(said)
    }
    return load_files(files, Site(destinations={"epj": "hl7"}, tables={}, env={}))


def compare(one: RouteSet, two: RouteSet) -> list[Any]:
    return Pair(live=one, proposed=two, renderers={"epj": render}).compare(view())


def verdicts(one: RouteSet, two: RouteSet) -> list[str]:
    return [found.verdict for found in compare(one, two)]


@given(st.lists(sets, min_size=1, max_size=3))
def test_identical_sets_give_no_difference(said: list[dict[str, str]]) -> None:
    assert verdicts(routes(*said), routes(*said)) == ["same"] * len(said)


@given(sets, st.sampled_from(FIELDS), values)
def test_a_changed_line_is_exactly_its_field(said: dict[str, str], path: str, value: str) -> None:
    (found,) = compare(routes(said), routes({**said, path: value}))

    if said.get(path) == value:
        assert found.verdict == "same"
    elif "stop" not in (*said.values(), value):
        assert (found.verdict, [f.name.partition(".")[0] for f in found.fields]) == ("changed", [path])


def test_what_is_only_in_one_of_them_and_what_would_be_held() -> None:
    marked = {"MSH-8": "a"}
    stopped = {"MSH-8": "stop"}

    assert verdicts(routes(), routes(marked)) == ["only proposed"]
    assert verdicts(routes(marked), routes()) == ["only live"]
    assert verdicts(routes(marked), routes(stopped)) == ["would be held"]
    assert verdicts(routes(stopped), routes(marked)) == ["held no more"]
    assert verdicts(routes(stopped), routes({**stopped, "PV1-3": "x"})) == ["same"], "held both times"
    assert compare(routes(marked), routes(stopped))[0].reason == "routes/0.yaml:4: MSH-8: no"
    assert verdicts(routes(marked), routes(marked, name="other")) == ["same"], "another route's name"


def test_a_renderer_that_fails_is_an_event_that_fails() -> None:
    def broken(_view: View, _target: Target) -> Rendered:
        raise TypeError("secret")

    pair = Pair(live=routes(), proposed=routes({"MSH-8": "x"}), renderers={"epj": broken})
    (found,) = pair.compare(view())

    assert found.verdict == "would be held"
    assert found.reason == "routes/0.yaml:4: the whole event fails: TypeError"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))), st.data())
def test_every_output_is_in_exactly_one_pair(named: list[tuple[str, str]], data: st.DataObject) -> None:
    def made(names: list[tuple[str, str]]) -> list[Made]:
        return [
            Made(target=Target(route=route, version="", place=str(n), kind="hl7", destination=to))
            for n, (route, to) in enumerate(names)
        ]

    one, two = made(named), made(data.draw(st.permutations(named)))
    pairs = list(paired(one, two))

    assert sorted(o.target.place for o, _ in pairs if o) == sorted(o.target.place for o in one)
    assert sorted(n.target.place for _, n in pairs if n) == sorted(n.target.place for n in two)
    assert all(o and n and o.target.route == n.target.route for o, n in pairs), (
        "the same ones, in another order"
    )


def test_attributes_are_told_by_tag_and_sequences_by_item() -> None:
    one = {
        "PatientID": "1",
        "ScheduledProcedureStepSequence": [{"Modality": "CT"}],
        "RequestedProcedureCodeSequence": [],
    }
    two = {
        "PatientID": "1",
        "ScheduledProcedureStepSequence": [{"Modality": "MR"}],
        "RequestedProcedureCodeSequence": [{"CodeValue": "X"}],
    }
    found = list(changes("worklist", json.dumps(one).encode(), json.dumps(two).encode()))

    assert [(c.place, c.name, c.before, c.after) for c in found] == [
        ("(0008,0060) Modality", "Modality", "CT", "MR"),
        ("(0032,1064) RequestedProcedureCodeSequence", "RequestedProcedureCodeSequence", (), None),
        ("RequestedProcedureCodeSequence[0] (0008,0100) CodeValue", "CodeValue", None, "X"),
    ]
    images = [json.dumps({"path": "p", "coerce": c}).encode() for c in (None, {"PatientID": "7"})]
    assert [c.place for c in changes("dicom", *images)] == ["(0010,0020) PatientID"]


@given(st.text())
def test_a_shape_holds_nothing_but_signs(value: str) -> None:
    found = shape(value)

    assert set(found.partition("…")[0]) <= set("Aa9? ^~&\\|.,:;+-_/()")
    assert len(found.partition("…")[0]) <= 40


def test_only_words_of_the_routes_are_shown_and_never_where_a_name_stands() -> None:
    known = frozenset(("CT1_STO", "Berg"))

    assert shown("CT1_STO", "hl7", "OBR-24", known) == "CT1_STO"
    assert shown("Berg", "hl7", "PID-5.1", known) == "Aaaa"
    assert shown("Berg", "worklist", "PatientName", known) == "Aaaa"
    assert shown("Berg", "worklist", "ScheduledPerformingPhysicianName", known) == "Aaaa"
    assert shown(("CT1_STO", "CT2_STO"), "worklist", "ScheduledStationAETitle", known) == "CT1_STO | AA9_AAA"
    assert shown(None, "hl7", "MSH-8", known) == "nothing"
    assert names_somebody("hl7", "ZPI-3")
    assert names_somebody("dicom", "0011,1001"), "a private element may say anything"


def test_a_tally_is_bounded() -> None:
    tally = Tally(words=frozenset())
    one = compare(routes({"MSH-8": "a"}), routes({"MSH-8": "b"}))
    for number in range(10):
        tally.add(f"M{number}", one)
    (group,) = tally.ordered()
    assert (group.count, len(group.examples), tally.outputs, tally.differing) == (10, EXAMPLES, 10, 10)

    for number in range(GROUPS + 5):
        tally.add("M", [replace(one[0], fields=(), reason=str(number))])
    assert (len(tally.groups), tally.left_out) == (GROUPS, 6)
