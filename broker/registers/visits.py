"""Visits and appointments by number: whose, in which state, where, and who is in which bed.

What is earlier does not overwrite what is later; what is taken back is restored from the history. Nothing is deleted:
an ended visit frees its bed at once and stays the visit of images that come late (`ended`; how late is the reader's to
judge, a fold has no clock). The steps that a visit makes without an order are `orderless.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from broker.event import Encounter, Event, Identifier, Patient, VisitStatus
from broker.hl7.demographics import date_and_time
from broker.registers import exceptions, patients, steps
from broker.store.transaction import Transaction

AHEAD: Final = timedelta(days=1)
"""A time further ahead of its arrival is a wrong clock, in whatever zone: the arrival counts."""

OPEN: Final = frozenset({"PLANNED", "ACTIVE"})

_OF_AN_EVENT: Final = frozenset({"status", "restores", "visit_number", "appointment"})
"""Fields of an encounter that are not simply laid over what was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A visit as the register has it."""

    key: str
    visit: str
    """The visit that an appointment belongs to, else its own key."""
    patient_key: str
    state: Encounter
    at: str
    ended: str
    """When it was heard that it ended, ISO 8601 in UTC; empty: it is open."""
    source: str
    site: str

    @property
    def place(self) -> tuple[str, str] | None:
        """(site, point of care^room^bed) that the visit occupies."""
        point, _, rest = (self.state.location or "").partition("^")
        if (
            self.state.status != "ACTIVE"
            or self.state.on_leave == "Y"
            or not point
            or not rest.partition("^")[2]
        ):
            return None
        return self.state.facility or self.site, self.state.location or ""


def key_of(encounter: Encounter | None) -> str:
    """The key that an encounter is kept under; empty: nothing numbers it."""
    if encounter is None:
        return ""
    if encounter.appointment is not None:
        return "|".join(("appointment", *encounter.appointment.key))
    return _key(encounter.visit_number)


def _key(number: Identifier | None) -> str:
    return "|".join(number.key) if number is not None else ""


def same(one: Encounter | None, other: Encounter | None) -> bool:
    """Whether two messages speak of one visit."""
    key = _key(one.visit_number) if one is not None and one.visit_number else key_of(one)
    return key != "" and other is not None and key in (_key(other.visit_number), key_of(other))


def get(tx: Transaction, key: str) -> Visit | None:
    """The visit under a key, or the one that its number was merged into."""
    row = tx.one(f"SELECT merged_into, {_COLUMNS} FROM visit WHERE key=?", (key,))
    if row is None:
        return None
    merged_into, *columns = row
    return get(tx, merged_into) if merged_into is not None else _visit(key, *columns)


def group(tx: Transaction, number: Identifier) -> str:
    """The key under which a visit's steps and appointments are found, whatever number it had."""
    found = get(tx, _key(number))
    return found.visit if found is not None else _key(number)


def _group(tx: Transaction, number: Identifier, known: Visit | None) -> str:
    """As `group`, where one visit is read already."""
    return known.visit if known is not None and known.key == _key(number) else group(tx, number)


def of_patient(tx: Transaction, patient_key: str) -> list[Visit]:
    """A patient's visits and appointments."""
    return _visits(tx, "patient=?", patient_key)


def of_visit(tx: Transaction, visit: str) -> list[Visit]:
    """A visit with its appointments."""
    return _visits(tx, "visit=?", visit)


def _visits(tx: Transaction, where: str, value: str) -> list[Visit]:
    rows = tx.rows(
        f"SELECT key, {_COLUMNS} FROM visit WHERE {where} AND merged_into IS NULL ORDER BY key", (value,)
    )
    return [_visit(key, *row) for key, *row in rows]


_COLUMNS: Final = "visit, patient, body, at, ended, source, site"


def _visit(
    key: str, visit: str, patient: str, body: str, at: str, ended: str, source: str, site: str
) -> Visit:
    return Visit(
        key=key,
        visit=visit,
        patient_key=patient,
        state=Encounter.model_validate_json(body),
        at=at,
        ended=ended,
        source=source,
        site=site,
    )


def in_bed(tx: Transaction, site: str, place: str, *, at: str = "") -> Visit | None:
    """Whose bed it is, or was at a moment (ISO 8601 in UTC, as the events' arrival)."""
    where, values = ("until=''", [site, place])
    if at:
        where, values = ("since<=? AND (until='' OR until>?)", [site, place, at, at])
    row = tx.one(
        f"SELECT visit FROM bed WHERE site=? AND place=? AND {where} ORDER BY since DESC LIMIT 1", values
    )
    return get(tx, row[0]) if row else None


# --- what an event does ---


