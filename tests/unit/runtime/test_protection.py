"""What becomes of a protected address: withheld, withdrawn, and told to nobody why. Through commit 2 on every store."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import Receipt
from broker.delivery import endings, ledger, parked, stored
from broker.event import Identifier
from broker.journal import log as journal
from broker.registers import patients
from broker.routing.engine import RouteSet
from broker.runtime import figures, replay, selection
from broker.runtime.configured import Configured
from broker.runtime.pipeline import Routed, drain
from broker.runtime.recall import recall
from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.crossing import as_far_as_it_gets, between
from tests.support.messages import SITE, Person, adt, merge, oru
from tests.support.routes import load_folder
from tests.unit.runtime.conftest import House

ROUTE = """\
route: {name}
on: [{on}]
to:
  - hl7: epj
    send: source
    purpose: contact
    protected: {protected}
"""
ANNA = Person(number="700901", contact="HEMMELIGVEIEN 7")
BARN = Person(number="700902", birth_date="20260301", contact="HEMMELIGVEIEN 7")
DOUBLE = replace(ANNA, number="700904")
"""Registered twice: the same person, who may be merged."""
NOW = datetime(2026, 3, 9, 9, tzinfo=UTC)


@pytest.fixture
def routes(tmp_path: Path) -> Callable[[str], RouteSet]:
    """ADT and results for the EPJ, with their contact data."""

    def load(protected: str) -> RouteSet:
        folder = tmp_path / protected
        folder.mkdir()
        for name, on in (("adt", "patient.*"), ("results", "result.available")):
            (folder / f"{name}.yaml").write_text(ROUTE.format(name=name, on=on, protected=protected))
        return load_folder(
            folder,
            destinations={"epj": "hl7"},
            tables={},
            env={},
            sources=["pas", "results"],
            shown_as="routes",
        )

    return load


def pd1(value: str) -> str:
    return "PD1" + "|" * 12 + value


def told(house: House, control_id: str, person: Person, *said: str) -> list[str]:
    """States of what one ADT came to."""
    before = len(house.deliveries())
    house.receive("pas", adt("A08", control_id, person, *said, "PV1|1|O"))
    house.route()
    return [state for _, state, _ in house.deliveries()[before:]]


def payloads(house: House) -> str:
    tx = house.database.read()
    numbers = [number for (number,) in tx.rows("SELECT id FROM delivery ORDER BY id")]
    return "".join((stored.payload_of(tx, number) or b"").decode() for number in numbers)


def key_of(house: House, person: Person) -> str:
    (owned,) = patients.under(house.database.read(), person.number)
    return patients.get(house.database.read(), owned.patient).key


def test_what_is_protected_is_withheld_and_open_again_when_pas_says_so(
    house: House, routes: Callable[[str], RouteSet]
) -> None:
    house.with_(routes=routes("withhold"))

    assert told(house, "C1", ANNA) == ["queued"]
    assert told(house, "C2", ANNA, pd1("Y")) == ["withheld"]
    assert told(house, "C3", ANNA) == ["withheld"], "a message that says nothing of it changes nothing"
    assert told(house, "C4", ANNA, pd1("?")) == ["withheld"], "what is not understood"
    assert told(house, "C5", ANNA, pd1("N")) == ["queued"]


@pytest.mark.parametrize("place", ["Sperret adresse", "^SPERRET ADRESSE", "^^Sperret  adresse"])
def test_the_text_of_an_address_says_it_too(
    house: House, routes: Callable[[str], RouteSet], place: str
) -> None:
    house.with_(routes=routes("withhold"))

    assert told(house, "C1", replace(ANNA, contact=place)) == ["withheld"]


def test_results_are_withheld_too(house: House, routes: Callable[[str], RouteSet]) -> None:
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA, pd1("Y"))
    house.receive("results", oru("R1", ANNA, "1"))
    house.route()

    assert [state for _, state, _ in house.deliveries()] == ["withheld", "withheld"]


def test_a_cleared_destination_gets_everything(house: House, routes: Callable[[str], RouteSet]) -> None:
    house.with_(routes=routes("allow"))

    assert told(house, "C1", ANNA) == ["queued"]
    assert told(house, "C2", ANNA, pd1("Y")) == ["queued"]
    assert payloads(house).count("HEMMELIGVEIEN") == 2
    assert recall(house.database.read(), key_of(house, ANNA)).withdrawn == 0


def test_what_waits_is_withdrawn_bytes_and_all_and_audited(
    house: House, routes: Callable[[str], RouteSet]
) -> None:
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA)
    told(house, "C2", ANNA)
    told(house, "C9", BARN)

    def park(tx: Any) -> None:
        opened = stored.load(tx, 1)
        assert opened is not None
        endings.park(tx, opened, "refused", "MSA-1 AE", NOW.isoformat())

    house.database.write(park).result()
    told(house, "C3", ANNA, pd1("Y"))

    assert [state for _, state, _ in house.deliveries()] == ["withheld", "withheld", "queued", "withheld"]
    assert payloads(house).count("HEMMELIGVEIEN") == 1, "the other patient's"
    tx = house.database.read()
    done = tx.rows("SELECT who, action, reason, delivery FROM intervention ORDER BY id")
    assert done == [("broker", "drop", ledger.WITHHELD, 1), ("broker", "drop", ledger.WITHHELD, 2)]
    assert [state for _, _, state, _ in parked.interventions(tx, 0)] == ["withheld", "withheld"]
    (row,) = stored.summary(tx)
    assert (row["queued"], row["parked"], row["withheld"]) == (1, 0, 3)


def test_what_was_being_sent_is_known_to_have_arrived(
    house: House, routes: Callable[[str], RouteSet]
) -> None:
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA)
    opened = stored.load(house.database.read(), 1)
    assert opened is not None
    told(house, "C2", ANNA, pd1("Y"))

    assert not house.database.write(
        lambda tx: endings.finish(tx, opened, Receipt(detail="AA"), NOW.isoformat())
    ).result()
    found = recall(house.database.read(), key_of(house, ANNA))
    assert [(one.destination, one.deliveries, one.sure) for one in found.told] == [("epj", (1,), False)]


def test_who_got_the_address_before_is_listed_merged_patients_and_unknown_numbers_too(
    house: House, routes: Callable[[str], RouteSet]
) -> None:
    house.with_(routes=routes("withhold"))
    house.receive("results", oru("R1", ANNA, "1"))  # before PAS knew her
    house.route()
    for control_id, person in (("C1", ANNA), ("C2", DOUBLE)):
        told(house, control_id, person)

    def deliver(tx: Any) -> None:
        for number in (1, 2, 3):
            opened = stored.load(tx, number)
            assert opened is not None
            endings.finish(tx, opened, Receipt(detail="AA"), NOW.isoformat())

    house.database.write(deliver).result()
    house.receive("pas", merge("A40", "C3", ANNA, DOUBLE.number))
    house.route()
    told(house, "C4", ANNA, pd1("Y"))
    found = recall(house.database.read(), key_of(house, ANNA))

    (one,) = found.told
    assert (one.destination, one.deliveries, one.sure, one.cleared) == ("epj", (1, 2, 3), True, False)
    assert (found.protected, found.withdrawn) == (True, 2)
    assert (one.first, one.last) == (NOW.isoformat(), NOW.isoformat())


def test_a_merge_keeps_the_protection_of_the_one_that_ends(
    house: House, routes: Callable[[str], RouteSet]
) -> None:
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA)
    told(house, "C2", DOUBLE, pd1("Y"))
    house.receive("pas", merge("A40", "C3", ANNA, DOUBLE.number))
    house.route()

    assert [state for _, state, _ in house.deliveries()] == ["withheld"] * 3


def born(house: House, control_id: str, child: Person, mother: Person) -> list[str]:
    """The child's registration, with the mother as PID-21 names her."""
    reception = house.configured.readers["pas"].receive(
        adt("A08", control_id, child, "PV1|1|I"), message_id=f"B{control_id}", now=NOW
    )
    named = Identifier(value=mother.number, namespace=SITE.split("&")[0], oid=SITE.split("&")[1])
    events = []
    for event in reception.events:
        patient = event.data.patient
        assert patient is not None
        data = event.data.model_copy(update={"patient": patient.model_copy(update={"mother": named})})
        events.append(event.model_copy(update={"data": data}))
    before = len(house.deliveries())
    house.intake.accept_blocking(replace(reception, events=tuple(events)))
    house.route()
    return [state for _, state, _ in house.deliveries()[before:]]


