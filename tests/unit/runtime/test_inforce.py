"""The routes in force on one node: what a start takes, what a look changes, and what a broken set does not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from broker.delivery.parked import By
from broker.journal import log as journal
from broker.routing.files import RouteFiles
from broker.routing.language import OnFailure
from broker.runtime import inforce, nodes, routesets
from broker.runtime.configured import Configured, compiled
from broker.runtime.inforce import RoutesInForce, live_configured
from broker.runtime.pipeline import drain
from broker.runtime.roles import Role
from broker.runtime.routesets import Stored
from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.crossing import as_far_as_it_gets, between
from tests.unit.runtime.conftest import ENV, House

BY = By(who="kari", at="2026-03-09T08:00:00+00:00", reason="a test")
ADT = "adt_a04_registered.hl7"
NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
SECONDS = 30.0
ROUTER: frozenset[Role] = frozenset(("router",))

Node = Callable[..., RoutesInForce]


def edited(files: RouteFiles, route: str, old: str, new: str) -> RouteFiles:
    """The set with a change in one of its files."""
    name = next(name for name in files.routes if name.endswith(f"{route}.yaml"))
    assert old in files.routes[name]
    return replace(files, routes={**files.routes, name: files.routes[name].replace(old, new)})


def with_files(configured: Configured, files: RouteFiles) -> Configured:
    return replace(configured, files=files, routes=compiled(configured.settings, files, ENV))


@pytest.fixture
def node(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Makes nodes on the house's journal, started: `shared` ones go by what is live, others by their folder."""
    monkeypatch.setattr(inforce, "LOOK_SECONDS", 3600)  # the tests look themselves
    made: list[RoutesInForce] = []

    def start(
        *, shared: bool, configured: Configured = house.configured, roles: frozenset[Role] = ROUTER
    ) -> RoutesInForce:
        monkeypatch.setattr(house.database, "shared", shared)
        found = RoutesInForce(house.database, configured, lambda: NOW, roles)
        made.append(found)
        found.start()
        return found

    yield start
    for one in made:
        one.stop()


def live(database: Database) -> Stored:
    found = routesets.live(database.read())
    assert found is not None
    return found


def put(database: Database, files: RouteFiles, version: str = "x") -> int:
    return database.write(lambda tx: routesets.add(tx, files, version, BY)).result(SECONDS)


def route(house: House, routes: RoutesInForce) -> None:
    """Commit 2 of all that waits, by the routes in force."""

    def commit(tx):  # type: ignore[no-untyped-def]
        pipeline = routes.current(tx)
        return list(drain(tx, pipeline, 100)) if pipeline else []

    house.database.write(commit).result(SECONDS)


def quiet(files: RouteFiles) -> RouteFiles:
    """Nothing goes to the EPJ for ADT."""
    return edited(files, "adt-to-epj", "route: adt-to-epj\n", "route: adt-to-epj\nenabled: false\n")


def broken(files: RouteFiles) -> RouteFiles:
    return edited(files, "adt-to-epj", "hl7: epj", "hl7: eqj")


def test_the_first_start_makes_the_folder_live(node: Node, house: House) -> None:
    routes = node(shared=False)

    found = live(house.database)
    assert (found.number, found.by.who, found.by.reason) == (1, "start", "first start")
    assert found.files.texts() == house.configured.files.texts()
    assert found.version == house.configured.routes.version
    assert routes.status() == {"routes": 1, "version": found.version, "fault": ""}


def test_an_embedded_start_takes_the_folder_as_the_next_number_only_where_it_differs(
    node: Node, house: House
) -> None:
    node(shared=False)
    assert node(shared=False).status()["routes"] == 1

    again = node(shared=False, configured=with_files(house.configured, quiet(house.configured.files)))

    assert again.status()["routes"] == 2
    assert (live(house.database).by.who, live(house.database).by.reason) == (
        "start",
        "the folder had changed",
    )


def test_nodes_that_share_a_journal_go_by_what_is_live_whatever_their_folder_says(
    node: Node, house: House
) -> None:
    first = node(shared=True)
    assert first.status()["routes"] == 1

    second = node(shared=True, configured=with_files(house.configured, quiet(house.configured.files)))

    assert second.status()["routes"] == 1
    assert second.configured.routes.version == house.configured.routes.version
    assert [row["number"] for row in routesets.listed(house.database.read())] == [1]


