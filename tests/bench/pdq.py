"""Patient queries against a register of many patients: matching alone, and the round trip of a PDQ consumer."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from broker.adapter import NamePart, PatientWanted
from broker.event import EventData, Identifier, Patient, PersonName
from broker.registers import demographic_search, demographics
from broker.store.sqlite import SqliteDatabase, journal_file
from broker.store.transaction import Transaction
from tests.bench.questions import times_of
from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, milliseconds, percentile, ratio
from tests.bench.targets import Target, within
from tests.support.broker import Broker
from tests.support.events import event, local, national
from tests.support.mllp import MllpClient, field

MOST = 500
BATCH = 5000
STEMS = (
    *(
        "Han",
        "Ol",
        "Nil",
        "Ander",
        "Erik",
        "Lar",
        "Pett",
        "Sør",
        "Nord",
        "Øst",
        "Vest",
        "Å",
        "Ås",
        "Øde",
        "Bakk",
    ),
    *(
        "Hau",
        "Mo",
        "Berg",
        "Lun",
        "Dal",
        "Sol",
        "Stor",
        "Lill",
        "Mý",
        "Gran",
        "Furu",
        "Bjør",
        "Ramm",
        "Čoa",
        "Máh",
    ),
)
ENDINGS = (
    *(
        "sen",
        "stad",
        "gård",
        "land",
        "by",
        "vik",
        "heim",
        "bakken",
        "moen",
        "lien",
        "rud",
        "set",
        "dal",
        "nes",
    ),
    *("haug", "ås", "øy", "sund", "fjell", "berg", "voll", "eng", "skog", "vold", "hkkin", "ttá", "sø", "li"),
)
GIVEN = (
    *(
        "Kari",
        "Åse",
        "Áile",
        "Márjá",
        "Ingrid",
        "Sunniva",
        "Biret",
        "Ragnhild",
        "Laara",
        "Marit",
        "Anne",
        "Liv",
    ),
    *("Ola", "Bjørn", "Ánte", "Niillas", "Håkon", "Øystein", "Máhtte", "Sjur", "Læjsa", "Per", "Jan", "Odd"),
)
FAMILIES = [stem + ending for stem, ending in itertools.product(STEMS, ENDINGS)]
# The commonest name has one patient in a hundred and fifty, half of the names have one in five thousand or fewer.
WEIGHTS = list(itertools.accumulate(1 / (number + 20) for number in range(len(FAMILIES))))

TEXT = """{count:,} patients, each with a national and a local number, under {families} family names of uneven
frequency, written by the register's own fold ({rate:,.0f}/s, {size:.1f} GB; `PATIENTS` sets how many, the target is
meant at a million). Each question is put {times} times about patients that the dice choose. `matching` is
`broker.registers.demographic_search` in this process, `round trip` one PDQ consumer on one connection: read, found,
audited (one commit synced), answered. The floor is one bare SELECT of one identifier's patient, here 1.00 ×."""

LIMIT = "a wildcard reads every index entry under its letters before the birth date decides"

Question = Callable[[random.Random], tuple[PatientWanted, str]]
"""What is wanted, and the same as QPD-3 has it."""


def measure(stage: Stage) -> Table:
    """Each kind of question: matching alone, and as a consumer sees it."""
    count, times = stage.size("PATIENTS", 50_000), stage.count(500)
    broker = Broker(stage.made("pdq"))
    broker.data.mkdir()
    path = journal_file(broker.data)
    seconds = _fill(path, count)
    size = path.stat().st_size / 1e9
    database = SqliteDatabase(path)
    database.open()
    tx = database.read()
    numbers = iter([person(random.Random(n).randrange(count)).identifiers[0] for n in range(times)])
    floor = times_of(times, lambda _: _look_up(tx, next(numbers)))
    matching = {name: _matched(tx, ask, times) for name, ask in questions(count).items()}
    database.close()
    broker.start(timeout=300)
    try:
        trips = {name: _asked(broker, ask, times) for name, ask in questions(count).items()}
    finally:
        broker.kill()
    rows = [["floor: one SELECT", "1", *_shown(floor), ratio(1, 1), "", ""]]
    for name, (found, spent) in matching.items():
        against = ratio(median(spent), median(floor))
        rows.append([name, found, *_shown(spent), against, *_shown(trips[name])])
        say(f"  {' · '.join(rows[-1])}")
    selective = max(percentile(trips[name], 0.99) for name in SELECTIVE)
    return Table(
        title="Patient queries",
        text=TEXT.format(count=count, families=len(FAMILIES), rate=count / seconds, size=size, times=times),
        columns=(
            *("question", "found, median", "matching p50", "p99", "against the floor"),
            *("round trip p50", "p99"),
        ),
        rows=rows,
        targets=_targets(count, selective),
    )


SELECTIVE = ("identifier and domain", "name and birth date")


def _targets(count: int, selective: float) -> list[Target]:
    what = f"PDQ by identifier or by name and birth date among {count:,} patients: p99"
    return [within(what, selective, 0.1, LIMIT)]


