"""Fills a worklist by SQL with copies of a row that the broker itself made of an order.

More rows are more stations and more days, as in life: what one station has in a day stays much the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from broker.dicom.names import readings
from broker.registers.kept import number
from broker.store.sqlite import journal_file
from tests.bench.load import run
from tests.bench.stage import Stage
from tests.support.broker import Broker
from tests.support.flows import wait_until_routed
from tests.support.messages import Person, orm

MODALITIES: Final = ("CT", "MR", "US", "DX", "CT", "MG", "XA", "NM", "OPT", "ES")
"""Of the stations in turn: a fifth of all rows is CT."""

DAY: Final = "20260310"
"""The first day that has rows."""

NAMED: Final = 250
"""Rows of patients called Hansen, at most; one in forty below that."""

_STATION: Final = "substr('CT MR US DX CT MG XA NM OPTES ', n % :stations % 10 * 3 + 1, 3)"
_ROWS: Final = f"""
CREATE TEMP TABLE made AS WITH RECURSIVE count (n) AS (SELECT 0 UNION ALL SELECT n+1 FROM count WHERE n+1<:rows)
SELECT printf('RIS|F7%06d|S7%06d-1', n, n) AS key, printf('7%06d', n) AS patient_id, day, station, replace(replace(
  replace(replace(replace(replace(body, '7000000', printf('7%06d', n)), 'CT1_STO', station), '"Modality":"CT"',
  printf('"Modality":"%s"', modality)), '20260310', day), '083000', printf('%02d3000', 8 + n % 9)), 'HANSEN', family)
  AS said
FROM (SELECT n, attributes AS body, trim({_STATION}) AS modality, trim({_STATION}) || (n % :stations) AS station,
  strftime('%Y%m%d', '2026-03-10', printf('+%d days', n / :stations % :days)) AS day,
  iif(n % :named = 0, 'HANSEN', 'Prøve' || (n % 97)) AS family FROM count JOIN worklist)"""
_FILL: Final = (
    _ROWS,
    "CREATE TEMP TABLE ordered AS SELECT * FROM step",
    "DELETE FROM worklist",
    "DELETE FROM worklist_station",
    "DELETE FROM worklist_name",
    "DELETE FROM step",
    "INSERT INTO step SELECT made.key, {columns} FROM made JOIN ordered",
    "INSERT INTO worklist SELECT 'worklist', key, number('worklist', key, said, ''), patient_id, day, said, 'bench',"
    " 'bench', 'bench', '2026-03-09T00:00:00+00:00', '' FROM made",
    "INSERT INTO worklist_station SELECT station, start_date, id FROM worklist JOIN made USING (key)",
    "INSERT INTO worklist_name SELECT value, start_date, worklist.id FROM worklist,"
    " json_each(readings(json_extract(attributes, '$.PatientName')))",
    "DROP TABLE made",
    "DROP TABLE ordered",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """How many rows there are, and on how many stations and days."""

    rows: int
    stations: int
    days: int

    @property
    def station(self) -> str:
        """AE title of one."""
        return f"{MODALITIES[2]}2"


def sized(rows: int) -> Site:
    """About seven rows a station and day, once there are a thousand."""
    if rows <= 1000:
        return Site(rows=rows, stations=10, days=14)
    if rows <= 10_000:
        return Site(rows=rows, stations=40, days=max(14, rows * 35 // 10_000))
    return Site(rows=rows, stations=200, days=max(35, rows * 140 // 200_000))


@contextmanager
def broker_with(stage: Stage, name: str, site: Site) -> Iterator[Broker]:
    """A broker whose worklist has so many rows."""
    with stage.broker(name) as broker:
        person = Person(number="7000000", family="HANSEN", given="Åse")
        order = orm("W1", person, "7000000", station="CT-LAB1", modality="CT", start=f"{DAY}083000")
        run(broker.orders_port, 1, iter([order]), 1)
        wait_until_routed(broker)
        broker.stop()
        fill(journal_file(broker.data), site)
        broker.start()
        yield broker


def fill(path: Path, site: Site) -> None:
    """Puts copies of the one row of a journal in its place."""
    connection = apsw.Connection(str(path))
    try:
        connection.create_scalar_function("number", number, deterministic=True)
        connection.create_scalar_function("readings", lambda name: json.dumps(sorted(readings(name))))
        columns = [column[1] for column in connection.execute("PRAGMA table_info(step)")]
        for pragma in ("synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        values = {
            "rows": site.rows,
            "stations": site.stations,
            "days": site.days,
            "named": max(40, site.rows // NAMED),
        }
        with connection:
            for sql in _FILL:
                text = sql.format(columns=", ".join(columns[1:])) if "{columns}" in sql else sql
                connection.execute(text, values if sql == _ROWS else None)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