def test_events_go_by_the_routes_that_are_live_when_they_are_routed(node: Node, house: House) -> None:
    routes = node(shared=True)
    house.receive("pas", ADT)
    route(house, routes)
    assert ("epj", "queued") in house.made()
    before = len(house.made())

    put(house.database, quiet(house.configured.files))
    house.receive("pas", "adt_a08_new_name.hl7")
    route(house, routes)

    assert [d for d, _ in house.made()[before:]] == ["pacs-hl7"], (
        "by the new one, though nobody looked meanwhile"
    )
    routed = {r for (r,) in house.database.read().rows("SELECT DISTINCT routed FROM event")}
    assert routed == {house.configured.routes.version, routes.status()["version"]}
    assert routes.status()["routes"] == 2


def test_the_live_number_stands_still_while_events_are_routed(node: Node, house: House, new_database) -> None:  # type: ignore[no-untyped-def]
    """Whoever makes a set live while commit 2 is under way comes after it."""
    routes, other = node(shared=True), new_database()
    other.open()
    inside, go, order = threading.Event(), threading.Event(), list[str]()

    def commit(tx):  # type: ignore[no-untyped-def]
        routes.current(tx)
        inside.set()
        go.wait(SECONDS)
        order.append("routed")

    routing = house.database.write(commit)
    assert inside.wait(SECONDS)
    applying = other.write(lambda tx: order.append(f"v{routesets.add(tx, house.configured.files, 'x', BY)}"))
    go.set()
    routing.result(SECONDS)
    applying.result(SECONDS)

    assert order == ["routed", "v2"]


@pytest.mark.parametrize("shared", [True, False])
def test_a_set_that_cannot_be_used_here_is_told_and_the_one_before_stays(
    node: Node, house: House, shared: bool
) -> None:
    """Where there are other nodes, they route: what is behind the switch must not go by the set before it."""
    routes = node(shared=shared)
    put(house.database, broken(house.configured.files))
    house.receive("pas", ADT)

    route(house, routes)
    routes.look()

    assert (("epj", "queued") in house.made()) is not shared
    assert not routes.usable
    status = routes.status()
    assert status["routes"] == 1
    assert re.match(r".*routes/adt-to-epj\.yaml:\d+:\d+: .*there is no destination 'eqj'", status["fault"])
    assert {name: value for name, _, value in routes.gauges()} == {
        "broker_routes_live": 1,
        "broker_routes_fault": 1.0,
    }
    assert routes.why_not() == "", "it routes"

    put(house.database, quiet(house.configured.files))
    routes.look()
    assert routes.status() == {"routes": 3, "version": routes.configured.routes.version, "fault": ""}


def test_a_node_that_cannot_use_the_live_set_and_has_none_before_does_not_route_and_says_why(
    node: Node, house: House
) -> None:
    put(house.database, broken(house.configured.files))
    routes, intake = node(shared=True), node(shared=True, roles=frozenset(("intake", "worklist")))
    house.receive("pas", ADT)

    route(house, routes)

    assert house.waiting() == 2
    assert "cannot be used here" in routes.why_not()
    assert "eqj" in routes.why_not()
    assert intake.why_not() == "", "it does not go by routes"
    assert routes.status()["routes"] == 0

    put(house.database, house.configured.files)
    routes.look()
    route(house, routes)
    assert (house.waiting(), routes.why_not()) == (0, "")


def test_a_table_is_part_of_the_set(node: Node, house: House) -> None:
    routes = node(shared=True)
    files = house.configured.files
    table = files.tables["stations"]
    table = replace(table, text=table.text.replace("CT1_STO", "CT9_STO"))

    put(house.database, replace(files, tables={"stations": table}))
    house.receive("pas", ADT)
    house.receive("orders", "orm_ct.hl7")
    route(house, routes)

    (row,) = house.rows()
    assert "CT9_STO" in str(row["ScheduledProcedureStepSequence"][0]["ScheduledStationAETitle"])


