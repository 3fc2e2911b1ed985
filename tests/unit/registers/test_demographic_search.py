"""Finding patients by name and birth date: what counts of a name, who is found, and that a rebuild finds the same."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.adapter import NamePart, PatientWanted
from broker.event import Event, Identifier, Patient, PersonName
from broker.registers import demographic_search, demographics, patients
from broker.registers.fold import fold
from broker.store.database import Database
from broker.store.schema import MOVES, migrations
from broker.store.sqlite import SqliteTransaction, in_memory
from broker.store.transaction import Transaction
from broker.text import fold as folded
from broker.text import transliterate
from tests.support.crossing import as_far_as_it_gets, between
from tests.support.events import LOCAL, NATIONAL, event, local, national, patient

MOST = 500


def said(tx: Transaction, number: int, kind: str, **data: object) -> Event:
    one = event(kind, number, **data)
    fold(tx, one, None)
    return one


def named(family: str, given_: str = "", *, prefix: bool = False) -> PatientWanted:
    return PatientWanted(
        family=NamePart(text=family, prefix=prefix), given=NamePart(text=given_) if given_ else None
    )


def registered(tx: Transaction, number: int, who: Patient) -> str:
    said(tx, number, "patient.registered", patient=who)
    (key,) = patients.find(tx, who.identifiers)
    return key


@pytest.mark.parametrize("family", ["Åsen", "ÅSEN", "asen", "Aasen", "AASEN", " åsen "])
def test_case_accents_and_spelling_without_the_letter_do_not_count(tx: Transaction, family: str) -> None:
    key = registered(tx, 1, patient(local("1"), family="Åsen"))
    registered(tx, 2, patient(local("2"), family="Asenden"))

    assert demographic_search.find(tx, named(family), MOST) == [key]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (named("Čuđi"), [1]),
        (named("cudi nuorra"), []),
        (named("cu", prefix=True), [1, 2]),
        (named("cud", "Aile", prefix=True), [1, 2]),
        (named("cud", "Kari", prefix=True), []),
        (named("čuđi_", prefix=True), []),
        (PatientWanted(birth_date=("19800101", "19800101")), [1]),
        (PatientWanted(birth_date=("1980", "1980\U0010ffff")), [1, 2]),
        (PatientWanted(birth_date=("19800102", "")), [3]),
        (PatientWanted(birth_date=("", "19800101")), [1, 2]),
        (PatientWanted(birth_date=("19800101", "19800101"), sex="M"), []),
        (PatientWanted(birth_date=("19800101", "19800101"), sex="F"), [1]),
        (PatientWanted(identifiers=(Identifier(value="3"),)), [3]),
        (PatientWanted(identifiers=(local("3"), national("33"))), [3]),
        (PatientWanted(identifiers=(local("3"), national("11"))), []),
        (PatientWanted(identifiers=(national("3"),)), []),
        (PatientWanted(birth_date=("", "19991231"), issuers=(NATIONAL,)), [1, 3]),
        (PatientWanted(birth_date=("", "19991231"), issuers=(LOCAL,)), [1, 2, 3]),
        (PatientWanted(birth_date=("", "19991231"), issuers=("1.2.3",)), []),
    ],
)
def test_everything_that_is_wanted_must_be_so(
    tx: Transaction, wanted: PatientWanted, found: list[int]
) -> None:
    keys = [
        registered(tx, 1, patient(local("1"), national("11"), family="Čuđi", birth_date="19800101")),
        registered(tx, 2, patient(local("2"), family="Cudina", birth_date="1980")),
        registered(tx, 3, patient(local("3"), national("33"), family="Dahl", birth_date="19900101")),
    ]

    assert demographic_search.find(tx, wanted, MOST) == [keys[number - 1] for number in found]


def test_whoever_was_merged_away_is_found_as_the_survivor_and_under_no_other_name(tx: Transaction) -> None:
    registered(tx, 1, patient(local("1"), family="Ukjent"))
    survivor = registered(tx, 2, patient(local("2"), family="Hansen"))
    said(tx, 3, "patient.merged", patient=patient(local("2"), family="Hansen"), prior=(local("1"),))

    assert demographic_search.find(tx, PatientWanted(identifiers=(local("1"),)), MOST) == [survivor]
    assert demographic_search.find(tx, named("Hansen"), MOST) == [survivor]
    assert demographic_search.find(tx, named("Ukjent"), MOST) == []
    assert local("1") not in patients.get(tx, survivor).patient.identifiers


def test_a_new_name_replaces_the_old_one(tx: Transaction) -> None:
    key = registered(tx, 1, patient(local("1"), family="Ødegård"))
    said(tx, 2, "patient.updated", patient=patient(local("1"), family="Gift"))

    assert demographic_search.find(tx, named("Odegard"), MOST) == []
    assert demographic_search.find(tx, named("Gift"), MOST) == [key]


def test_whom_only_an_order_named_is_not_found_until_pas_speaks(tx: Transaction) -> None:
    who = patient(local("1"), family="Hansen")
    demographics.refer(tx, event("order.placed", 1, patient=who), who)
    before = demographic_search.find(tx, named("Hansen"), MOST)
    key = registered(tx, 2, who)

    assert (before, demographic_search.find(tx, named("Hansen"), MOST)) == ([], [key])


def test_one_more_than_most_says_that_there_are_more(tx: Transaction) -> None:
    for number in range(1, 5):
        registered(tx, number, patient(local(str(number)), family="Hansen"))

    counts = [len(demographic_search.find(tx, named("Hansen"), most)) for most in (2, 3, 4, 5)]
    assert counts == [3, 4, 4, 4]


def test_patients_from_before_the_table_are_written_once(database: Database) -> None:
    for number in range(1, 4):
        database.write(
            lambda tx, n=number: registered(tx, n, patient(local(str(n)), family="Åsen"))  # type: ignore[misc]
        ).result()
    whole = database.read().rows("SELECT * FROM patient_search ORDER BY 1, 2, 3")
    database.write(lambda tx: tx.execute("DELETE FROM patient_search")).result()
    database.write(lambda tx: tx.execute("INSERT INTO patient_search VALUES ('', '', '', '', '')")).result()

    demographic_search.complete(database)
    assert database.read().rows("SELECT * FROM patient_search ORDER BY 1, 2, 3") == whole
    database.write(lambda tx: tx.execute("DELETE FROM patient_search")).result()
    demographic_search.complete(database)
    assert database.read().rows("SELECT * FROM patient_search") == [], "nothing waits, nothing is read"


def test_a_node_that_is_behind_with_it_does_not_write_over_what_another_one_hears(
    nodes: list[Database],
) -> None:
    """Both were started at once; the first is done with it, and folds."""
    first, second = nodes
    key = first.write(lambda tx: registered(tx, 1, patient(local("1"), family="Hansen"))).result(10)
    first.write(lambda tx: tx.execute("INSERT INTO patient_search VALUES ('', '', '', '', '')")).result(10)
    hearing: list[Future[str]] = []

    def hears() -> str:
        demographic_search.complete(first)
        return first.write(lambda tx: registered(tx, 2, patient(local("1"), family="Gift"))).result(10)

    def slowly(tx: Transaction) -> str:
        between(
            tx,
            "FROM patient WHERE",
            lambda: hearing.append(as_far_as_it_gets(second, pool.submit(hears))),
            behind=True,
        )
        return demographic_search._put_next(tx, "")

    with ThreadPoolExecutor(1) as pool:
        assert second.write(slowly).result(10) == key
        hearing[0].result(10)
    tx = first.read()
    assert [demographic_search.find(tx, named(name), MOST) for name in ("Hansen", "Gift")] == [[], [key]]
    assert second.write(lambda tx: demographic_search._put_next(tx, "")).result(10) == "", "it is complete"


NAMES = st.text(st.sampled_from("aåAæÆøÖéčđ -%_*?'ŋß"), max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(people=st.lists(st.tuples(NAMES, NAMES), max_size=8), family=NAMES, given_=NAMES, prefix=st.booleans())
def test_the_index_finds_whom_a_comparison_of_all_finds(
    people: list[tuple[str, str]], family: str, given_: str, prefix: bool
) -> None:
    tx, keys = in_memory(), list[str]()
    for number, (one, other) in enumerate(people, 1):
        who = patient(local(str(number))).model_copy(update={"name": PersonName(family=one, given=other)})
        keys.append(registered(tx, number, who))
    wanted = PatientWanted(
        family=NamePart(text=family, prefix=prefix), given=NamePart(text=given_, prefix=prefix)
    )

    def plain(text: str) -> str:
        return " ".join(folded(text).split())

    def fits(one: str, other: str) -> bool:
        shown, shown_too = plain(one), plain(other)
        if prefix:
            return shown.startswith(plain(family)) and shown_too.startswith(plain(given_))
        return (shown, shown_too) == (plain(family), plain(given_))

    expected = [
        key
        for key, (one, other) in zip(keys, people, strict=True)
        if fits(one, other) or fits(transliterate(one, "ascii")[0], transliterate(other, "ascii")[0])
    ]
    assert demographic_search.find(tx, wanted, MOST) == sorted(expected)


@pytest.mark.parametrize("patients_before", [0, 1])
def test_the_migration_says_whether_patients_wait_to_be_written(patients_before: int) -> None:
    connection = apsw.Connection(":memory:")
    for number, name, sql in migrations("sqlite"):
        if name.endswith("_patient_search.sql") and patients_before:
            connection.execute(
                "INSERT INTO patient (key, body, verified, event) VALUES ('P1', '{}', 1, 'M1.0')"
            )
        connection.execute(sql)
        if number in MOVES:
            MOVES[number](SqliteTransaction(connection))

    waiting = connection.execute("SELECT count(*) FROM patient_search WHERE patient=''").fetchall()
    assert waiting == [(patients_before,)]