def questions(count: int) -> dict[str, Question]:
    """What consumers ask."""

    def one(dice: random.Random) -> Patient:
        return person(dice.randrange(count))

    def identifier(dice: random.Random) -> tuple[PatientWanted, str]:
        number = one(dice).identifiers[0]
        wanted = PatientWanted(identifiers=(number,))
        return wanted, f"@PID.3.1^{number.value}~@PID.3.4.2^{number.oid}"

    def value(dice: random.Random) -> tuple[PatientWanted, str]:
        number = one(dice).identifiers[1].value
        return PatientWanted(identifiers=(Identifier(value=number),)), f"@PID.3.1^{number}"

    def whole(dice: random.Random) -> tuple[PatientWanted, str]:
        name, born = _of(one(dice))
        wanted = PatientWanted(
            family=NamePart(text=name.family), given=NamePart(text=name.given), birth_date=(born, born)
        )
        return wanted, f"@PID.5.1^{name.family}~@PID.5.2^{name.given}~@PID.7^{born}"

    def birth_date(dice: random.Random) -> tuple[PatientWanted, str]:
        _, born = _of(one(dice))
        return PatientWanted(birth_date=(born, born)), f"@PID.7^{born}"

    def wildcard(dice: random.Random) -> tuple[PatientWanted, str]:
        name, born = _of(one(dice))
        wanted = PatientWanted(family=NamePart(text=name.family[:3], prefix=True), birth_date=(born, born))
        return wanted, f"@PID.5.1^{name.family[:3]}*~@PID.7^{born}"

    def names(dice: random.Random) -> tuple[PatientWanted, str]:
        name, _ = _of(one(dice))
        wanted = PatientWanted(
            family=NamePart(text=name.family[:4], prefix=True), given=NamePart(text=name.given)
        )
        return wanted, f"@PID.5.1^{name.family[:4]}*~@PID.5.2^{name.given}"

    def nobody(dice: random.Random) -> tuple[PatientWanted, str]:
        name, _ = _of(one(dice))
        wanted = PatientWanted(family=NamePart(text=name.family), birth_date=("18990101", "18990101"))
        return wanted, f"@PID.5.1^{name.family}~@PID.7^18990101"

    return {
        "identifier and domain": identifier,
        "identifier, any domain": value,
        "name and birth date": whole,
        "birth date": birth_date,
        "wildcard of 3 letters and birth date": wildcard,
        "wildcard of 4 letters and given name": names,
        "nobody": nobody,
    }


def person(number: int) -> Patient:
    """Patient `number`: the same whenever it is asked for."""
    dice = random.Random(number)
    (family,) = dice.choices(FAMILIES, cum_weights=WEIGHTS)
    born = date(1925, 1, 1) + timedelta(days=dice.randrange(100 * 365))
    return Patient(
        identifiers=(national(f"9{number:010d}"), local(f"{number:08d}")),
        name=PersonName(family=family, given=dice.choice(GIVEN)),
        birth_date=f"{born:%Y%m%d}",
        sex=dice.choice("FM"),
    )


def _of(patient: Patient) -> tuple[PersonName, str]:
    assert patient.name is not None
    return patient.name, patient.birth_date or ""


def _fill(path: Path, count: int) -> float:
    """Seconds that the register took."""
    database = SqliteDatabase(path)
    database.open()
    began = time.perf_counter()
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        database.write(lambda tx, numbers=numbers: _register(tx, numbers)).result()  # type: ignore[misc]
        if first % 100_000 == 0:
            say(f"  {first:,} patients after {time.perf_counter() - began:.0f} s")
    seconds = time.perf_counter() - began
    database.close()
    return seconds


def _register(tx: Transaction, numbers: range) -> None:
    like = event("patient.registered")
    for number in numbers:
        said = person(number)
        data = EventData.model_construct(patient=said)
        one = like.model_copy(update={"id": f"M{number:08d}.0", "message_id": f"M{number:08d}", "data": data})
        demographics.assert_from_pas(tx, one, said)


def _look_up(tx: Transaction, identifier: Identifier) -> int:
    sql = "SELECT patient FROM patient_identifier WHERE value=? AND issuer=?"
    return len(tx.rows(sql, (identifier.value, identifier.issuer)))


def _matched(tx: Transaction, ask: Question, times: int) -> tuple[str, list[float]]:
    """Patients found, median, and the seconds of each search."""
    found: list[int] = []
    asked = _dealt(ask, times)
    seconds = times_of(times, lambda _: found.append(len(demographic_search.find(tx, next(asked)[0], MOST))))
    number = int(median(found))
    return (f"over {MOST}" if number > MOST else str(number)), seconds


def _asked(broker: Broker, ask: Question, times: int) -> list[float]:
    """Seconds of each query on one connection."""
    asked = _dealt(ask, times)
    with MllpClient(broker.pdq_port) as client:

        def once(_: random.Random) -> None:
            answer = client.ask(_query(next(asked)[1]))
            assert field(answer, b"QAK", 2) in (b"OK", b"NF", b"AE"), answer[:80]

        return times_of(times, once)


def _dealt(ask: Question, times: int) -> Iterator[tuple[PatientWanted, str]]:
    """The questions, made before the clock runs."""
    dice = random.Random(1)
    return iter([ask(dice) for _ in range(times)])


def _query(parameters: str) -> bytes:
    return (
        "MSH|^~\\&|EPJ|STO|BROKER|STO|20260310120000||QBP^Q22^QBP_Q21|1|P|2.5||||||UNICODE UTF-8\r"
        f"QPD|IHE PDQ Query|T1|{parameters}\rRCP|I|20^RD\r"
    ).encode()


def _shown(seconds: list[float]) -> tuple[str, str]:
    return milliseconds(median(seconds)), milliseconds(percentile(seconds, 0.99))