def test_rows_stay_until_the_next_event_of_their_patient(node: Node, house: House) -> None:
    routes = node(shared=True)
    house.receive("pas", ADT)
    house.receive("orders", "orm_ct.hl7")
    route(house, routes)
    (before,) = house.rows()
    table = house.configured.files.tables["stations"]
    table = replace(table, text=table.text.replace("CT1_STO", "CT9_STO"))

    put(house.database, replace(house.configured.files, tables={"stations": table}))
    routes.look()
    assert house.rows() == [before]

    house.receive("pas", "adt_a08_new_name.hl7")
    route(house, routes)
    (after,) = house.rows()
    assert "CT9_STO" in str(after["ScheduledProcedureStepSequence"][0]["ScheduledStationAETitle"])


def test_a_proposed_set_is_loaded_beforehand_and_answered_once(node: Node, house: House) -> None:
    routes = node(shared=True)
    files = quiet(house.configured.files)
    house.database.write(partial(routesets.propose, identity="p1", files=files, seconds=60)).result(SECONDS)

    routes.look()
    house.database.write(lambda tx: None).result(SECONDS)  # the answer stands before it

    (said,) = routesets.answers(house.database.read(), "p1")
    assert said.fault == ""
    assert routes.status()["routes"] == 1, "nothing has changed yet"
    number = put(house.database, files, said.version)
    routes.look()
    assert routes.status() == {"routes": number, "version": said.version, "fault": ""}


def test_a_proposed_set_that_cannot_be_used_is_answered_with_its_first_fault(
    node: Node, house: House
) -> None:
    routes = node(shared=True)
    files = edited(broken(house.configured.files), "adt-to-pacs", "hl7: pacs-hl7", "hl7: pax")
    house.database.write(partial(routesets.propose, identity="p1", files=files, seconds=60)).result(SECONDS)

    routes.look()
    house.database.write(lambda tx: None).result(SECONDS)

    (said,) = routesets.answers(house.database.read(), "p1")
    assert "there is no destination 'eqj'" in said.fault
    assert re.search(r"\(and \d more\)$", said.fault)
    assert (said.version, routes.status()["fault"]) == ("", "")


def test_what_a_route_wants_when_it_fails_follows_the_switch(node: Node, house: House) -> None:
    routes = node(shared=True)
    files = edited(house.configured.files, "adt-to-epj", "on_failure: {", "on_failure: { refusals: 77,")
    assert routes.on_failure("adt-to-epj").refusals != 77
    assert routes.on_failure("was-once") == OnFailure()

    put(house.database, files)
    routes.look()

    assert routes.on_failure("adt-to-epj").refusals == 77


def test_a_node_says_what_it_is_and_that_it_is_gone(node: Node, house: House) -> None:
    routes = node(shared=True)
    routes._beat()
    house.database.write(lambda tx: None).result(SECONDS)
    (found,) = nodes.listed(house.database.read())
    assert (found["roles"], found["routes"], found["living"]) == (["router"], 1, True)

    routes.stop()
    house.database.write(lambda tx: None).result(SECONDS)

    assert nodes.listed(house.database.read()) == []


def test_an_embedded_broker_writes_nothing_of_itself(node: Node, house: House) -> None:
    node(shared=False).stop()

    assert house.database.read().rows("SELECT * FROM node") == []


def test_what_the_journal_says_is_what_rebuilds_use(node: Node, house: House) -> None:
    settings = house.configured.settings
    assert (
        live_configured(settings, ENV, house.database.read()).routes.version
        == house.configured.routes.version
    )

    put(house.database, quiet(house.configured.files))

    found = live_configured(settings, ENV, house.database.read())
    assert not found.routes["adt-to-epj"].enabled
    assert journal.waiting(house.database.read()) == 0


def test_of_two_nodes_that_start_a_journal_at_once_the_first_one_s_folder_is_live(
    configured: Configured, nodes: list[Database]
) -> None:
    first, second = nodes
    files = edited(configured.files, "adt-to-epj", "route: adt-to-epj", "# another folder\nroute: adt-to-epj")
    one = RoutesInForce(first, configured, lambda: NOW, ROUTER)
    other = RoutesInForce(second, with_files(configured, files), lambda: NOW, ROUTER)
    adopting: list[Future[Stored]] = []

    def at_once() -> None:
        adopting.append(as_far_as_it_gets(first, second.write(other._adopt)))

    def adopt(tx: Transaction) -> Stored:
        between(tx, "FROM route_set", at_once, behind=True)
        return one._adopt(tx)

    assert first.write(adopt).result(SECONDS).number == 1
    assert adopting[0].result(SECONDS).files == live(first).files == configured.files
    assert live(second).number == 1
