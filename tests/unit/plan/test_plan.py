"""A plan over what a journal holds: what differs is told by place, what does not is not, and no patient is in it."""

from __future__ import annotations

import json
import re

import pytest

from broker.plan import report
from broker.plan.proposal import Plan
from tests.unit.plan.conftest import Planner

TO_EPJ = "    purpose: contact\n"
MARKED = TO_EPJ + "    set: { MSH-8: SECOND }\n"


def outputs(plan: Plan) -> str:
    """Everything that is ever shown of a plan."""
    texts = [json.dumps(plan.described(), ensure_ascii=False), *report.text(plan, verbose=True)]
    return "\n".join([*texts, *report.markdown(plan), *report.summary(plan, verbose=True)])


def groups(plan: Plan) -> list[tuple[str, str, str, str, int]]:
    assert plan.shadow is not None
    return [(g.route, g.destination, g.verdict, g.path, g.count) for g in plan.shadow.tally.ordered()]


@pytest.mark.parametrize("registers", ["before", "now"])
def test_the_same_set_differs_in_nothing(traffic: Planner, registers: str) -> None:
    plan = traffic.plan(traffic.edited(), registers=registers)  # type: ignore[arg-type]

    assert not plan.differs
    assert plan.shadow is not None
    assert plan.shadow.tally.outputs > 5
    assert plan.shadow.events == plan.shadow.window.events > 0
    assert "shadow replay: 0 of" in outputs(plan)
    assert "files, routes and tables say the same" in outputs(plan)


@pytest.mark.parametrize("registers", ["before", "now"])
def test_a_line_of_set_is_that_field_and_no_other(traffic: Planner, registers: str) -> None:
    plan = traffic.plan(traffic.edited((TO_EPJ, MARKED)), registers=registers)  # type: ignore[arg-type]

    assert groups(plan) == [("adt-to-epj", "epj", "changed", "MSH-8", 2)]
    assert plan.rows is not None
    assert plan.rows.differing == 0
    assert [(f.name, f.how, f.size) for f in plan.changes.files] == [("routes/adt-to-epj.yaml", "changed", "+1 -0")]
    assert [(r.name, r.parts) for r in plan.changes.routes] == [("adt-to-epj", ("to[0] epj MSH-8",))]
    shown = outputs(plan)
    assert "nothing → SECOND  message M00001" in shown, "a word of the routes is shown as it is"
    assert f"shadow replay: 2 of {plan.shadow.tally.outputs} outputs differ" in shown if plan.shadow else False


def test_a_table_row_changes_worklist_rows(traffic: Planner) -> None:
    plan = traffic.plan(traffic.edited(("MR-LAB1,MR1_STO", "MR-LAB1,MR2_STO")))

    assert [(r.table, r.code, r.how, r.before, r.after) for r in plan.changes.rows] == [
        ("stations", "MR-LAB1", "changed", "MR1_STO", "MR2_STO")
    ]
    assert plan.changes.routes == ()
    assert plan.rows is not None
    (lane,) = plan.rows.lanes.values()
    assert (lane.destination, lane.outputs, lane.verdicts) == ("worklist", 2, {"changed": 1})
    assert groups(plan) == [
        ("steps-to-worklist", "worklist", "changed", "(0040,0001) ScheduledStationAETitle", 1)
    ]
    assert "MR1_STO → MR2_STO  message M00003" in outputs(plan)


def test_rows_of_a_code_that_goes_would_be_held(traffic: Planner) -> None:
    plan = traffic.plan(traffic.edited(("MR-LAB1,MR1_STO", "MR-LAB9,MR1_STO")))

    assert plan.rows is not None
    assert [lane.verdicts for lane in plan.rows.lanes.values()] == [{"would be held": 1}]
    ((route, _, verdict, path, count),) = groups(plan)
    assert (route, verdict, path, count) == ("steps-to-worklist", "would be held", "", 1)
    assert "no station" in outputs(plan)


def test_a_mapping_that_parks_would_hold_the_output(traffic: Planner) -> None:
    parks = TO_EPJ + "    set: { MSH-8: \"${ park(first(lookup('stations', patient.name.family))) }\" }\n"
    plan = traffic.plan(traffic.edited((TO_EPJ, parks)))

    (found,) = plan.shadow.tally.ordered() if plan.shadow else ()
    assert (found.verdict, found.count) == ("would be held", 2)
    assert "table 'stations' has no row for this code" in found.reason
    assert "routes/adt-to-epj.yaml:" in found.reason