def test_a_newborn_inherits_from_its_mother(house: House, routes: Callable[[str], RouteSet]) -> None:
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA, pd1("Y"))

    assert born(house, "C2", BARN, ANNA) == ["withheld"]
    assert told(house, "C3", BARN, pd1("N")) == ["withheld"], "a default must not tell where the mother hides"
    assert told(house, "C4", ANNA, pd1("N")) == ["queued"]
    assert told(house, "C5", BARN) == ["queued"]


def test_when_the_mother_is_protected_later_what_waits_of_her_child_is_withdrawn(
    house: House, routes: Callable[[str], RouteSet]
) -> None:
    house.with_(routes=routes("withhold"))
    grown = replace(BARN, number="700903", birth_date="20000301")
    told(house, "C1", ANNA)
    assert born(house, "C2", BARN, ANNA) == ["queued"]
    assert born(house, "C3", grown, ANNA) == ["queued"]
    told(house, "C4", ANNA, pd1("Y"))

    assert [state for _, state, _ in house.deliveries()] == ["withheld", "withheld", "queued", "withheld"]


def test_nothing_that_is_told_says_why(house: House, routes: Callable[[str], RouteSet]) -> None:
    """That an address is protected is itself confidential: no reason, figure, event or fact names it."""
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA)
    told(house, "C2", ANNA, pd1("Y"))
    tx = house.database.read()
    timelines = [journal.timeline(tx, seq) for (seq,) in tx.rows("SELECT seq FROM message")]
    events = [logged.event.to_cloudevent() for seq in (1, 2) for logged in journal.events_of(tx, seq)]
    outside = repr([timelines, figures.status(tx), list(figures.gauges(tx, NOW)), json.dumps(events)])

    assert "withheld by policy" in outside
    assert "protect" not in outside.casefold()
    assert "sperr" not in outside.casefold()


