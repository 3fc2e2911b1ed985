"""Deliveries over several ways of several nodes, with merges, people and nodes that die: the real ledger and ways.

The model is that of `test_lanes_story`: what left, in which order, and who had it in hand. A node's threads are
played by the rules, one transaction at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, parked, ways
from broker.delivery.parked import By
from broker.delivery.stored import Open
from broker.journal.intake import append
from broker.store.lease import Lease, LostLeaseError
from broker.store.sqlite import in_memory
from tests.support.events import cause, event, reception

PATIENTS = "abcd"
DESTINATIONS = ("epj", "pacs")
AT = "2026-03-09T09:00:00+00:00"
BY = By(who="kari", at=AT, reason="asked the ward")
OK = Receipt(detail="ok")
WAYS = st.tuples(st.sampled_from(("epj", "epj", "epj", "pacs")), st.integers(0, 2))
LIMITS = st.sampled_from((1, 1, 1, 8))
AFTER = st.sampled_from(("", *PATIENTS))


@dataclass
class Wanted:
    """What the model knows of a delivery."""

    destination: str
    patient: str
    before: frozenset[int]
    """Those that must have left, or been dropped, before this one leaves."""
    state: str = "queued"
    sends: list[int] = field(default_factory=list)
    """When it was sent, as a place in all that was."""


@dataclass
class Holder:
    """A node's turn with a way."""

    way: Lease
    destination: str
    waiting: list[Open] = field(default_factory=list)
    """Claimed, in order."""
    sent: list[Open] = field(default_factory=list)
    """Their outcomes are not written yet."""
    over: bool = False
    """Its lease may be another's: it begins nothing more, but what it began may end."""