def test_a_route_that_goes_and_what_it_has_queued(traffic: Planner) -> None:
    plan = traffic.plan(traffic.edited(without="adt-to-epj"))

    assert groups(plan) == [("adt-to-epj", "epj", "only live", "", 2)]
    (found,) = plan.waiting
    assert (found.destination, found.route, found.queued, found.parked) == ("epj", "adt-to-epj", 2, 0)
    assert found.why[0] == "the route goes; they leave as they were rendered"
    assert "on_failure.alert epj-desk → nothing" in found.why
    assert "epj: 2 queued of adt-to-epj: the route goes" in outputs(plan)


def test_a_route_renamed_is_the_same_output_by_another_name(traffic: Planner) -> None:
    plan = traffic.plan(traffic.edited(("route: adt-to-epj\n", "route: adt\n")))

    assert groups(plan) == [], "what leaves is the same"
    assert [(r.name, r.how) for r in plan.changes.routes] == [("adt", "added"), ("adt-to-epj", "removed")]
    assert plan.differs


def test_what_changes_for_retries_is_told(traffic: Planner) -> None:
    plan = traffic.plan(traffic.edited(("max: 5m }, alert: epj-desk", "max: 10m }, park_after: 1h, alert: epj-desk")))

    why = {w.route: w.why for w in plan.waiting}
    assert why["adt-to-epj"] == (
        "on_failure.retry.max 300 s → 600 s",
        "on_failure.park_after 86400 s → 3600 s",
    )
    assert groups(plan) == []


def test_the_state_before_the_window_counts(traffic: Planner) -> None:
    """The order was taken before the name changed: its row then showed the first name."""
    named = "set:                       # only"
    edit = (named, f"set:\n      StudyDescription: ${{patient.name.family}}x\n      # {named}")
    before = traffic.plan(traffic.edited(edit), registers="before")
    now = traffic.plan(traffic.edited(edit), registers="now")
    only_order = traffic.plan(traffic.edited(edit), registers="before", last=3)

    assert before.shadow and now.shadow and only_order.shadow
    assert before.shadow.tally.differing > now.shadow.tally.differing, "rows that the new name made anew"
    assert only_order.shadow.window.messages == 3
    assert only_order.shadow.events < before.shadow.events


def test_a_sample_is_every_so_many_th_event(traffic: Planner) -> None:
    whole = traffic.plan(traffic.edited())
    for registers in ("before", "now"):
        some = traffic.plan(traffic.edited(), sample=3, registers=registers)  # type: ignore[arg-type]

        assert whole.shadow and some.shadow
        assert some.shadow.events == -(-whole.shadow.events // 3)


def test_nothing_of_a_patient_is_in_it(traffic: Planner) -> None:
    """Every field that the messages hold is copied somewhere; not one of their tokens is shown."""
    fields = "PID-3 PID-5 PID-7 PID-11 PID-13 NK1-2 PV1-3 PV1-19".split()
    lines = "".join(f'      PV2-{n}: "${{msg(\'{path}\')}}!"\n' for n, path in enumerate(fields, 3))
    rows = "set:                       # only"
    row = f'set:\n      PatientComments: "${{patient.name.family}} ${{first(patient.ids)}}"\n      # {rows}'
    edits = ((TO_EPJ, f"{TO_EPJ}    set:\n{lines}"), (rows, row))
    try:
        proposed = traffic.edited(*edits)
    except Exception:
        proposed = traffic.edited(edits[0])
    plan = traffic.plan(proposed)
    shown = outputs(plan)

    assert plan.shadow is not None
    assert plan.shadow.tally.differing
    house = traffic.house
    tokens = set()
    for (seq, day) in house.database.read().rows("SELECT seq, day FROM message"):
        from broker.journal import log

        raw = log.body(house.database.read(), seq, day) or b""
        for line in raw.decode().split("\r"):
            if line[:3] in ("PID", "NK1", "PV1", "MRG"):
                tokens |= {t for t in re.split(r"[|^~&\s]", line) if len(t) > 4}
    written = " ".join([*proposed.files.texts().values(), *house.configured.files.texts().values()])
    secrets = {t for t in tokens if t not in written}
    assert len(secrets) > 5
    assert [t for t in secrets if t in shown] == []
    for name in ("Sørby", "Nordgård", "30908299902", "700123", "Čoahkkin"):
        assert name not in "\n".join(report.summary(plan)) + json.dumps(plan.described()["shadow"], ensure_ascii=False)