def test_what_is_replayed_while_an_address_becomes_protected_does_not_leave(
    nodes: list[Database], configured: Configured, routes: Callable[[str], RouteSet]
) -> None:
    """A person's command looks whether it may; then PAS's message is routed; then the command is committed."""
    router, desk = nodes
    house = House(configured, router)
    house.with_(routes=routes("withhold"))
    told(house, "C1", ANNA)
    router.write(lambda tx: tx.execute("UPDATE delivery SET state='delivered'")).result(10)
    house.receive("pas", adt("A08", "C2", ANNA, pd1("Y"), "PV1|1|O"))
    routing: list[Future[list[Routed]]] = []

    def protected() -> None:
        routing.append(as_far_as_it_gets(desk, router.write(lambda tx: drain(tx, house.pipeline, 9))))

    def again(tx: Transaction) -> int:
        between(tx, "INSERT INTO delivery", protected)
        (first,) = selection.chosen(tx, selection.Selection(deliveries=(1,)))
        by = parked.By(who="kari", at=NOW.isoformat(), reason="it was lost there")
        return replay._queue(configured, [first], "sent", by, NOW, tx)

    assert desk.write(again).result(10) == 1
    routing[0].result(10)
    states = dict(router.read().rows("SELECT coalesce(replay_of, 0), state FROM delivery WHERE id>1"))
    assert states == {1: "withheld", 0: "withheld"}
