"""Who is who, by the book: what registers, worklist and destinations must come to, from what senders said one by one.

Written from the domain (docs/pas.md, docs/identifiers.md, docs/worklist.md; the guards of merges, the ledger's rule
that ownership follows the identifier), not from the broker's code, which it never imports. Dicts and lists, no store.
Not here: reading HL7 (`tests/histories/story.py` knows what it meant to say), images, splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

Key = tuple[str, str]
"""(issuer, value)."""

FNR, DNR, FH = (f"2.16.578.1.12.4.1.4.{n}" for n in (1, 2, 3))
"""National issuers: a person's for life (fødselsnummer, D-number), and the common temporary one."""

FOR_LIFE: Final = (FNR, DNR)
SKEW: Final = timedelta(minutes=5)
OPEN: Final = ("SCHEDULED", "ARRIVED")
ENDED: Final = ("COMPLETED", "DISCONTINUED", "CANCELED", "EXPIRED")
NEXT: Final = {
    "SCHEDULED": ("ARRIVED", "STARTED", *ENDED),
    "ARRIVED": ("SCHEDULED", "STARTED", *ENDED),
    "STARTED": ("COMPLETED", "DISCONTINUED"),
    "COMPLETED": (),
    "DISCONTINUED": ("SCHEDULED",),
    "CANCELED": ("SCHEDULED",),
    "EXPIRED": ("SCHEDULED", "CANCELED"),
}
"""domain.md 2.1, with what senders without MPPS say."""

