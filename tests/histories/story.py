"""Histories: what two PAS and a RIS say of a handful of people, as small values first and as HL7 then.

An `Action` is a few small numbers, so that a history can be drawn by a seed or by Hypothesis, and shrinks. What it
says depends on nothing but itself and its place. Not here: what must come of it (`tests/support/identity_model.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from tests.support.identity_model import FH, FNR, VISITS, Key, Said
from tests.support.messages import message

OSLO: Final = ZoneInfo("Europe/Oslo")
PAS: Final = ("PASA", "PASB")
RIS: Final = "RIS"
LOCAL: Final = ("2.999.7001", "2.999.7002")
"""Who numbers patients, by PAS."""

ISSUERS: Final = {
    LOCAL[0]: f"STO&{LOCAL[0]}&ISO",
    LOCAL[1]: f"NAM&{LOCAL[1]}&ISO",
    FNR: f"NNNOR&{FNR}&ISO",
    FH: f"FHNOR&{FH}&ISO",
}
STRUCTURES: Final = {
    "A01": "ADT_A01",
    "A02": "ADT_A02",
    "A03": "ADT_A03",
    "A05": "ADT_A05",
    "A08": "ADT_A01",
    "A11": "ADT_A09",
    "A12": "ADT_A12",
    "A13": "ADT_A01",
    "A28": "ADT_A05",
    "A31": "ADT_A05",
    "A40": "ADT_A39",
    "A47": "ADT_A30",
    "A43": "ADT_A43",
    "A45": "ADT_A45",
    "A24": "ADT_A24",
    "A37": "ADT_A37",
}
WEIGHTS: Final = {
    "A28": 8,
    "A08": 14,
    "A31": 4,
    "A01": 8,
    "A02": 7,
    "A03": 4,
    "A05": 2,
    "A11": 2,
    "A12": 2,
    "A13": 2,
    "A40": 7,
    "A47": 3,
    "A43": 2,
    "A45": 2,
    "A24": 2,
    "A37": 1,
    "NW": 14,
    "XO": 9,
    "CA": 4,
    "repeat": 4,
}
"""How often each kind is drawn."""
KINDS: Final = tuple(WEIGHTS)
FORMS: Final = 7
"""Ways of naming a person in PID-3."""
NAMES: Final = ("Sørby", "Nordgård", "Čoahkkin", None, "")
PLACES: Final = (None, "MED^12^1", "MED^12^2", "KIR^3^1", "OYE^ROM2")
STATUSES: Final = (
    ("NW", "SC", "SCHEDULED"),
    ("XO", "SC", "SCHEDULED"),
    ("XO", "", None),
    ("XO", "CM", "COMPLETED"),
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Action:
    """One message. Zero is the plainest of each."""

    kind: str
    pas: int = 0
    who: int = 0
    form: int = 0
    other: int = 0
    other_form: int = 0
    name: int = 0
    born: int = 0
    """0 the person's own, 1 not said, 2 another's, 3 cleared."""
    sex: int = 0
    mother: int = 0
    """0 not said, 1 cleared, else a person."""
    unknown: int = 0
    lag: int | None = None
    """Minutes that it held before it is sent; below zero the sender's clock is ahead. None: not said."""
    visit: int = 0
    place: int = 0
    order: int = 0
    status: int = 0

    def __repr__(self) -> str:
        """Only what is not plain: a history that fails is read by people."""
        odd = [
            (one.name, getattr(self, one.name))
            for one in fields(self)
            if getattr(self, one.name) != one.default
        ]
        return f"Action({', '.join(f'{name}={value!r}' for name, value in odd)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A message with what it means."""

    said: Said
    raw: bytes

    @property
    def port(self) -> str:
        """Listener."""
        return "orders" if self.said.sender == RIS else "pas"


