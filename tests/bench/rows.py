"""Fills a journal by SQL, as if so many messages had come over so many days: a day's rows in one transaction.

Only what a search, a start or a retention round reads is there; nothing is durable while it fills.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import apsw

from broker.adapter import Reception
from broker.runtime.configured import configure
from broker.settings import Settings
from broker.store import days
from broker.store.sqlite import SqliteTransaction, migrate
from tests.support.messages import Person, adt

PATIENTS: Final = 20
"""Messages per patient: what a search by patient id finds is more than it shows."""

_MESSAGES: Final = """
WITH RECURSIVE n (seq) AS (VALUES (:first) UNION ALL SELECT seq+1 FROM n WHERE seq<:last)
INSERT INTO message SELECT seq, printf('%026d', seq), :day,
  printf('%sT%02d:%02d:%02d.%06d+00:00', :day, at/3600, at/60%60, at%60, seq%1000000), source, 'STO', '127.0.0.1',
  iif(source='images', 'dicom', 'hl7'), type, 'C' || seq, 'PAS|STO', zeroblob(32), 'accepted', '', 'AA',
  zeroblob(80), 'utf-8', '', :events, ''
FROM (SELECT seq, (seq-:first)*86400/(:last-:first+1) AS at,
  CASE seq%10 WHEN 6 THEN 'orders' WHEN 7 THEN 'results' WHEN 8 THEN 'images' ELSE 'pas' END AS source,
  iif(seq%10007=0, 'ADT^A40', CASE seq%10 WHEN 6 THEN 'ORM^O01' WHEN 7 THEN 'ORU^R01' WHEN 8 THEN 'C-STORE'
    WHEN 9 THEN 'ADT^A04' ELSE 'ADT^A08' END) AS type FROM n)"""

_KEYS: Final = """
INSERT INTO {keys} SELECT value, kind, seq FROM (
  WITH own AS (SELECT seq FROM message WHERE seq BETWEEN :first AND :last)
  SELECT 'C' || seq AS value, 'control' AS kind, seq FROM own
  UNION ALL SELECT 'P' || (seq*7919%:patients), 'patient', seq FROM own
  UNION ALL SELECT 'A' || (seq/10), 'accession', seq FROM own WHERE seq%10 IN (6, 7, 8)
  UNION ALL SELECT '2.25.' || (seq/10), 'study', seq FROM own WHERE seq%10 IN (6, 7, 8))
ORDER BY value, kind, seq"""

_OWN: Final = (
    "replace(replace(replace(:text, 'MESSAGE', printf('%026d', seq)), 'NUMBER', seq*7919%:patients),"
    " 'CONTROL', 'C' || seq)"
)

_BODIES: Final = f"""
INSERT INTO {{bodies}} SELECT seq, CAST({_OWN} AS BLOB) FROM message WHERE seq BETWEEN :first AND :last"""

_EVENTS: Final = f"""
INSERT INTO event SELECT seq, printf('%026d.0', seq), seq, :type, {_OWN}, 'bench', seq FROM message
WHERE seq BETWEEN :first AND :last"""

_PLACE: Final = "UPDATE routing SET place=:last"

_DELIVERIES: Final = """
INSERT INTO delivery (id, event, day, source, destination, kind, lane, route, place, version, state, due, summary,
  created) SELECT seq, seq, day, source, 'epj', 'hl7', 'P' || (seq*7919%:patients), 'adt-to-epj', 'adt-to-epj.yaml:8',
  'bench', :state, 0, type || ' control id ' || control_id, received FROM message
WHERE seq BETWEEN :first AND :last"""

_PAYLOADS: Final = f"""
INSERT INTO {{payloads}} (delivery, payload) SELECT seq, CAST({_OWN} AS BLOB) FROM message
WHERE seq BETWEEN :first AND :last"""

_TALLY: Final = (
    "INSERT INTO tally SELECT day, source, '', '', verdict, '', count(*) FROM message"
    " WHERE seq BETWEEN :first AND :last GROUP BY 1, 2, 5",
    "INSERT INTO tally SELECT day, source, route, destination, state, '', count(*) FROM delivery"
    " WHERE id BETWEEN :first AND :last GROUP BY 1, 2, 3, 4, 5",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a filled journal holds."""

    count: int
    days: tuple[str, ...]
    """The oldest first; each has as many messages as the others, the last one the rest."""

    @property
    def patients(self) -> int:
        return max(1, self.count // PATIENTS)


def plan(count: int, of_days: int, last: date) -> Rows:
    """`count` messages on so many days, the last of them `last`."""
    return Rows(
        count=count,
        days=tuple((last - timedelta(days=back)).isoformat() for back in reversed(range(of_days))),
    )


def one_of_a_kind(settings: Settings) -> Reception:
    """What the PAS listener makes of one ADT^A31, with words where each row shall have numbers of its own."""
    reader = configure(settings, {}).readers["pas"]
    message = adt("A31", "CONTROL", Person(number="NUMBER", family="Sørby"), "ZXX|" + "x" * 900)
    return reader.receive(message, message_id="MESSAGE", now=datetime.now(UTC))


def fill(path: Path, rows: Rows, *, like: Reception | None = None, deliveries: str = "") -> Iterator[str]:
    """Messages with their search keys; gives each day's name when it stands.

    `like`: bodies and an event each, written after this reception (`one_of_a_kind`). `deliveries`: one to the EPJ
    each, in this state, with the same bytes.
    """
    each = rows.count // len(rows.days)
    with _filling(path) as connection:
        for index, day in enumerate(rows.days):
            first = index * each + 1
            values: dict[str, int | str] = {
                "first": first,
                "last": rows.count if day == rows.days[-1] else first + each - 1,
                "day": day,
                "patients": rows.patients,
                "events": int(like is not None),
                "state": deliveries,
            }
            connection.execute("BEGIN")
            days.ensure(SqliteTransaction(connection), day)
            connection.execute(_MESSAGES, values)
            connection.execute(_KEYS.format(keys=days.table("message_key", day)), values)
            if like is not None:
                _fill_like(connection, day, values, like)
            for sql in _TALLY:
                connection.execute(sql, values)
            connection.execute("COMMIT")
            yield day


def _fill_like(connection: apsw.Connection, day: str, values: dict[str, int | str], like: Reception) -> None:
    (event,) = like.events
    raw = {**values, "text": like.raw.decode()}
    connection.execute(_BODIES.format(bodies=days.table("message_body", day)), raw)
    told = event.model_dump_json(exclude_defaults=True)
    connection.execute(_EVENTS, {**values, "text": told, "type": event.type})
    connection.execute(_PLACE, values)
    if values["state"]:
        connection.execute(_DELIVERIES, values)
        connection.execute(_PAYLOADS.format(payloads=days.table("delivery_body", day)), raw)


@contextmanager
def _filling(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection)
        yield connection
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