class Story(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tx = in_memory()
        append(self.tx, reception(1, event("patient.registered")))
        self.one: dict[str, str] = {patient: patient for patient in PATIENTS}
        """Patient to the patient it was merged into, himself at first."""
        self.wanted: dict[int, Wanted] = {}
        self.holders: list[Holder] = []
        self.sent = 0

    # --- the router ---

    def root(self, patient: str) -> str:
        while self.one[patient] != patient:
            patient = self.one[patient]
        return patient

    @rule(
        patients=st.lists(st.sampled_from(PATIENTS), min_size=3, max_size=6),
        to=st.sampled_from(("epj", "epj", "epj", "pacs")),
    )
    def routes(self, patients: list[str], to: str) -> None:
        for patient in patients:
            lane = self.root(patient)
            before = frozenset(
                n for n, w in self.wanted.items() if w.destination == to and self.root(w.patient) == lane
            )
            target = Target(route="r", version="v1", place="r.yaml:1", kind="hl7", destination=to)
            queued = ledger.enqueue(self.tx, cause(), lane, target, Rendered(payload=b"x"))
            self.wanted[queued.id] = Wanted(to, lane, before)

    @rule(data=st.data(), to=st.sampled_from(("epj", "epj", "pacs")))
    def routes_a_merge(self, data: st.DataObject, to: str) -> None:
        roots = sorted({self.root(patient) for patient in PATIENTS})
        if len(roots) > 1:
            absorbed, survivor = data.draw(st.permutations(roots))[:2]
            ledger.join(self.tx, absorbed, survivor)
            self.one[absorbed] = survivor
            self.routes([survivor], to)

    # --- nodes ---

    def in_hand(self, besides: Holder | None = None) -> Iterator[tuple[str, str]]:
        """(destination, lane) of what ways have whose time is not over."""
        for holder in self.holders:
            if holder is not besides and not holder.over:
                for one in (*holder.waiting, *holder.sent):
                    yield holder.destination, self.root(self.wanted[one.delivery.id].patient)

    @rule(which=WAYS, owner=st.sampled_from("xy"), limit=LIMITS, after=AFTER)
    def takes_a_way(self, which: tuple[str, int], owner: str, limit: int, after: str) -> None:
        destination, number = which
        way = ways.take(self.tx, destination, number, f"node-{owner}")
        if way is None:
            return
        for holder in self.holders:  # the same node again: its older turn died
            holder.over |= holder.way.name == way.name
        holder = Holder(way, destination)
        self.holders.append(holder)
        self.claim(holder, limit, after)

    def claim(self, holder: Holder, limit: int, after: str = "") -> None:
        claimed = ways.claim(self.tx, holder.way, holder.destination, limit, after)
        taken = {
            (holder.destination, self.root(self.wanted[o.delivery.id].patient)) for o in claimed.deliveries
        }
        assert not taken & set(self.in_hand()), "a lane that somebody has in hand was claimed"
        assert len(claimed.deliveries) <= limit
        holder.waiting = list(claimed.deliveries)

    def working(self) -> list[Holder]:
        return [holder for holder in self.holders if not holder.over]

    @precondition(lambda self: self.working())
    @rule(data=st.data(), limit=LIMITS, after=AFTER)
    def claims_more(self, data: st.DataObject, limit: int, after: str) -> None:
        holder = data.draw(st.sampled_from(self.working()))
        if not holder.waiting and not holder.sent:
            self.claim(holder, limit, after)

    def ready(self) -> list[tuple[Holder, Open]]:
        """What ways may send next: of each lane, as it was when it was claimed, one at a time."""
        found = []
        for holder in self.working():
            busy = {one.delivery.lane for one in holder.sent}
            for one in holder.waiting:
                if one.delivery.lane not in busy:
                    found.append((holder, one))
                    busy.add(one.delivery.lane)
        return found

    @precondition(lambda self: self.ready())
    @rule(data=st.data(), stored=st.booleans())
    def sends(self, data: st.DataObject, stored: bool) -> None:
        holder, one = data.draw(st.sampled_from(self.ready()))
        self.send(holder, one)
        if stored:
            self.delivered(holder, one)

    def send(self, holder: Holder, one: Open) -> None:
        number = one.delivery.id
        holder.waiting.remove(one)
        holder.sent.append(one)
        for earlier in self.wanted[number].before:
            assert self.wanted[earlier].state in ("delivered", "dropped"), f"{number} passed {earlier}"
        self.wanted[number].sends.append(self.sent)
        self.sent += 1

    def mine(self, holder: Holder, one: Open) -> bool:
        row = self.tx.one("SELECT claim, state FROM delivery WHERE id=?", (one.delivery.id,))
        return row == (holder.way.term, "queued")

    def under_way(self) -> list[tuple[Holder, Open]]:
        return [(holder, one) for holder in self.holders for one in holder.sent]

    @precondition(lambda self: self.under_way())
    @rule(data=st.data())
    def outcome_is_stored(self, data: st.DataObject) -> None:
        self.delivered(*data.draw(st.sampled_from(self.under_way())))

    def delivered(self, holder: Holder, one: Open) -> None:
        holder.sent.remove(one)
        mine = self.mine(holder, one)
        assert endings.finish(self.tx, one, OK, AT) is mine
        assert mine or holder.over, "only who lost its way finds its delivery gone"
        if mine:
            self.wanted[one.delivery.id].state = "delivered"

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), how=st.sampled_from(("refused", "unreachable", "parked")))
    def fails(self, data: st.DataObject, how: str) -> None:
        holder, one = data.draw(st.sampled_from(self.under_way()))
        holder.sent.remove(one)
        mine = self.mine(holder, one)
        behind = [other for other in holder.waiting if other.delivery.lane == one.delivery.lane]
        if behind:
            ways.release(self.tx, holder.way, [other.delivery.id for other in behind])
            holder.waiting = [other for other in holder.waiting if other not in behind]
        if how == "parked":
            assert endings.park(self.tx, one, "ask", "who", AT) is mine
        else:
            assert endings.retry(self.tx, one, how, "x", 9e12, AT, refusals=0) is mine
        if mine and how == "parked":
            self.wanted[one.delivery.id].state = "parked"

    @precondition(lambda self: self.working())
    @rule(data=st.data())
    def gives_back(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(self.working()))
        for one in list(holder.sent):
            self.delivered(holder, one)
        ways.give_back(self.tx, holder.way, holder.destination)
        self.holders.remove(holder)

    @precondition(lambda self: self.working())
    @rule(data=st.data())
    def stalls(self, data: st.DataObject) -> None:
        """Its lease runs out; it, or its outcomes, may still be heard of."""
        self.stall(data.draw(st.sampled_from(self.working())))

    def stall(self, holder: Holder) -> None:
        self.tx.execute(
            "UPDATE lease SET until=1 WHERE name=? AND term=?", (holder.way.name, holder.way.term)
        )
        holder.over = True

    @precondition(lambda self: any(holder.over for holder in self.holders))
    @rule(data=st.data())
    def wakes_up_and_gives_back(self, data: st.DataObject) -> None:
        """Whether somebody took its way or not."""
        holder = data.draw(st.sampled_from([holder for holder in self.holders if holder.over]))
        row = self.tx.one("SELECT term FROM lease WHERE name=? AND owner<>''", (holder.way.name,))
        if row != (holder.way.term,):
            try:
                ways.claim(self.tx, holder.way, holder.destination, 8)
            except LostLeaseError:
                pass
            else:
                raise AssertionError("a way that is over claims")
        ways.give_back(self.tx, holder.way, holder.destination)
        self.holders.remove(holder)

    # --- time and people ---

    @rule()
    def pauses_end(self) -> None:
        self.tx.execute("UPDATE delivery SET due=0")

    def parked(self) -> list[int]:
        return sorted(number for number, wanted in self.wanted.items() if wanted.state == "parked")

    @precondition(lambda self: self.parked())
    @rule(data=st.data(), what=st.sampled_from(("release", "drop", "edit")))
    def a_person_decides(self, data: st.DataObject, what: str) -> None:
        number = data.draw(st.sampled_from(self.parked()))
        if what == "drop":
            parked.drop(self.tx, number, BY)
            self.wanted[number].state = "dropped"
            return
        if what == "edit":
            parked.edit(self.tx, number, b"mended", BY)
        parked.release(self.tx, number, BY)
        self.wanted[number].state = "queued"

    # --- what holds at any moment ---

    @invariant()
    def nothing_is_lost(self) -> None:
        states = dict(self.tx.rows("SELECT id, state FROM delivery"))
        assert states == {number: wanted.state for number, wanted in self.wanted.items()}

    @invariant()
    def what_is_claimed_is_queued_and_some_way_has_it(self) -> None:
        terms = {term: name for name, term in self.tx.rows("SELECT name, term FROM lease WHERE owner<>''")}
        for number, claim, state, destination in self.tx.rows(
            "SELECT id, claim, state, destination FROM delivery WHERE claim IS NOT NULL"
        ):
            assert state == "queued"
            late = any(holder.over and holder.way.term == claim for holder in self.holders)
            assert claim in terms or late, f"{number} is nobody's"
            assert ways.anything(self.tx, destination) or claim in terms

    # --- the end of the story ---

    def teardown(self) -> None:
        """Every node dies; two others deliver the rest, and people release what waits for them."""
        for holder in self.holders:
            self.stall(holder)
        late, self.holders = self.holders, []
        for number in self.parked():
            parked.release(self.tx, number, BY)
            self.wanted[number].state = "queued"
        self.pauses_end()
        for destination in DESTINATIONS:
            turns = 0
            while ways.anything(self.tx, destination):
                turns += 1
                assert turns < 500, "it never rests"
                way = ways.take(self.tx, destination, turns % 2, "node-z")
                assert way is not None
                holder = Holder(way, destination)
                self.claim(holder, 4)
                for one in list(holder.waiting):
                    self.send(holder, one)
                    self.delivered(holder, one)
                ways.give_back(self.tx, way, destination)
        for holder in late:
            for one in holder.sent:
                assert endings.finish(self.tx, one, OK, AT) is False

        assert {wanted.state for wanted in self.wanted.values()} <= {"delivered", "dropped"}
        assert self.tx.rows("SELECT id FROM delivery WHERE claim IS NOT NULL") == []
        for number, wanted in self.wanted.items():
            assert wanted.sends or wanted.state == "dropped"
            for earlier in wanted.before:
                if wanted.sends and self.wanted[earlier].sends:
                    assert self.wanted[earlier].sends[-1] < wanted.sends[0], f"{number} before {earlier}"


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=100, stateful_step_count=50)
