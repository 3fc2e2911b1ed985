"""Deliveries from commit 2 to their end, with merges, people and crashes: the real ledger, lanes and router's ear.

Threads and sockets are played by the rules, one step at a time, so that every interleaving can be met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.lanes import LaneBook
from broker.delivery.ledger import Queued
from broker.delivery.parked import By
from broker.delivery.stored import Open
from broker.journal.intake import append
from broker.runtime.lanes import MemoryLanes
from broker.runtime.pipeline import Routed
from broker.store.database import Database
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support.events import cause, event, reception

PATIENTS = st.sampled_from("abcde")
DESTINATIONS = ("epj", "pacs")
WHERE = st.sampled_from([("epj",), ("epj",), ("pacs",), DESTINATIONS])
AT = "2026-03-09T09:00:00+00:00"
BY = By(who="kari", at=AT, reason="asked the ward")


@dataclass
class Face:
    """An `Executor` as the router sees it: it hands everything to its book."""

    book: LaneBook = field(default_factory=LaneBook)

    def add(self, queued: Queued) -> None:
        self.book.add(queued.id, queued.lane, queued.due, parked=queued.parked)

    def join_lanes(self, absorbed: str, survivor: str) -> None:
        self.book.join(absorbed, survivor)

    def release(self, delivery: int) -> None:
        self.book.release(delivery)

    def drop(self, delivery: int) -> None:
        self.book.drop(delivery)


@dataclass(frozen=True)
class Memory:
    """A `Database` that only reads."""

    tx: Transaction

    def read(self) -> Transaction:
        return self.tx


@dataclass
class Wanted:
    """What the model knows of a delivery."""

    destination: str
    payload: bytes
    state: str = "queued"
    before: frozenset[int] = frozenset()
    """Those that must have left, or been dropped, before this one leaves."""
    replay: bool = False


@dataclass
class Flight:
    """A delivery between `take` and the record of its outcome."""

    opened: Open
    arrived: bool = False


class Story(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tx = in_memory()
        append(self.tx, reception(1, event("patient.registered")))
        self.now = 1000.0
        self.wanted: dict[int, Wanted] = {}
        self.one: dict[str, str] = {patient: patient for patient in "abcde"}
        """Patient to the patient it was merged into, himself at first."""
        self.lane: dict[int, str] = {}
        """Delivery to the patient it is about."""
        self.sent: dict[str, list[int]] = {name: [] for name in DESTINATIONS}
        """What each destination saw: the outside's own record, which no crash undoes."""
        self.start()

    # --- start and crash ---

    def start(self) -> None:
        """As `Broker.start`: the lanes are what the journal says."""
        self.executors = {name: Face() for name in DESTINATIONS}
        self.flying: dict[int, Flight] = {}
        self.parking: dict[int, Open] = {}
        """Parked in the book; the journal does not know it yet."""
        self.untold: Routed | None = None
        self.told = dict(self.one)
        """The merges that the lanes have heard of."""
        for queued in stored.open_deliveries(self.tx):
            self.executors[queued.destination].add(queued)
        self.lanes = MemoryLanes(cast(Database, Memory(self.tx)), cast(Mapping[str, Any], self.executors))
        self.lanes._seen = parked.last_intervention(self.tx)

    @precondition(lambda self: len(self.flying) > 1 or self.parking or self.untold)
    @rule()
    def crash(self) -> None:
        self.start()

    # --- the router's thread: look, commit, tell ---

    def root(self, patient: str, one: Mapping[str, str] | None = None) -> str:
        one = one or self.one
        while one[patient] != patient:
            patient = one[patient]
        return patient

    def patients(self) -> list[str]:
        """Those that were not merged into another."""
        return [patient for patient, into in self.one.items() if patient == into]

    def earlier(self, destination: str, patient: str) -> frozenset[int]:
        """What is about a patient so far, those he was merged with included."""
        return frozenset(
            number
            for number, wanted in self.wanted.items()
            if wanted.destination == destination
            and self.root(self.lane[number]) == patient
            and not wanted.replay
        )

    def enqueued(self, patient: str, destination: str, *, replay_of: int | None = None) -> Queued:
        payload = f"{patient}{len(self.wanted)}".encode()
        lane = self.root(patient)
        target = Target(route="r", version="v1", place="r.yaml:1", kind="hl7", destination=destination)
        before = self.earlier(destination, lane)
        queued = ledger.enqueue(
            self.tx, cause(), lane, target, Rendered(payload=payload), replay_of=replay_of
        )
        self.lane[queued.id] = patient
        self.wanted[queued.id] = Wanted(destination, payload, before=before, replay=replay_of is not None)
        return queued

    @precondition(lambda self: self.untold is None)
    @rule(patients=st.lists(PATIENTS, min_size=1, max_size=6), where=WHERE, told=st.booleans())
    def routes_a_batch(self, patients: list[str], where: tuple[str, ...], told: bool) -> None:
        self.untold = Routed(queued=[self.enqueued(patient, name) for patient in patients for name in where])
        if told:
            self.tells_the_lanes()

    @precondition(lambda self: self.untold is None)
    @precondition(lambda self: len(self.patients()) > 1)
    @rule(data=st.data(), where=WHERE, told=st.booleans())
    def routes_a_merge(self, data: st.DataObject, where: tuple[str, ...], told: bool) -> None:
        absorbed, survivor = data.draw(st.permutations(self.patients()))[:2]
        ledger.join(self.tx, absorbed, survivor)
        self.one[absorbed] = survivor
        queued = [self.enqueued(survivor, name) for name in where]
        self.untold = Routed(queued=queued, joined=[(absorbed, survivor)])
        if told:
            self.tells_the_lanes()

    @precondition(lambda self: self.untold is not None)
    @rule()
    def tells_the_lanes(self) -> None:
        assert self.untold is not None
        self.lanes.routed([self.untold])
        self.told.update(self.untold.joined)
        self.untold = None

    @precondition(lambda self: self.untold is None and self.unheard())
    @rule()
    def hears_of_interventions(self) -> None:
        self.lanes.look()

    def unheard(self) -> bool:
        return bool(parked.interventions(self.tx, self.lanes._seen))

    # --- an executor's threads ---

    @precondition(lambda self: any(len(face.book) for face in self.executors.values()))
    @rule(name=st.sampled_from(DESTINATIONS), probe=st.booleans(), times=st.integers(1, 3))
    def takes(self, name: str, probe: bool, times: int) -> None:
        for _ in range(times):
            number = self.executors[name].book.take(self.now, probe=probe)
            if number is not None:
                self.took(number, name)

    def took(self, number: int, name: str) -> None:
        opened = stored.load(self.tx, number)
        assert opened is not None, "the lanes hold only what the journal has queued"
        beside = {
            self.root(self.lane[n], self.told) for n in self.flying if self.wanted[n].destination == name
        }
        assert self.root(self.lane[number], self.told) not in beside, "one in flight per lane"
        for other, wanted in self.wanted.items():
            passed = (
                other < number
                and wanted.destination == name
                and wanted.state in ("queued", "parked")
                and self.root(self.lane[other], self.told) == self.root(self.lane[number], self.told)
                and not wanted.replay
            )
            assert not passed, f"{number} left its lane before {other}"
        self.flying[number] = Flight(opened)

    @precondition(lambda self: any(not flight.arrived for flight in self.flying.values()))
    @rule(data=st.data())
    def arrives(self, data: st.DataObject) -> None:
        """The destination took it; its answer is still on the way."""
        self.arrive(data.draw(st.sampled_from(sorted(n for n, f in self.flying.items() if not f.arrived))))

    def arrive(self, number: int) -> None:
        flight, wanted = self.flying[number], self.wanted[number]
        flight.arrived = True
        assert flight.opened.delivery.payload == wanted.payload, "a repetition has the same bytes"
        seen = self.sent[wanted.destination]
        assert not (later := [n for n in seen if number in self.wanted[n].before]), (
            f"{later} left before {number}"
        )
        for earlier in wanted.before:
            state = self.wanted[earlier].state
            assert state in ("delivered", "dropped"), f"{number} passed {earlier}, which is {state}"
        seen.append(number)

    @precondition(lambda self: any(flight.arrived for flight in self.flying.values()))
    @rule(data=st.data())
    def is_recorded(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(n for n, f in self.flying.items() if f.arrived)))
        self.record(number)

    def record(self, number: int) -> None:
        flight = self.flying.pop(number)
        endings.finish(self.tx, flight.opened, Receipt(detail="ok", answer=b"AA"), AT)
        self.executors[self.wanted[number].destination].book.done(number)
        self.wanted[number].state = "delivered"

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), wait=st.sampled_from([0.0, 5.0, 60.0]))
    def fails(self, data: st.DataObject, wait: float) -> None:
        """Before or after it arrived: an answer can get lost."""
        number = data.draw(st.sampled_from(sorted(self.flying)))
        flight, due = self.flying.pop(number), self.now + wait
        endings.retry(self.tx, flight.opened, "failed", "no answer", due, AT, refusals=0)
        self.executors[self.wanted[number].destination].book.again(number, due)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), recorded=st.sampled_from([True, True, False]))
    def are_parked(self, data: st.DataObject, recorded: bool) -> None:
        for number in data.draw(st.lists(st.sampled_from(sorted(self.flying)), min_size=1, unique=True)):
            self.parking[number] = self.flying.pop(number).opened
            self.executors[self.wanted[number].destination].book.park(number)
            if recorded:
                self.record_parking(number)

    @precondition(lambda self: self.parking)
    @rule(data=st.data())
    def its_parking_is_recorded(self, data: st.DataObject) -> None:
        self.record_parking(data.draw(st.sampled_from(sorted(self.parking))))

    def record_parking(self, number: int) -> None:
        endings.park(self.tx, self.parking.pop(number), "refused", "MSA-1 AE", AT)
        self.wanted[number].state = "parked"

    @precondition(lambda self: any(face.book.wake_at() is not None for face in self.executors.values()))
    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # --- people, in another process ---

    def waiting(self) -> list[int]:
        return sorted(number for number, wanted in self.wanted.items() if wanted.state == "parked")

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), mended=st.booleans())
    def a_person_releases(self, data: st.DataObject, mended: bool) -> None:
        number = data.draw(st.sampled_from(self.waiting()))
        if mended:
            self.wanted[number].payload += b" mended"
            parked.edit(self.tx, number, self.wanted[number].payload, BY)
        parked.release(self.tx, number, BY)
        self.wanted[number].state = "queued"

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def a_person_drops(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.waiting()))
        parked.drop(self.tx, number, BY)
        self.wanted[number].state = "dropped"

    @precondition(lambda self: "delivered" in {wanted.state for wanted in self.wanted.values()})
    @rule(data=st.data())
    def a_person_sends_again(self, data: st.DataObject) -> None:
        done = sorted(number for number, wanted in self.wanted.items() if wanted.state == "delivered")
        number = data.draw(st.sampled_from(done))
        again = self.enqueued(self.lane[number], self.wanted[number].destination, replay_of=number)
        parked.note(self.tx, "replay", again.id, BY)

    # --- what holds at any moment ---

    @invariant()
    def nothing_is_lost(self) -> None:
        states = dict(self.tx.rows("SELECT id, state FROM delivery"))
        assert states == {number: wanted.state for number, wanted in self.wanted.items()}

    @invariant()
    def the_tally_is_what_the_rows_add_up_to(self) -> None:
        counted = self.tx.rows(
            "SELECT destination, state, count(*) FROM delivery GROUP BY 1, 2 ORDER BY 1, 2"
        )
        tallied = self.tx.rows(
            "SELECT destination, state, sum(number) FROM tally WHERE destination<>'' GROUP BY 1, 2"
            " HAVING sum(number)<>0 ORDER BY 1, 2"
        )
        assert tallied == counted

    @invariant()
    def the_lanes_hold_what_is_open(self) -> None:
        if self.untold is None and not self.unheard():
            rows = self.tx.rows(
                "SELECT destination, count(*) FROM delivery WHERE state IN ('queued', 'parked') GROUP BY 1"
            )
            held = {name: len(face.book) for name, face in self.executors.items()}
            assert held == {**dict.fromkeys(DESTINATIONS, 0), **dict(rows)}

    # --- the end of the story ---

    def teardown(self) -> None:
        """Whoever is parked holds those behind him and nobody else; released, all of them leave."""
        if self.untold is not None:
            self.lanes.routed([self.untold])
        self.lanes.look()
        for number in sorted(self.parking):
            self.record_parking(number)
        if len(self.wanted) % 2:
            self.start()
        self.drain()
        held = set(self.waiting())
        open_now = {n for n, wanted in self.wanted.items() if wanted.state in ("queued", "parked")}
        lanes = {
            (wanted.destination, self.root(self.lane[n])): n
            for n, wanted in sorted(self.wanted.items(), reverse=True)
            if n in held
        }
        for number in open_now:
            first = lanes.get((self.wanted[number].destination, self.root(self.lane[number])))
            assert first is not None, "nobody waits where nothing is parked"
            assert first <= number, "and nobody who came before it"
        for number in sorted(held):
            parked.release(self.tx, number, BY)
            self.wanted[number].state = "queued"
        self.lanes.look()
        self.drain()

        assert {wanted.state for wanted in self.wanted.values()} <= {"delivered", "dropped"}
        for wanted_number, wanted in self.wanted.items():
            seen = self.sent[wanted.destination]
            assert wanted.state == "dropped" or wanted_number in seen
            for earlier in wanted.before & set(seen):
                last = len(seen) - 1 - seen[::-1].index(earlier)
                assert wanted_number not in seen[:last], "journal order, repetitions included"

    def drain(self) -> None:
        """Everything that may leave leaves."""
        self.now = 1e12
        for number in sorted(self.flying):
            if not self.flying[number].arrived:
                self.arrive(number)
            self.record(number)
        for name in DESTINATIONS:
            while (number := self.executors[name].book.take(self.now)) is not None:
                self.took(number, name)
                self.arrive(number)
                self.record(number)


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=100, stateful_step_count=60)