def tell(actions: Sequence[Action], start: datetime, *, prefix: str = "") -> list[Line]:
    """The actions as messages, sent a second apart from `start`, in their order."""
    lines: list[Line] = []
    for number, action in enumerate(actions):
        if action.kind == "repeat":
            # What this very sender said some time ago, byte for byte.
            own = [line for line in lines if line.said.sender == PAS[action.pas]]
            if own:
                lines.append(own[action.other % len(own)])
            continue
        lines.append(line(action, f"{prefix}{number}", start + timedelta(seconds=number)))
    return lines


def line(action: Action, control_id: str, sent: datetime) -> Line:
    if action.kind in ("NW", "XO", "CA"):
        return _order(action, control_id, sent)
    return _adt(action, control_id, sent)


def ids_of(person: int, form: int, pas: int) -> tuple[Key, ...]:
    """A person's identifiers as somebody may write them."""
    local, elsewhere = (LOCAL[pas], f"7{person:05}"), (LOCAL[1 - pas], f"7{person:05}")
    national, temporary = (FNR, f"0101{person:07}"), (FH, f"8{person:010}")
    second = (LOCAL[pas], f"9{person:05}")
    return (
        *((local,), (local, national), (national,), (national, local)),
        *((temporary,), (second,), (elsewhere, local)),
    )[form]


def _adt(action: Action, control_id: str, sent: datetime) -> Line:
    kind, sender = action.kind, PAS[action.pas]
    ids = ids_of(action.who, action.form, action.pas)
    prior = tuple(k for k in ids_of(action.other, action.other_form, action.pas) if k not in ids)
    if kind in ("A40", "A47", "A43", "A24", "A37") and not prior:
        kind = "A08"  # nobody is merged with himself
    values = _values(action)
    as_of = None if action.lag is None else sent - timedelta(minutes=action.lag)
    evn = f"EVN||{_ts(sent)}||||{_ts(as_of) if as_of else ''}".rstrip("|")
    segments = [evn, _pid(ids, values)]
    visit, place = "", None
    if kind in VISITS:
        visit, place = f"V{action.visit}", PLACES[action.place]
        segments.append(_pv1(visit, place))
    elif kind == "A45":
        visit, prior = f"V{action.visit}", prior if action.status % 2 else ()
        segments += [f"MRG|{_cx(prior)}||||{_visit(visit)}", _pv1(visit, None)]
    elif kind in ("A40", "A47", "A43"):
        segments.append(f"MRG|{_cx(prior)}")
    elif kind in ("A24", "A37"):
        segments.append(_pid(prior, {}))
    else:
        prior = ()
    if kind in VISITS:
        prior = ()
    said = Said(
        control_id=control_id,
        sender=sender,
        trigger=kind,
        ids=ids,
        prior=prior,
        values=values,
        happened=as_of or sent,
        as_of=as_of,
        visit=visit,
        place=place,
    )
    return Line(
        said=said, raw=message(f"ADT^{kind}^{STRUCTURES[kind]}", control_id, *segments, sender=sender)
    )


def _order(action: Action, control_id: str, sent: datetime) -> Line:
    control, code, status = {
        "NW": STATUSES[0],
        "XO": STATUSES[1 + action.status % 3],
        "CA": ("CA", "CA", "CANCELED"),
    }[action.kind]
    ids = ids_of(action.who, action.form, action.pas)
    values, number = _values(action), f"{action.order}"
    start = f"202603{10 + action.place}0930"
    visit = f"V{action.visit}" if action.visit else ""
    timing = "" if action.kind == "CA" else start
    obr = [
        *("OBR", "1", f"P{number}^EPJ", f"F{number}^RIS", "SPC0AK^CT thorax^NCRP", *[""] * 13),
        *(f"A{number}", f"R{number}", f"S{number}", "", "", "", "CT"),
    ]
    raw = message(
        "ORM^O01^ORM_O01",
        control_id,
        _pid(ids, values),
        _pv1(visit, None),
        f"ORC|{control}|P{number}^EPJ|F{number}^RIS||{code}||^^^{timing}",
        "|".join(obr),
        f"ZDS|2.25.88{int(number) + 1}^^Application^DICOM",
        sender=RIS,
    )
    said = Said(
        control_id=control_id,
        sender=RIS,
        trigger=control,
        ids=ids,
        values=values,
        happened=sent,
        visit=visit,
        step=f"S{number}",
        status=status,
        start=timing,
    )
    return Line(said=said, raw=raw)


