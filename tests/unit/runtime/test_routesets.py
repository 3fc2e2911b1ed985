from __future__ import annotations

import pytest

from broker.delivery.parked import By
from broker.routing.files import RouteFiles, TableFile
from broker.runtime import nodes, routesets
from broker.runtime.nodes import Node
from broker.runtime.routesets import Answer, ApplyError
from broker.store.transaction import Transaction

BY = By(who="kari", at="2026-03-09T08:00:00+00:00", reason="CT3 is new")


def files(text: str) -> RouteFiles:
    return RouteFiles(
        routes={"routes/a.yaml": text}, tables={"t": TableFile(file="t.csv", text="code,values\n")}
    )


def test_each_set_that_goes_live_has_the_next_number_and_is_kept(tx: Transaction) -> None:
    assert (routesets.live(tx), routesets.glance(tx)) == (None, (0, ""))

    assert [routesets.add(tx, files(text), text, BY) for text in ("one", "two", "one")] == [1, 2, 3]

    live = routesets.live(tx)
    assert live is not None
    assert (live.number, live.version, live.files, live.by) == (3, "one", files("one"), BY)
    assert routesets.get(tx, 2).files == files("two")
    assert routesets.hold(tx) == 3
    assert [(row["number"], row["live"]) for row in routesets.listed(tx)] == [
        (3, True),
        (2, False),
        (1, False),
    ]
    assert [row["number"] for row in routesets.listed(tx, 1)] == [3]


def test_a_number_that_never_was_is_told(tx: Transaction) -> None:
    with pytest.raises(ApplyError, match="no routes v7"):
        routesets.get(tx, 7)


def test_one_proposal_at_a_time_and_its_answers_go_with_it(tx: Transaction) -> None:
    routesets.propose(tx, "p1", files("one"), 30)
    routesets.answer(tx, "p1", Answer(node="b", version="", fault="a.yaml:1:1: no"))
    routesets.answer(tx, "p1", Answer(node="a", version="x", fault=""))
    routesets.answer(tx, "p1", Answer(node="b", version="x", fault=""))

    assert routesets.glance(tx) == (0, "p1")
    assert routesets.proposal(tx, "p1") == files("one")
    assert [(said.node, said.fault) for said in routesets.answers(tx, "p1")] == [("a", ""), ("b", "")]
    with pytest.raises(ApplyError, match="another route set"):
        routesets.propose(tx, "p2", files("two"), 30)

    routesets.withdraw(tx, "p1")
    routesets.withdraw(tx, "p2")
    assert routesets.glance(tx) == (0, "")
    assert routesets.answers(tx, "p1") == []


def test_a_proposal_that_nobody_withdrew_runs_out(tx: Transaction) -> None:
    routesets.propose(tx, "p1", files("one"), -1)

    assert routesets.proposal(tx, "p1") is None
    routesets.propose(tx, "p2", files("two"), 30)
    assert routesets.proposal(tx, "p2") == files("two")
    assert routesets.proposal(tx, "p1") is None


def node(name: str, *roles: str, fault: str = "") -> Node:
    return Node(name=name, roles=roles, software="1.0", routes=2, version="x", fault=fault)


def test_nodes_that_lately_said_so_live(tx: Transaction) -> None:
    for one in (
        node("a", "router", "deliver"),
        node("b", "intake"),
        node("c", "deliver"),
        node("d", "router"),
    ):
        nodes.beat(tx, one)
    nodes.beat(tx, node("a", "router", "deliver", fault="no destination"))
    nodes.gone(tx, "d")
    tx.execute("UPDATE node SET at=at-? WHERE name='c'", (nodes.LIVING_SECONDS + 1,))

    assert nodes.living(tx, ("router", "deliver")) == ["a"]
    assert [(n["node"], n["living"], n["fault"]) for n in nodes.listed(tx)] == [
        ("a", True, "no destination"),
        ("b", True, ""),
        ("c", False, ""),
    ]


def test_who_leads_is_told_and_who_is_long_dead_is_forgotten(tx: Transaction) -> None:
    nodes.beat(tx, node("a", "router"))
    nodes.beat(tx, node("b", "router"))
    tx.execute("UPDATE node SET at=at-? WHERE name='b'", (nodes.FORGET_SECONDS + 1,))
    nodes.beat(tx, node("c", "router"))
    tx.execute("INSERT INTO lease (name, owner, term, until) VALUES ('leader','c',1,?)", (tx.now() + 10,))

    assert [(n["node"], n["leads"], n["roles"]) for n in nodes.listed(tx)] == [
        ("a", False, ["router"]),
        ("c", True, ["router"]),
    ]
