"""A set goes live when every node that goes by routes has loaded it, or nothing changes. Nodes here are answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from broker.delivery.parked import By
from broker.routing.files import RouteFiles
from broker.runtime import routesets
from broker.runtime.applying import Applied, apply
from broker.runtime.routesets import Answer, ApplyError
from broker.store.database import Database
from broker.store.transaction import Transaction

BY = By(who="kari", at="2026-03-09T08:00:00+00:00", reason="a test")
FILES = RouteFiles(routes={"routes/a.yaml": "route: a\n"}, tables={})


def says(database: Database, node: str, fault: str = "", version: str = "there") -> None:
    """A node answers what is proposed."""
    _, identity = routesets.glance(database.read())
    assert identity, "nothing is proposed"
    said = Answer(node=node, version="" if fault else version, fault=fault)
    database.write(partial(routesets.answer, identity=identity, said=said)).result(30)


def applied(
    database: Database,
    nodes: list[str],
    *steps: Callable[[], None],
    seconds: float = 60,
    rehearsal: bool = False,
    expected: Callable[[Transaction], list[str]] | None = None,
) -> Applied:
    """Applies while one step is taken at each pause; a pause too many fails."""
    left = iter(steps)
    return apply(
        database,
        FILES,
        "here",
        BY,
        expected or (lambda _tx: nodes),
        seconds=seconds,
        rehearsal=rehearsal,
        pause=lambda: next(left)(),
    )


def numbers(database: Database) -> list[tuple[int, str]]:
    return [(row["number"], row["version"]) for row in routesets.listed(database.read())]


def test_without_a_running_broker_it_is_live_at_once(database: Database) -> None:
    assert applied(database, []).number == 1

    assert numbers(database) == [(1, "here")]
    assert routesets.glance(database.read()) == (1, ""), "and nothing is proposed any more"


def test_it_is_live_once_all_have_loaded_it(database: Database) -> None:
    found = applied(database, ["a", "b"], lambda: says(database, "b"), lambda: says(database, "a"))

    assert (found.number, [said.node for said in found.loaded]) == (1, ["a", "b"])
    assert numbers(database) == [(1, "there")], "the hash of where it runs"


def test_one_that_cannot_load_it_keeps_it_from_all(database: Database) -> None:
    found = applied(
        database, ["a", "b", "c"], lambda: says(database, "a"), lambda: says(database, "b", "no destination")
    )

    assert (found.number, [(said.node, said.fault) for said in found.refused]) == (
        0,
        [("b", "no destination")],
    )
    assert numbers(database) == []
    assert routesets.glance(database.read()) == (0, "")


def test_one_that_does_not_answer_keeps_it_from_all(database: Database) -> None:
    found = applied(database, ["a"], seconds=0)

    assert (found.number, found.silent) == (0, ("a",))
    assert (numbers(database), routesets.glance(database.read())) == ([], (0, ""))


def test_one_that_dies_meanwhile_is_not_waited_for(database: Database) -> None:
    nodes = ["a", "b"]

    found = applied(database, nodes, lambda: says(database, "a"), lambda: nodes.remove("b"))

    assert (found.number, found.silent) == (1, ())


def test_one_that_comes_at_the_last_moment_must_agree_too(database: Database) -> None:
    """Who is there is asked once more in the transaction that makes it live."""
    asked: list[list[str]] = [["a"], ["a"], ["a", "late"]]

    found = applied(
        database,
        [],
        lambda: says(database, "a"),
        expected=lambda _tx: asked.pop(0) if asked else ["a", "late"],
    )

    assert (found.number, found.silent) == (0, ("late",))
    assert numbers(database) == []


def test_a_rehearsal_asks_and_changes_nothing(database: Database) -> None:
    found = applied(database, ["a"], lambda: says(database, "a"), rehearsal=True)

    assert (found.number, found.agreed, len(found.loaded)) == (0, True, 1)
    assert (numbers(database), routesets.glance(database.read())) == ([], (0, ""))


def test_who_is_interrupted_leaves_nothing_behind(database: Database) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        applied(database, ["a"], interrupted)

    assert routesets.glance(database.read()) == (0, "")


def test_two_do_not_apply_at_once(database: Database) -> None:
    def another() -> None:
        with pytest.raises(ApplyError, match="another route set"):
            applied(database, [])
        says(database, "a")

    assert applied(database, ["a"], another).number == 1


def test_a_proposal_that_ran_out_does_not_go_live(database: Database) -> None:
    def stalled() -> None:
        says(database, "a")
        database.write(lambda tx: tx.execute("UPDATE route_proposal SET until=0")).result(30)

    with pytest.raises(ApplyError, match="ran out"):
        applied(database, ["a"], stalled)

    assert numbers(database) == []