def _values(action: Action) -> dict[str, str | None]:
    family = NAMES[action.name]
    name = f"{family}^Nr{action.who}" if family else family
    born = (_born(action.who), None, _born(action.who + 1), "")[action.born]
    values = {"name": name, "birth_date": born, "sex": ("F", "M", None)[action.sex]}
    if action.kind in ("NW", "XO", "CA"):
        return values
    mother = None
    if action.mother:
        mother = "" if action.mother == 1 else f"7{action.mother - 2:05}"
    unknown = "Y" if action.unknown and action.kind in ("A28", "A01", "A08") else None
    return {**values, "mother": mother, "unknown": unknown}


def _born(person: int) -> str:
    return f"19{40 + person % 50}0{1 + person % 9}11"


def _pid(ids: Sequence[Key], values: dict[str, str | None]) -> str:
    fields = {3: _cx(ids)}
    for number, name in ((5, "name"), (7, "birth_date"), (8, "sex"), (21, "mother"), (31, "unknown")):
        value = values.get(name)
        fields[number] = '""' if value == "" else value or ""
    if values.get("mother"):
        fields[21] = _cx([(LOCAL[0], values["mother"] or "")])
    return "|".join(["PID", *(fields.get(n, "1" if n == 1 else "") for n in range(1, 32))]).rstrip("|")


def _pv1(visit: str, place: str | None) -> str:
    where = f"{place}^^STO" if place and place.count("^") == 1 else f"{place}^STO" if place else ""
    return "|".join(["PV1", "1", "I", where, *[""] * 15, _visit(visit)]).rstrip("|")


def _visit(number: str) -> str:
    return f"{number}^^^{ISSUERS[LOCAL[0]]}^VN" if number else ""


def _cx(ids: Sequence[Key]) -> str:
    return "~".join(f"{value}^^^{ISSUERS[issuer]}" for issuer, value in ids)


def _ts(time: datetime) -> str:
    return time.astimezone(OSLO).strftime("%Y%m%d%H%M%S")


def drawn(dice: random.Random, count: int, *, people: int = 12) -> Iterator[Action]:
    """A history by chance: a few people at a time, who make room for others, so that all that is said is related."""
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    for number in range(count):
        first = number // (12 * people) * (people // 2)
        who = first + dice.randrange(people)
        odd = dice.random
        yield Action(
            kind=dice.choices(kinds, weights)[0],
            pas=dice.randrange(2),
            who=who,
            form=dice.choices(range(FORMS), (8, 5, 3, 3, 2, 2, 1))[0],
            other=who if odd() < 0.5 else first + dice.randrange(people),
            other_form=dice.choices(range(FORMS), (5, 1, 1, 1, 4, 4, 1))[0],
            name=dice.choices(range(len(NAMES)), (10, 4, 2, 3, 1))[0],
            born=dice.choices(range(4), (16, 4, 1, 1))[0],
            sex=dice.randrange(3),
            mother=2 + first + dice.randrange(people) if odd() < 0.05 else int(odd() < 0.03),
            unknown=int(odd() < 0.05),
            lag=None if odd() < 0.3 else -30 if odd() < 0.02 else dice.choice((0, 0, 0, 0, 1, 5, 60)),
            visit=first + dice.randrange(people),
            place=dice.randrange(len(PLACES)),
            # An order and its patient mostly agree; some orders name somebody else.
            order=10 * who + dice.randrange(6) if odd() < 0.95 else 10 * (first + dice.randrange(people)),
            status=dice.randrange(6),
        )
