from __future__ import annotations

import pytest

from broker.doctor import cluster
from broker.doctor.cluster import Holder
from broker.doctor.finding import Finding

A = Holder(lease="leader", node="a:/data")
B = Holder(lease="way epj 0", node="b:/data")


@pytest.mark.parametrize(
    ("celery", "store", "bus", "state", "found"),
    [
        (False, True, False, "ok", "threads"),
        (True, True, True, "ok", "celery"),
        (True, True, False, "fault", "without bus: amqp"),
        (True, False, True, "fault", "without store: postgresql"),
        (True, False, False, "fault", "store: postgresql://… and bus: amqp://… or redis://…"),
    ],
)
def test_celery_needs_what_every_node_can_reach(
    celery: bool, store: bool, bus: bool, state: str, found: str
) -> None:
    finding = cluster.executor(celery=celery, store=store, bus=bus)

    assert finding.state == state
    assert found in finding.found


@pytest.mark.parametrize(
    ("apart", "kind", "holders", "state"),
    [
        (False, "nfs4", [], "warning"),
        (True, "nfs4", [A, B], "ok"),
        (True, "ext4", [A], "ok"),  # every node that is at work is on this machine
        (True, "ext4", [A, B], "warning"),
        (True, "", [A, B], "ok"),  # nothing is known, so nothing is claimed
    ],
)
def test_nodes_of_several_machines_need_one_spool(
    apart: bool, kind: str, holders: list[Holder], state: str
) -> None:
    finding = cluster.objects(apart=apart, kind=kind, host="a", holders=holders)

    assert finding.state == state
    assert ("run on b" in finding.found) == (apart and state == "warning")


@pytest.mark.parametrize(
    ("ahead", "state"), [(0.01, "ok"), (-1.9, "ok"), (2.1, "warning"), (-2.1, "warning")]
)
def test_clocks_apart_are_warned_of(ahead: float, state: str) -> None:
    assert cluster.database_clock(ahead).state == state


def test_who_leads_is_told_and_that_nobody_does() -> None:
    assert (cluster.leader(A).state, cluster.leader(A).found) == ("ok", "a:/data routes")
    assert cluster.leader(None).state == "warning"


@pytest.mark.parametrize(
    ("node", "runs", "state"),
    [("a:/data", True, "ok"), ("c:/data", False, "ok"), ("a:/data", False, "warning")],
)
def test_two_nodes_by_one_name_are_warned_of(node: str, runs: bool, state: str) -> None:
    assert cluster.name(node, [A, B], runs=runs).state == state


def test_whatever_is_not_well_says_what_to_do() -> None:
    findings: list[Finding] = [
        cluster.executor(celery=True, store=False, bus=False),
        cluster.bus("redis://bus", "TimeoutError"),
        cluster.objects(apart=False, kind="", host="a", holders=[]),
        cluster.database_clock(9.0),
        cluster.leader(None),
        cluster.name("a:/data", [A], runs=False),
    ]

    assert all(finding.do and finding.state != "ok" for finding in findings)