MERGES: Final = ("A40", "A47")
ON_PURPOSE: Final = ("A43", "A24", "A37")
"""Somebody at PAS looked at two records: such a message is not doubted for the number that it uses."""
CANCELS: Final = ("A11", "A12", "A13")
VISITS: Final = {
    "A01": "ACTIVE",
    "A02": "",
    "A03": "ENDED",
    "A05": "PLANNED",
    "A11": "CANCELED",
    "A12": "",
    "A13": "ACTIVE",
}
"""Trigger to the state that it gives a visit; empty: none."""
ANEW: Final = ("A01", "A04", "A05", "A28")
ORDERS: Final = ("NW", "XO", "CA")
ADT_SINKS: Final = ("epj", "pacs-hl7")
ORDER_SINKS: Final = ("epj",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message, as its sender means it."""

    control_id: str
    sender: str
    trigger: str
    """Of ADT, or ORC-1."""
    ids: tuple[Key, ...]
    prior: tuple[Key, ...] = ()
    """MRG-1; of a link, the second PID-3."""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """Demographics: None keeps, empty clears."""
    happened: datetime
    """EVN-6, else EVN-2."""
    as_of: datetime | None = None
    """PID-33, else EVN-6."""
    visit: str = ""
    place: str | None = None
    step: str = ""
    status: str | None = None
    """Of the step; None keeps it."""
    start: str = ""


@dataclass(slots=True, eq=False)
class Record:
    """One patient."""

    current: list[Key] = field(default_factory=list)
    """Not ended, as they are shown: the first is the Patient ID."""
    values: dict[str, str] = field(default_factory=dict)
    since: dict[str, tuple[datetime, bool]] = field(default_factory=dict)
    """Of each value: as of when, and whether the sender wrote that time."""
    of_pas: bool = True
    last: dict[str, frozenset[int]] = field(default_factory=dict)
    """By destination: what must have left before anything else of this patient may."""


@dataclass(slots=True, eq=False)
class Visit:
    owner: Record
    said: Key
    status: str
    place: str | None
    at: datetime
    came: dict[str | None, str | None] = field(default_factory=dict)
    """From where it came to each place, the last time."""
    once: set[str] = field(default_factory=set)
    """Every state that it was in."""


@dataclass(slots=True, eq=False)
class Step:
    owner: Record
    said: Key
    status: str
    start: str
    visit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message that a destination must get."""

    destination: str
    about: tuple[str, ...]
    """The control id; of an order's status, the step, the status, and who the patient is."""
    after: frozenset[int]
    """Places in `Model.told` of what must have come before."""


class Model:
    """Takes messages in the journal's order. `said` and the other attributes may be read at any time."""

    def __init__(self) -> None:
        self.owner: dict[Key, Record] = {}
        self.ended: set[Key] = set()
        self.temporary: set[Key] = set()
        self.visits: dict[str, Visit] = {}
        self.beds: dict[str, str] = {}
        self.steps: dict[str, Step] = {}
        self.links: set[frozenset[Key]] = set()
        self.told: list[Told] = []
        self.held: list[str] = []
        """Control ids of merges that wait for a person."""
        self._seen: set[str] = set()
        self._arrival = datetime.min.replace(tzinfo=UTC)

    def take(self, said: Said, arrival: datetime) -> None:
        """The next message of the journal; the same one again changes nothing."""
        if said.control_id in self._seen:
            return
        self._seen.add(said.control_id)
        self._arrival = arrival
        if said.trigger in ORDERS:
            self._order(said)
        elif said.trigger in MERGES:
            self._merge(said)
        elif said.trigger in ON_PURPOSE or not self._given_anew(said):
            record = self._heard(said)
            if said.trigger == "A43":
                self._move(said, record)
            self._remember_temporary(said)
            self._tell_adt(said, record)
            if said.trigger in ("A24", "A37"):
                self._link(said)
            elif said.trigger == "A45":
                self._move_visit(said, record)
            elif said.trigger in VISITS and not self._given_anew(said):
                self._visit(said, record)

    def records(self) -> list[Record]:
        return list(dict.fromkeys(self.owner.values()))

    def owned(self, record: Record) -> frozenset[Key]:
        """Every identifier that leads to a patient, ended ones too."""
        return frozenset(key for key, owner in self.owner.items() if owner is record)

    # --- what PAS says of a patient ---

    def _heard(self, said: Said) -> Record:
        """The patient that PID-3 names, with what was said of it."""
        known = self._of(said.ids) or (self._of(said.prior) if said.trigger in MERGES else [])
        if not known:
            record = Record()
        else:
            record = next((one for one in known if one.of_pas), known[0])
            for other in known:
                if other is not record and not other.of_pas:
                    self._absorb(other, record)
        own = [key for key in said.ids if self.owner.get(key, record) is record]
        if said.trigger not in MERGES:
            own = [key for key in own if key not in self.ended]
        if known and not own and record.of_pas and _differ(record.values, said.values, "birth_date"):
            return record  # somebody else, by a number that has ended
        if not record.of_pas:  # what an order said counts no longer
            record.values, record.since, record.of_pas = {}, {}, True
        self._say(record, said, own)
        return record

    def _remember_temporary(self, said: Said) -> None:
        unknown = said.values.get("unknown") == "Y"
        prior = () if said.trigger == "A45" else said.prior  # there it says whose a visit was
        self.temporary |= {key for key in (*said.ids, *prior) if key[0] == FH}
        self.temporary |= {key for key in said.ids if unknown and key[0] not in FOR_LIFE}

    def _say(self, record: Record, said: Said, own: Iterable[Key]) -> None:
        own = list(own)
        record.current = own + [key for key in record.current if key not in own]
        for key in own:
            self.owner[key] = record
            self.ended.discard(key)
        written = said.as_of is not None and said.as_of - self._arrival <= SKEW
        at = said.as_of if said.as_of is not None and written else self._arrival
        for name, value in said.values.items():
            before = record.since.get(name)
            if value is not None and (before is None or at >= before[0] or not (written or before[1])):
                record.values[name], record.since[name] = value, (at, written)

    def _given_anew(self, said: Said) -> bool:
        """Whether a temporary number that has ended is said of another person: nobody may have it again."""
        for key in said.ids:
            if key not in self.temporary or key not in self.ended:
                continue
            record = self.owner[key]
            if set(said.ids) & set(record.current):
                continue
            unknown = said.values.get("unknown") == "Y" and record.values.get("unknown") != "Y"
            if said.trigger in ANEW and unknown:
                return True
            if all(_differ(record.values, said.values, name) for name in ("birth_date", "name")):
                return True
        return False

    # --- who is one ---

    def _merge(self, said: Said) -> None:
        if self._must_wait(said):
            self.held.append(said.control_id)
            return
        record = self._heard(said)
        for other in self._of(said.prior):
            if other is not record:
                self._absorb(other, record)
        for key in said.prior:
            self.owner[key] = record
            self.ended.add(key)
        record.current = [key for key in record.current if key not in said.prior]
        self._remember_temporary(said)
        self._tell_adt(said, record)

    def _must_wait(self, said: Said) -> bool:
        """The guards of domain.md 2(d)."""
        named, sources = self._of(said.ids), self._of(said.prior)
        survivor = next((one for one in named if one.of_pas), named[0] if named else None)
        others = [one for one in (sources if named else sources[1:]) if one is not survivor and one.of_pas]
        pas = survivor if survivor is not None and survivor.of_pas else None
        targets = [*said.ids, *(pas.current if pas else ())]
        issuers = {issuer for issuer, _ in targets}
        for issuer, _ in said.prior:
            to_person = issuers & set(FOR_LIFE) and issuer not in FOR_LIFE
            if issuer not in issuers and not to_person and not (issuer == DNR and FNR in issuers):
                return True
        # A merge (A40) speaks of two, whether they are known or not.
        both = [{*said.prior, *other.current} for other in others] or [set(said.prior)] * (
            said.trigger == "A40"
        )
        for theirs, issuer in ((one, issuer) for one in both for issuer in FOR_LIFE):
            mine = {key for key in targets if key[0] == issuer}
            if mine and {key for key in theirs if key[0] == issuer} - mine:
                return True
        for other in others:
            here = said.values.get("birth_date") or (pas.values.get("birth_date", "") if pas else "")
            there = other.values.get("birth_date", "")
            unknown = [said.values.get("unknown"), other.values.get("unknown")]
            unknown += [pas.values.get("unknown")] if pas else []
            if "Y" not in unknown and here and there and here != there:
                return True
        return False

    def _absorb(self, other: Record, record: Record) -> None:
        for key in self.owned(other):
            self.owner[key] = record
        record.current += [key for key in other.current if key not in record.current]
        for one in (*self.visits.values(), *self.steps.values()):
            if one.owner is other:
                one.owner = record
        self._after_both(record, other)

    def _move(self, said: Said, record: Record) -> None:
        """A43: these identifiers, and what came under them; what has none left is the other's whole."""
        sources = [one for one in self._of(said.prior) if one is not record]
        record.current = [key for key in record.current if key not in said.prior] + list(said.prior)
        for key in said.prior:
            self.owner[key] = record
            self.ended.discard(key)
        for one in (*self.visits.values(), *self.steps.values()):
            if one.said in said.prior:
                one.owner = record
        for source in sources:
            source.current = [key for key in source.current if key not in said.prior]
            self._after_both(record, source)
            if not source.current:
                self._absorb(source, record)

    def _link(self, said: Said) -> None:
        if said.trigger == "A24":
            self.links.add(frozenset((said.ids[0], said.prior[0])))
            return
        one, two = (
            {*ids, *(key for record in self._of(ids)[:1] for key in self.owned(record))}
            for ids in (said.ids, said.prior)
        )
        self.links -= {frozenset((a, b)) for a in one for b in two}

    # --- visits ---

    def _visit(self, said: Said, record: Record) -> None:
        before = self.visits.get(said.visit)
        if before is None:
            status = VISITS[said.trigger] or "ACTIVE"
            visit = Visit(record, self._under(said, record), status, said.place, said.happened)
            self.visits[said.visit] = visit
            self._put(said.visit, placed=True)
            return
        if before.owner is not record:
            return
        before.said = self._under(said, record)
        if said.trigger not in CANCELS and said.happened < before.at:
            before.place = said.place if before.place is None else before.place
            self._put(said.visit, placed=False)
            return
        before.at = said.happened
        status = VISITS[said.trigger]
        if status == "PLANNED" and before.status in ("ACTIVE", "ENDED"):
            status = ""
        before.once.add(before.status)
        if said.trigger == "A11" and "PLANNED" in before.once and before.once & {"ACTIVE", "ENDED"}:
            status = "PLANNED"
        before.status = status or before.status
        if said.trigger == "A12":
            before.place = said.place or before.came.get(before.place) or before.place
        elif said.place is not None and said.place != before.place:
            before.came[said.place] = before.place
            before.place = said.place
        self._put(said.visit, placed=said.place is not None)

    def _put(self, number: str, *, placed: bool) -> None:
        """The bed is whose visit was put there last and is there still."""
        visit = self.visits[number]
        bed = visit.place if visit.status == "ACTIVE" and (visit.place or "").count("^") == 2 else None
        had = next((place for place, whose in self.beds.items() if whose == number), None)
        if had is not None and had != bed:
            del self.beds[had]
        if bed is not None and (placed or had not in (None, bed) or bed not in self.beds):
            self.beds[bed] = number

    def _move_visit(self, said: Said, record: Record) -> None:
        """A45: the visit and its steps; where MRG-1 names somebody, only what was his."""
        visit, sources = self.visits.get(said.visit), self._of(said.prior)
        under = self._under(said, record)
        moving: list[Visit | Step] = [step for step in self.steps.values() if step.visit == said.visit]
        for one in (*moving, *([visit] if visit is not None else [])):
            if one.owner is not record and (not said.prior or one.owner in sources):
                self._after_both(record, one.owner)
                one.owner, one.said = record, under

    # --- orders ---

    def _order(self, said: Said) -> None:
        known = self._of(said.ids)
        if len(known) > 1:
            return  # of two patients: only a person can tell
        record = known[0] if known else Record(of_pas=False)
        if not record.of_pas:
            self._say(record, said, said.ids)
        step = self.steps.get(said.step)
        if step is None:
            under = self._under(said, record)
            status = said.status or "SCHEDULED"
            self.steps[said.step] = Step(record, under, status, said.start, said.visit)
            if status not in ENDED:  # nobody is told of the end of what he never heard of
                self._tell_order(said, record)
        elif step.owner is record and said.status in (None, step.status, *NEXT[step.status]):
            step.status = said.status or step.status
            step.start, step.visit = said.start or step.start, said.visit or step.visit
            self._tell_order(said, record)

    # --- destinations ---

    def _tell_adt(self, said: Said, record: Record) -> None:
        for name in ADT_SINKS:
            self._tell(name, (said.control_id,), record)

    def _tell_order(self, said: Said, record: Record) -> None:
        who = "~".join(value for _, value in record.current)
        about = (said.step, self.steps[said.step].status, who, record.values.get("name", ""))
        for name in ORDER_SINKS:
            self._tell(name, about, record)

    def _tell(self, name: str, about: tuple[str, ...], record: Record) -> None:
        self.told.append(Told(destination=name, about=about, after=record.last.get(name, frozenset())))
        record.last[name] = frozenset({len(self.told) - 1})

    def _after_both(self, one: Record, other: Record) -> None:
        """What is told of either from now on comes after what was told of both."""
        both = {
            name: one.last.get(name, frozenset()) | other.last.get(name, frozenset())
            for name in {*one.last, *other.last}
        }
        one.last, other.last = dict(both), dict(both)

    def _under(self, said: Said, record: Record) -> Key:
        """Under which of its identifiers a message came; what it brings is whoever's that is."""
        return next(key for key in (*said.ids, *said.prior) if self.owner.get(key) is record)

    def _of(self, keys: Iterable[Key]) -> list[Record]:
        """Whose the identifiers are, each once, in their order."""
        return list(dict.fromkeys(self.owner[key] for key in keys if key in self.owner))


def _differ(one: Mapping[str, str], two: Mapping[str, str | None], name: str) -> bool:
    """Both state it, and not the same; of a name the family counts."""
    a, b = ((values.get(name) or "").partition("^")[0].casefold() for values in (one, two))
    return a != "" and b != "" and a != b
