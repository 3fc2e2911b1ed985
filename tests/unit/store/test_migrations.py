"""From the schema before to this one: a database of version 1 with two days in it, migrated and compared row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from broker.delivery import parked, stored
from broker.errors import StoreError
from broker.journal import log, search
from broker.registers import exceptions
from broker.store import days, tally
from broker.store.schema import MOVES, migrations
from broker.store.sqlite import SqliteDatabase, SqliteTransaction, migrate
from broker.store.transaction import Transaction
from tests.support.events import event, local, of_days, patient, step

MONDAY, TUESDAY = "2026-03-09", "2026-03-10"
DAY_OF = {1: MONDAY, 2: MONDAY, 3: MONDAY, 4: TUESDAY, 5: TUESDAY, 6: TUESDAY}
WHO = patient(local("700123"))

MESSAGES: list[tuple[Any, ...]] = [
    (1, "M00001", f"{MONDAY}T08:01:00+00:00", "pas", "STO", "10.0.0.1", "hl7", "ADT^A04", "C1", "PAS|STO", b"d1" * 16,
     "accepted", "", "AA", b"\x0bMSA|AA\r\x1c\r", "utf_8", "", b"MSH|^~\\&|one\r", ""),
    (2, "M00002", f"{MONDAY}T08:02:00.5+00:00", "pas", "STO", "10.0.0.1", "hl7", "ADT^A04", "", "PAS|STO", b"d2" * 16,
     "rejected", "MSH-10 is empty", "AR", b"\x0bMSA|AR\r\x1c\r", "", "", b"MSH|^~\\&|two\r", ""),
    (3, "M00003", f"{MONDAY}T23:59:59.999999+00:00", "orders", "STO", "10.0.0.2", "hl7", "ORM^O01", "C3", "RIS|STO",
     b"d3" * 16, "accepted", "", "AA", b"\x0bMSA|AA\r\x1c\r", "iso8859_1", "charset-mismatch",
     b"MSH|^~\\&|three\r", ""),
    (4, "M00004", f"{TUESDAY}T00:00:00+00:00", "images", "STO", "CT1_STO", "dicom", "C-STORE", "", "CT1_STO",
     b"d4" * 16, "accepted", "", "0000", None, "", "", None, "instances/d4.dcm"),
    (5, "M00005", f"{TUESDAY}T08:00:00+00:00", "pas", "STO", "10.0.0.1", "hl7", "ADT^A60", "C1", "PAS|STO", b"d5" * 16,
     "filtered", "listed as ignorable", "AA", b"\x0bMSA|AA\r\x1c\r", "", "synthetic-id", b"MSH|^~\\&|five\r", ""),
    (6, "M00006", f"{TUESDAY}T08:01:00+00:00", "pas", "STO", "10.0.0.9", "hl7", "", "", "", b"d6" * 16,
     "junk", "no frame", "", None, "", "", b"hello?", ""),
]  # fmt: skip
KEYS = [
    ("700123", "patient", 1),
    ("700123", "patient", 3),
    ("F1", "order", 3),
    ("C1", "accession", 3),
    ("2.25.1", "study", 4),
]
EVENTS = [
    (1, "M00001.0", 1, event("patient.registered", 1, patient=WHO), "v1"),
    (2, "M00001.1", 1, event("encounter.started", 1, patient=WHO), "failed"),
    (3, "M00003.0", 3, event("step.scheduled", 3, patient=WHO, step=step()), "v1"),
    (4, "M00004.0", 4, event("instance.received", 4, source="images"), None),
]
DELIVERIES: list[tuple[Any, ...]] = [
    (1, 1, "epj", "hl7", "P1", "adt", "adt.yaml:9", "v1", "delivered", 2, 0.0, b"MSH|to EPJ", "ADT^A04", "MSA-1 AA",
     b"MSA|AA", f"{MONDAY}T08:01:00+00:00", f"{MONDAY}T08:03:00+00:00"),
    (2, 1, "pacs-hl7", "hl7", "P1", "adt", "adt.yaml:12", "v1", "queued", 3, 1773043500.5, b"MSH|to PACS", "ADT^A04",
     "MSA-1 AE", None, f"{MONDAY}T08:01:00+00:00", None),
    (3, 3, "worklist", "worklist", "P1", "steps", "steps.yaml:4", "v1", "delivered", 0, 0.0, b"{}", "", "row",
     None, f"{MONDAY}T23:59:59.999999+00:00", f"{MONDAY}T23:59:59.999999+00:00"),
    (4, 3, "epj", "hl7", "P1", "steps", "steps.yaml:8", "v1", "held", 0, 0.0, b"", "", "steps.yaml:8: no code",
     None, f"{MONDAY}T23:59:59.999999+00:00", None),
    (5, 4, "pacs", "dicom", "P1", "images", "images.yaml:3", "v2", "queued", 0, 0.0, b"{}", "C-STORE", "",
     None, f"{TUESDAY}T00:00:00+00:00", None),
]  # fmt: skip
ATTEMPTS = [
    (1, 1, f"{MONDAY}T08:02:00+00:00", "unreachable", "no connection"),
    (1, 2, f"{MONDAY}T08:03:00+00:00", "delivered", "MSA-1 AA"),
    *((2, n, f"{MONDAY}T08:0{n}:00+00:00", "refused", "MSA-1 AE") for n in (1, 2, 3)),
]
REGISTERS = {
    "patient": [("K1", "{}", 1, None, "M00001.0"), ("K2", "{}", 0, "K1", "M00001.0")],
    "patient_identifier": [("700123", "2.999.7001", "K1", 1)],
    "step": [
        ("RIS|F1|S1", "K1", "F1", "P1", "orders", "STO", "SCHEDULED", "{}", "{}", "A1", "2.25.1", "M00003.0")
    ],
    "worklist": [
        (
            "worklist",
            "RIS|F1|S1",
            1,
            "700123",
            "20260310",
            "{}",
            "steps",
            "v1",
            "M00003.0",
            f"{MONDAY}T23:59:59+00:00",
        )
    ],
    "worklist_station": [("CT1_STO", "20260310", 1)],
    "instance": [("2.25.1.1", "2.25.1", "A1", "d4", "instances/d4.dcm", "K1", "M00004.0")],
    "exception": [("delivery-held", "delivery 4", "no code", f"{MONDAY}T23:59:59+00:00", "M00003.0")],
}


def fill(connection: apsw.Connection) -> None:
    """A database as version 1 of the schema left it."""
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(migrations("sqlite")[0][2])
    connection.execute("PRAGMA user_version=1")
    events = [(seq, i, m, e.type, e.model_dump_json(exclude_defaults=True), r) for seq, i, m, e, r in EVENTS]
    tables: dict[str, list[Any]] = {
        "message": MESSAGES,
        "message_key": KEYS,
        "event": events,
        "delivery": DELIVERIES,
        "delivery_attempt": ATTEMPTS,
        **REGISTERS,
    }
    for name, rows in tables.items():
        places = ",".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)


def everything(connection: apsw.Connection) -> dict[str, list[Any]]:
    """Every table's rows, and the schema itself."""
    names = [
        n for (n,) in connection.execute("SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name")
    ]
    found = {name: list(connection.execute(f"SELECT * FROM {name}")) for name in names}
    return {
        **found,
        "schema": list(connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name")),
        "version": [connection.pragma("user_version")],
    }


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    fill(connection)
    return connection


@pytest.fixture
def tx(connection: apsw.Connection) -> Transaction:
    """The same, migrated."""
    migrate(connection)
    return SqliteTransaction(connection)


def test_every_message_is_what_it_was(tx: Transaction) -> None:
    columns = (
        "seq, id, received, source, site, peer, protocol, type, control_id, sender, digest, verdict, reason,"
        " answer_code, answer, charset, flags, blob"
    )
    expected = [(*row[:14], row[14] or b"", *row[15:17], row[18]) for row in MESSAGES]
    assert tx.rows(f"SELECT {columns} FROM message ORDER BY seq") == expected
    assert dict(tx.rows("SELECT seq, day FROM message")) == DAY_OF
    made = tx.rows("SELECT seq, events FROM message ORDER BY seq")
    assert made == [(1, 2), (2, 0), (3, 1), (4, 1), (5, 0), (6, 0)]


def test_every_body_stands_in_its_day(tx: Transaction) -> None:
    assert days.known(tx, bodies=True) == [MONDAY, TUESDAY]
    for row in MESSAGES:
        assert log.body(tx, row[0], DAY_OF[row[0]]) == (row[17] or b"")
    assert [number for number, _ in of_days(tx, "message_body")] == [1, 2, 3, 4, 5, 6]


def test_every_key_stands_in_its_day_and_control_ids_are_among_them(tx: Transaction) -> None:
    controls = [(row[8], "control", row[0]) for row in MESSAGES if row[8]]
    for day in (MONDAY, TUESDAY):
        expected = {key for key in (*KEYS, *controls) if DAY_OF[key[2]] == day}
        found = tx.rows(f"SELECT value, kind, message FROM {days.table('message_key', day)}")
        assert (set(found), len(found)) == (expected, len(expected))
    assert search.find(tx, text="C1") == [1, 3, 5]
    assert search.find(tx, text="C1", kind="control") == [1, 5]
    assert search.find(tx, text="M00004") == [4]


def test_every_event_is_what_it_was_and_who_waited_still_waits(tx: Transaction) -> None:
    found = tx.rows("SELECT seq, id, message, type, body, routed FROM event ORDER BY seq")
    assert [(*row[:4], json.loads(row[4]), row[5]) for row in found] == [
        (seq, i, m, e.type, json.loads(e.model_dump_json(exclude_defaults=True)), r)
        for seq, i, m, e, r in EVENTS
    ]
    assert [(one.seq, one.event) for one in log.unrouted(tx, 9)] == [(4, EVENTS[3][3])]


def test_every_delivery_is_what_it_was(tx: Transaction) -> None:
    columns = (
        "id, event, destination, kind, lane, route, place, version, state, attempt, due, summary, detail, created,"
        " finished"
    )
    assert tx.rows(f"SELECT {columns} FROM delivery ORDER BY id") == [
        (*row[:11], *row[12:14], *row[15:]) for row in DELIVERIES
    ]
    assert tx.rows("SELECT id, day, source FROM delivery ORDER BY id") == [
        (1, MONDAY, "pas"), (2, MONDAY, "pas"), (3, MONDAY, "orders"), (4, MONDAY, "orders"), (5, TUESDAY, "images")
    ]  # fmt: skip
    assert tx.rows("SELECT DISTINCT refusals, failing_since, replay_of FROM delivery") == [(0, None, None)]
    assert of_days(tx, "delivery_body") == [(row[0], row[11], row[14]) for row in DELIVERIES]
    assert tx.rows("SELECT * FROM delivery_attempt ORDER BY 1, 2") == ATTEMPTS


def test_what_was_to_leave_still_leaves_and_what_was_held_is_still_seen(tx: Transaction) -> None:
    assert sorted((q.id, q.destination, q.lane, q.due) for q in stored.open_deliveries(tx)) == [
        (2, "pacs-hl7", "P1", 1773043500.5),
        (5, "pacs", "P1", 0.0),
    ]
    opened = stored.load(tx, 2)
    assert opened is not None
    assert (opened.delivery.payload, opened.delivery.attempt) == (b"MSH|to PACS", 4)
    assert [(row["id"], row["state"]) for row in parked.listed(tx)] == [(4, "held")]


def test_the_tally_begins_with_what_there_is(tx: Transaction) -> None:
    assert tally.messages(tx) == [
        ("images", "accepted", 1), ("orders", "accepted", 1), ("pas", "accepted", 1), ("pas", "filtered", 1),
        ("pas", "junk", 1), ("pas", "rejected", 1),
    ]  # fmt: skip
    assert tally.deliveries(tx) == {
        "epj": {"delivered": 1, "held": 1},
        "pacs": {"queued": 1},
        "pacs-hl7": {"queued": 1},
        "worklist": {"delivered": 1},
    }
    by_day = tx.rows(
        "SELECT day, source, route, destination, state, number FROM tally WHERE destination<>'' ORDER BY 1, 2, 4"
    )
    assert by_day[0] == (MONDAY, "orders", "steps", "epj", "held", 1)
    assert by_day[-1] == (TUESDAY, "images", "images", "pacs", "queued", 1)


def test_the_registers_are_not_touched(tx: Transaction) -> None:
    added = {
        "patient": ("{}",),
        "patient_identifier": ("", "", ""),
        "step": ("", "", "", ""),
        "instance": ("", "", "", ""),
        "worklist": ("",),
    }  # nobody knows what was said then, no visit is made up, what stands was never held, and events are bare here
    kept = {name: [(*row, *added.get(name, ())) for row in rows] for name, rows in REGISTERS.items()}
    assert {name: tx.rows(f"SELECT * FROM {name} ORDER BY 1") for name in REGISTERS} == kept
    assert tx.rows("SELECT * FROM worklist_name") == [("", "20260310", 1)], "its names wait to be read"
    assert exceptions.listed(tx)[0]["message"] == "M00003"
    assert tx.rows("PRAGMA foreign_key_check") == []


def test_the_schema_is_that_of_an_empty_journal_and_nothing_of_the_old_one_is_left(
    connection: apsw.Connection, tx: Transaction
) -> None:
    fresh = apsw.Connection(":memory:")
    migrate(fresh)
    for day in (MONDAY, TUESDAY):
        days.ensure(SqliteTransaction(fresh), day)

    assert everything(connection)["schema"] == everything(fresh)["schema"]
    assert connection.pragma("user_version") == migrations("sqlite")[-1][0]
    assert not [name for name, _ in everything(connection)["schema"] if "v1" in name]


def test_an_empty_journal_of_version_1_is_migrated_too() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(migrations("sqlite")[0][2])
    connection.execute("PRAGMA user_version=1")
    migrate(connection)

    assert (days.known(SqliteTransaction(connection)), tally.messages(SqliteTransaction(connection))) == (
        [],
        [],
    )


# --- interrupted ---


def breaking(tx: Transaction) -> None:
    """Fails when everything is done but the commit."""
    days.distribute(tx)
    raise apsw.FullError("the disk is full")


def test_a_migration_that_fails_leaves_schema_1_whole(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(connection)
    with monkeypatch.context() as patch:
        patch.setitem(MOVES, 2, breaking)
        with pytest.raises(apsw.FullError):
            migrate(connection)
        assert everything(connection) == before
    migrate(connection)

    assert connection.pragma("user_version") == migrations("sqlite")[-1][0], "the next start does it"


def test_a_power_cut_in_the_middle_leaves_schema_1_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands on the disk at that moment is copied, and opened by the next start."""
    first, second = tmp_path / "one" / "journal.sqlite", tmp_path / "two" / "journal.sqlite"
    first.parent.mkdir()
    second.parent.mkdir()
    old = apsw.Connection(str(first))
    fill(old)
    before = everything(old)
    old.close()

    def cut(tx: Transaction) -> None:
        days.distribute(tx)
        for file in first.parent.iterdir():
            if not file.name.endswith("-shm"):  # memory, which a power cut empties
                (second.parent / file.name).write_bytes(file.read_bytes())
        raise apsw.IOError("gone")

    with monkeypatch.context() as patch:
        patch.setitem(MOVES, 2, cut)
        with pytest.raises(StoreError, match="cannot open the journal"):
            SqliteDatabase(first).open()
    left = apsw.Connection(str(second))
    assert everything(left) == before
    left.close()
    again = SqliteDatabase(second)
    again.open()

    assert [one.seq for one in log.unrouted(again.read(), 9)] == [4]
    assert search.find(again.read(), text="700123") == [1, 3]
    again.close()


def test_an_event_that_was_published_before_it_was_routed_takes_no_other_events_place() -> None:
    """The bus's place was a number once: what gets its place now must come behind it."""
    connection = apsw.Connection(":memory:")
    for number, _, sql in migrations("sqlite")[:4]:
        connection.execute(sql)
        connection.execute(f"PRAGMA user_version={number}")
    for seq, routed in ((7, "v1"), (12, None)):
        connection.execute(
            "INSERT INTO event (seq, id, message, type, body, routed) VALUES (?,?,?,'','',?)",
            (seq, f"M{seq}.0", seq, routed),
        )
    connection.execute("INSERT INTO bus_cursor (id, name, event, rewinds) VALUES (1, 'x', 12, 0)")
    migrate(connection)
    log.mark_routed(SqliteTransaction(connection), [12], "v1")

    assert list(connection.execute("SELECT seq, place FROM event ORDER BY seq")) == [(7, 7), (12, 13)]