def fold(tx: Transaction, event: Event, patient_key: str) -> list[Visit]:
    """Folds what is said of a visit. Returns the visits that are another now: none where nothing numbers it."""
    said, patient = event.data.encounter, event.data.patient
    key = key_of(said)
    if not key or said is None or patient is None:
        return []
    before = get(tx, key)
    if before is not None and before.patient_key != patient_key:
        _report_patient(tx, event)
        return []
    at = _moment(event)
    late = before is not None and not said.restores and at < before.at
    state = _stated(tx, event, said, before, late=late)
    number = said.visit_number
    after = Visit(
        key=before.key if before else key,
        visit=_group(tx, number, before) if number is not None else before.visit if before else key,
        patient_key=patient_key,
        state=state,
        at=before.at if before is not None and late else at,
        ended=_ended(event, state, before),
        source=event.source,
        site=event.site,
    )
    went = before is not None and before.place not in (None, after.place)
    _store(tx, event, after, patient, before, put=not late and (said.location is not None or went))
    return [after, *_fulfilled(tx, event, after, patient)]


def _stated(tx: Transaction, event: Event, said: Encounter, before: Visit | None, *, late: bool) -> Encounter:
    """What was known with what was said on top. Late: only what nobody knew."""
    if before is None:
        begun: VisitStatus = "PLANNED" if said.appointment else "ACTIVE"
        return said.model_copy(update={"status": said.status or begun, "restores": ()})
    known = before.state
    stated = {
        name: value
        for name in Encounter.model_fields
        if name not in _OF_AN_EVENT
        and (value := getattr(said, name)) is not None
        and not (late and getattr(known, name) is not None)
    }
    if not late:
        stated |= _restored(tx, before, said)
        stated["status"] = _status(tx, before, said)
        if "prior_location" not in stated and stated.get("location") not in (None, known.location):
            stated["prior_location"] = known.location
        if stated["status"] == "ENDED" and not stated.get("discharged", known.discharged):
            stated["discharged"] = _moment(event)
    if said.visit_number is not None and known.appointment is not None:
        stated["visit_number"] = said.visit_number
    return known.model_copy(update=stated)


def _status(tx: Transaction, before: Visit, said: Encounter) -> VisitStatus | None:
    known = before.state.status
    if said.status is None or (said.status == "PLANNED" and known in ("ACTIVE", "ENDED")):
        return known
    if "status" in said.restores:
        once = {known, *(old.status for old in _history(tx, before.key))}
        # Where nobody was ever admitted, it is the plan that is taken back.
        return "PLANNED" if "PLANNED" in once and once & {"ACTIVE", "ENDED"} else said.status
    return said.status


def _restored(tx: Transaction, before: Visit, said: Encounter) -> dict[str, object]:
    """The fields whose last change is taken back, as they were before it; what is said of them anew stands."""
    found: dict[str, object] = {}
    for name in said.restores:
        if name == "location":
            found |= _back(tx, before, said)
        if name in ("status", "location") or getattr(said, name) is not None:
            continue
        current = getattr(before.state, name)
        older = next((old for old in _history(tx, before.key) if getattr(old, name) != current), None)
        if older is not None:
            found[name] = getattr(older, name)
    return found


def _back(tx: Transaction, before: Visit, said: Encounter) -> dict[str, object]:
    """Where it is again, with the place from which it had come there: a second move may be taken back too."""
    known = before.state
    place = known.prior_location if said.location is None else said.location
    if not place:
        return {}
    older = next((old for old in _history(tx, before.key) if old.location == place), None)
    prior = said.prior_location if said.prior_location is not None else older and older.prior_location
    if said.location is not None:
        return {"prior_location": prior}
    return {
        "location": place,
        "facility": older.facility if older is not None else known.facility,
        "prior_location": prior,
    }


def _history(tx: Transaction, key: str) -> Iterable[Encounter]:
    """Earlier states, the latest first."""
    for (body,) in tx.rows("SELECT body FROM visit_history WHERE visit=? ORDER BY number DESC", (key,)):
        yield Encounter.model_validate_json(body)


def _moment(event: Event) -> str:
    """When it happened as the sender says, in digits; as of its arrival where nothing or nonsense is said."""
    said = "".join(date_and_time(event.event_time) or ())
    if not said or said > f"{event.time + AHEAD:%Y%m%d%H%M%S}":
        return f"{event.time:%Y%m%d%H%M%S}"
    return said


def _ended(event: Event, state: Encounter, before: Visit | None) -> str:
    if state.status in OPEN:
        return ""
    return before.ended if before is not None and before.ended else event.time.isoformat()


def _fulfilled(tx: Transaction, event: Event, visit: Visit, patient: Patient) -> list[Visit]:
    """The patient came: appointments at the place where the visit now is, of that day or before, are over."""
    if visit.state.status != "ACTIVE" or visit.state.appointment is not None:
        return []
    point = (visit.state.location or "").partition("^")[0]
    found = []
    for other in _visits(tx, "status='PLANNED' AND patient=?", visit.patient_key):
        planned = other.state
        if (
            planned.appointment is not None
            and planned.start
            and planned.start[:8] <= visit.at[:8]
            and (planned.location or "").partition("^")[0] == point
        ):
            state = planned.model_copy(update={"status": "ENDED"})
            after = replace(other, state=state, ended=event.time.isoformat())
            _store(tx, event, after, patient, other)
            found.append(after)
    return found


