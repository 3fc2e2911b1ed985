"""A plan over what a journal holds: what differs is told by place, what does not is not, and no patient is in it."""

from __future__ import annotations

import json

import pytest

from broker.plan import report
from broker.plan.proposal import Plan
from broker.plan.shapes import shape
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
    plan = traffic.plan(traffic.edited(("adt-to-epj", TO_EPJ, MARKED)), registers=registers)  # type: ignore[arg-type]

    assert groups(plan) == [("adt-to-epj", "epj", "changed", "MSH-8", 2)]
    assert plan.rows is not None
    assert plan.rows.differing == 0
    assert [(f.name, f.how, f.size) for f in plan.changes.files] == [
        ("routes/adt-to-epj.yaml", "changed", "+1 -0")
    ]
    assert [(r.name, r.parts) for r in plan.changes.routes] == [("adt-to-epj", ("to[0] epj MSH-8",))]
    shown = outputs(plan)
    assert "nothing → SECOND  message M00001" in shown, "a word of the routes is shown as it is"
    assert (
        f"shadow replay: 2 of {plan.shadow.tally.outputs} outputs differ" in shown if plan.shadow else False
    )


def test_a_table_row_changes_worklist_rows(traffic: Planner) -> None:
    plan = traffic.plan(traffic.edited(("stations", "MR-LAB1,MR1_STO", "MR-LAB1,MR2_STO")))

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
    plan = traffic.plan(traffic.edited(("stations", "MR-LAB1,MR1_STO", "MR-LAB9,MR1_STO")))

    assert plan.rows is not None
    assert [lane.verdicts for lane in plan.rows.lanes.values()] == [{"would be held": 1}]
    ((route, _, verdict, path, count),) = groups(plan)
    assert (route, verdict, path, count) == ("steps-to-worklist", "would be held", "", 1)
    assert "no station" in outputs(plan)


def test_a_mapping_that_parks_would_hold_the_output(traffic: Planner) -> None:
    parks = TO_EPJ + "    set: { MSH-8: \"${ park(first(lookup('stations', patient.name.family))) }\" }\n"
    plan = traffic.plan(traffic.edited(("adt-to-epj", TO_EPJ, parks)))

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
    plan = traffic.plan(traffic.edited(("adt-to-epj", "route: adt-to-epj\n", "route: adt\n")))

    assert groups(plan) == [], "what leaves is the same"
    assert [(r.name, r.how) for r in plan.changes.routes] == [("adt", "added"), ("adt-to-epj", "removed")]
    assert plan.differs


def test_what_changes_for_retries_is_told(traffic: Planner) -> None:
    plan = traffic.plan(
        traffic.edited(
            ("adt-to-epj", "max: 5m }, alert: epj-desk", "max: 10m }, park_after: 1h, alert: epj-desk")
        )
    )

    why = {w.route: w.why for w in plan.waiting}
    assert why["adt-to-epj"] == (
        "on_failure.retry.max 300 s → 600 s",
        "on_failure.park_after 86400 s → 3600 s",
    )
    assert groups(plan) == []


def test_the_state_before_the_window_counts(traffic: Planner) -> None:
    """The order was taken before the name changed: its row then showed the first name."""
    named = "set:                       # only"
    edit = (
        "steps-to-worklist",
        named,
        f"set:\n      StudyDescription: ${{patient.name.family}}x\n      # {named}",
    )
    before = traffic.plan(traffic.edited(edit), registers="before")
    now = traffic.plan(traffic.edited(edit), registers="now")
    only_order = traffic.plan(traffic.edited(edit), registers="before", last=3)

    assert before.shadow is not None
    assert now.shadow is not None
    assert only_order.shadow is not None
    assert before.shadow.tally.differing > now.shadow.tally.differing, "rows that the new name made anew"
    assert only_order.shadow.window.messages == 3
    assert only_order.shadow.events < before.shadow.events


def test_a_sample_is_every_so_many_th_event(traffic: Planner) -> None:
    whole = traffic.plan(traffic.edited())
    for registers in ("before", "now"):
        some = traffic.plan(traffic.edited(), sample=3, registers=registers)  # type: ignore[arg-type]

        assert whole.shadow is not None
        assert some.shadow is not None
        assert some.shadow.events == -(-whole.shadow.events // 3)


def test_nothing_of_a_patient_is_in_it(traffic: Planner) -> None:
    """Fields that say who somebody is are copied to other places; not one of their tokens is shown."""
    paths = ("PID-3", "PID-5", "PID-7", "PID-11", "PID-13", "NK1-2", "PV1-3", "PV1-19")
    lines = "".join(f"      PV1-{n}: \"${{msg('{path}')}}!\"\n" for n, path in enumerate(paths, 20))
    lines += "".join(
        f"      MSH-{n}: \"${{msg('{path}')}}\"\n" for n, path in ((8, "PID-5.1"), (14, "PID-3.1"))
    )
    shown_as = "${patient.name.family} ${patient.birth_date}"
    row = f'set:\n      StudyDescription: "{shown_as}"\n      StudyID: "{shown_as}"'
    plan = traffic.plan(
        traffic.edited(
            ("adt-to-epj", TO_EPJ, f"{TO_EPJ}    set:\n{lines}"),
            ("steps-to-worklist", "set:   ", f"{row}\n      #"),
        )
    )
    # The files themselves name the synthetic patients of their tests: they are the author's, and not of the journal.
    shown = "\n".join(
        [json.dumps({**plan.described(), "changes": None}, ensure_ascii=False), *report.text(plan)]
    )
    shown += "\n".join(line for line in report.markdown(plan) if not line.startswith(("+", "-", " ")))

    assert plan.shadow is not None
    assert plan.rows is not None
    assert plan.shadow.tally.differing >= 4
    assert plan.rows.differing == 2
    # A telephone number of nines only looks like every other one of its length.
    secrets = {token for token in traffic.tokens() if shape(token) != token}
    assert len(secrets) > 12
    assert [token for token in secrets if token in shown] == []


def test_there_may_be_no_traffic_at_all(planner: Planner) -> None:
    plan = planner.plan(planner.edited(("adt-to-epj", TO_EPJ, MARKED)))

    assert plan.differs, "the files do"
    assert "nothing was received in this time" in outputs(plan)
    assert "shadow replay: 0 of 0 outputs differ" in outputs(plan)


def test_events_that_commit_2_could_not_route_and_lost_bytes_are_told(traffic: Planner) -> None:
    traffic.house.database.write(
        lambda tx: tx.execute("UPDATE event SET routed='failed' WHERE place=(SELECT max(place) FROM event)")
    ).result(10)
    traffic.forget_bodies()
    plan = traffic.plan(traffic.edited())

    assert plan.shadow is not None
    assert plan.shadow.failed == 1
    assert plan.shadow.bodiless == plan.shadow.window.events - 1
    assert plan.shadow.events == 0
    assert "retention took the bytes of their messages" in outputs(plan)


def test_live_routes_that_these_settings_cannot_load_leave_the_files(traffic: Planner) -> None:
    proposed = traffic.edited(("adt-to-epj", TO_EPJ, MARKED))
    plan = traffic.short(proposed, lost="epj")

    assert [f.name for f in plan.changes.files] == ["routes/adt-to-epj.yaml"]
    assert "there is no destination 'epj'" in plan.not_compared
    assert plan.changes.routes == ()
    assert "only files are compared" in outputs(plan)