def _store(
    tx: Transaction,
    event: Event,
    visit: Visit,
    patient: Patient,
    before: Visit | None,
    *,
    put: bool = False,
) -> None:
    """Writes a visit as it is now. `put`: the patient was put where it says, by this very event."""
    said = patients.said_under(tx, patient.identifiers, visit.patient_key) or patient.identifiers[0]
    tx.execute(
        "INSERT INTO visit (key, visit, patient, said_value, said_issuer, status, body, at, ended, source, site,"
        " event) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET visit=excluded.visit,"
        " patient=excluded.patient, said_value=excluded.said_value, said_issuer=excluded.said_issuer,"
        " status=excluded.status, body=excluded.body, at=excluded.at, ended=excluded.ended, source=excluded.source,"
        " site=excluded.site, event=excluded.event",
        (
            visit.key,
            visit.visit,
            visit.patient_key,
            said.value,
            said.issuer,
            visit.state.status or "",
            visit.state.model_dump_json(exclude_defaults=True),
            visit.at,
            visit.ended,
            visit.source,
            visit.site,
            event.id,
        ),
    )
    if before is not None and before.state != visit.state:
        tx.execute(
            "INSERT INTO visit_history (visit, number, body, event) SELECT ?, coalesce(max(number), 0) + 1, ?, ?"
            " FROM visit_history WHERE visit=?",
            (visit.key, before.state.model_dump_json(exclude_defaults=True), event.id, visit.key),
        )
    _bind(tx, event, visit, put=put)


def _bind(tx: Transaction, event: Event, visit: Visit, *, put: bool) -> None:
    """The bed that the visit is in now. Who was there before is not any more, whatever PAS forgot to say, where the
    patient was put there; else whoever was put there since keeps it."""
    now, wanted = event.time.isoformat(), visit.place
    bound = tx.one("SELECT site, place FROM bed WHERE visit=? AND until=''", (visit.key,))
    if bound == wanted:
        return
    tx.execute("UPDATE bed SET until=? WHERE visit=? AND until=''", (now, visit.key))
    if wanted is not None and (put or in_bed(tx, *wanted) is None):
        tx.execute("UPDATE bed SET until=? WHERE site=? AND place=? AND until=''", (now, *wanted))
        tx.execute(
            "INSERT INTO bed (site, place, visit, since, said, until, event) VALUES (?,?,?,?,?,'',?)"
            " ON CONFLICT (site, place, since, visit) DO UPDATE SET until=''",
            (*wanted, visit.key, now, visit.at, event.id),
        )


# --- whose it is ---


def renumber(tx: Transaction, event: Event, patient_key: str) -> None:
    """A45, A42, A50 and kin, behind `filing.reassign`, which made the visits this patient's.

    Where the event's encounter has another number, they go on under that. A visit that is still somebody else's,
    because MRG-1 does not say so, is left alone and reported.
    """
    patient = event.data.patient
    number = event.data.encounter.visit_number if event.data.encounter else None
    for prior in event.data.prior_visits:
        old = get(tx, _key(prior))
        if old is None or patient is None:
            continue
        if old.patient_key != patient_key:
            _report_patient(tx, event)
        elif number is not None and _key(number) != _key(old.state.visit_number):
            _renumber(tx, event, old, number, patient)


def _renumber(tx: Transaction, event: Event, old: Visit, number: Identifier, patient: Patient) -> None:
    """The visit goes on under another number: that visit, where there is one, else as it stands."""
    survivor = get(tx, _key(number))
    if survivor is not None and survivor.patient_key != old.patient_key:
        _report_patient(tx, event)
        return
    state = old.state.model_copy(update={"visit_number": number})
    if survivor is not None and survivor.key == old.key:
        # It gets a number back that it had: it keeps its key, or it would lead to itself.
        _store(tx, event, replace(old, state=state), patient, old)
    else:
        tx.execute("UPDATE bed SET until=? WHERE visit=? AND until=''", (event.time.isoformat(), old.key))
        if survivor is None:
            survivor = replace(old, key=_key(number), visit=_key(number), state=state)
            _store(tx, event, survivor, patient, None)
        tx.execute(
            "UPDATE visit SET merged_into=? WHERE key=? OR merged_into=?", (survivor.key, old.key, old.key)
        )
        tx.execute("UPDATE visit SET visit=? WHERE visit=? AND key<>?", (survivor.key, old.key, old.key))
    for held in steps.of_visit(tx, old.key):
        named = get(tx, _key(held.encounter.visit_number)) if held.encounter is not None else None
        if held.encounter is not None and named is not None and named.key == survivor.key:
            encounter = held.encounter.model_copy(update={"visit_number": number})
            steps.rewrite(tx, event, held, replace(held, encounter=encounter))
    tx.execute("UPDATE step SET visit=? WHERE visit=?", (survivor.key, old.key))


def _report_patient(tx: Transaction, event: Event) -> None:
    reason = "the visit is another patient's than the message says; not applied"
    exceptions.report(tx, "visit-patient-differs", event.message_id, reason, event)
