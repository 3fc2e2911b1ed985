"""The registers made anew from the event log, and held against the live ones (invariant 8). Changes neither.

What retention took out of the log stands folded in the baseline beside the journal; a rebuild starts from that.
Worklist rows are made by today's routes: rows that an earlier version of them made are passed over.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.errors import StoreError
from broker.journal import log as journal
from broker.registers import demographic_search, stations
from broker.runtime.configured import Configured
from broker.runtime.pipeline import Pipeline
from broker.store.database import Database
from broker.store.schema import CURRENT
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction

BATCH: Final = 500

SINCE_8: Final = {
    "visit": "SELECT key, visit, patient, said_value, said_issuer, status, body, at, ended, merged_into, source, site,"
    " event FROM visit ORDER BY 1",
    "visit_history": "SELECT visit, number, body, event FROM visit_history ORDER BY 1, 2",
    "bed": "SELECT site, place, visit, since, said, until, event FROM bed ORDER BY 1, 2, 4, 3",
    "step's order": "SELECT key, adopted_by, event FROM step WHERE adopted_by<>'' ORDER BY 1",
    "identifier's origin": "SELECT value, issuer, source, since, event FROM patient_identifier WHERE event<>''"
    " ORDER BY 1, 2",
    "provenance": "SELECT key, provenance, event FROM patient WHERE provenance<>'{}' ORDER BY 1",
    "step's identifier": "SELECT key, said_value, said_issuer, event FROM step WHERE said_value<>'' ORDER BY 1",
    "step's visit": "SELECT key, visit, event FROM step WHERE visit<>'' ORDER BY 1",
    "instance's identifier": "SELECT sop_instance_uid, said_value, said_issuer, event FROM instance"
    " WHERE said_value<>'' ORDER BY 1",
    "patient_change": "SELECT id, kind, state, survivor, absorbed, at, reason, ended, event FROM patient_change"
    " ORDER BY 1",
    "patient_change_identifier": "SELECT change, value, issuer, patient, current, leaves, change"
    " FROM patient_change_identifier ORDER BY 1, 2, 3",
}
"""What rows from before schema 8 do not have: a rebuild knows more of them, never less."""

SINCE_15: Final = {
    "study": "SELECT study_uid, accession, since, last, state, completed, event FROM study ORDER BY 1",
    "study_expected": "SELECT study_uid, sop_instance_uid, mpps, mpps FROM study_expected ORDER BY 1, 2, 3",
}
"""What journals from before schema 15 do not have: a rebuild knows more of them, never less."""

TABLES: Final = {
    "patient": "SELECT key, body, verified, merged_into, event FROM patient ORDER BY 1",
    "patient_identifier": "SELECT value, issuer, patient, current FROM patient_identifier ORDER BY 1, 2",
    "patient_search": "SELECT patient, family, given, birth_date, sex FROM patient_search ORDER BY 1, 2, 3",
    "step": "SELECT key, patient, filler, placer, source, site, status, body, rest, accession, study_uid, event"
    " FROM step ORDER BY 1",
    "worklist": "SELECT list, key, patient_id, start_date, attributes, route, held, event FROM worklist"
    " WHERE version=? ORDER BY 1, 2",
    "worklist_name": "SELECT list, key, name, worklist_name.start_date, event FROM worklist_name"
    " JOIN worklist ON id=row WHERE version=? ORDER BY 1, 2, 3",
    "instance": "SELECT sop_instance_uid, study_uid, accession, sha256, path, patient, event FROM instance ORDER BY 1",
    "mpps": "SELECT uid, patient, said_issuer, said_value, status, aet, created, body, event FROM mpps ORDER BY 1",
    "mpps_step": "SELECT mpps, step, event FROM mpps_step ORDER BY 1, 2",
    "copy": "SELECT archive, sop_instance_uid, study_uid, state, failure, since, event FROM copy ORDER BY 1, 2",
    "commitment": "SELECT transaction_uid, archive, study_uid, asked, answered, event FROM commitment ORDER BY 1",
    "commitment_request": "SELECT requester, transaction_uid, asked, reported, event FROM commitment_request"
    " ORDER BY 1, 2",
    "commitment_item": "SELECT requester, transaction_uid, sop_instance_uid, sop_class_uid, transaction_uid"
    " FROM commitment_item ORDER BY 1, 2, 3",
    "rejection": "SELECT sop_instance_uid, study_uid, code, note, since, event FROM rejection ORDER BY 1",
    "availability": "SELECT study_uid, retrieve_aet, availability, instances, since, event FROM availability"
    " ORDER BY 1, 2",
    "temporary_id": "SELECT value, issuer, since, source, site, event FROM temporary_id ORDER BY 1, 2",
    "mother": "SELECT child, value, issuer, event FROM mother ORDER BY 1",
    "exception": "SELECT kind, subject, reason, since, event FROM exception"
    " WHERE kind NOT IN ('delivery-held', 'event-failed', 'control-id-reused', 'mojibake', 'mpps-overdue',"
    " 'instance-differs', 'study-incomplete', 'commitment-overdue', 'commitment-failed')"
    " ORDER BY 1, 2",
    "patient_link": "SELECT value, issuer, other_value, other_issuer, event FROM patient_link ORDER BY 1, 2, 3, 4",
    **SINCE_8,
    **SINCE_15,
}
"""What is compared: everything that follows from the events alone."""

OF_ROUTES: Final = ("worklist", "worklist_name", "exception")
"""What follows from the routes too: a rebuild may have more of them where earlier routes were in force."""

BASELINE: Final = "baseline"
"""What stands beside the journal (`Database.beside`): the registers as far as the log was taken away."""

COPIED: Final = (
    "patient",
    "patient_identifier",
    "patient_search",
    "step",
    "visit",
    "visit_history",
    "bed",
    "worklist",
    "worklist_station",
    "worklist_name",
    "instance",
    "mpps",
    "mpps_step",
    "study",
    "study_expected",
    "copy",
    "commitment",
    "commitment_request",
    "commitment_item",
    "rejection",
    "availability",
    "temporary_id",
    "mother",
    "exception",
    "patient_change",
    "patient_change_identifier",
    "patient_link",
)
"""What a baseline holds, in the order in which one table names another."""


@contextmanager
def rebuilt(
    journal_: Transaction,
    baseline: Database,
    configured: Configured,
    progress: Callable[[int], None],
    *,
    end: int | None = None,
) -> Iterator[Transaction]:
    """The registers that the log gives, in a file that is gone afterwards. `progress` is told events folded.

    `end`: the place of the last event that counts; the baseline may hold more than that (`folded`), and nothing of it
    can be taken back.
    """
    with begun(baseline) as database:
        start = folded(database.read())
        fold_into(database, journal_, configured, start, end=end, progress=progress)
        yield database.read()


@contextmanager
def begun(baseline: Database) -> Iterator[Database]:
    """The registers of the baseline, in a file that is gone afterwards, for events to be folded into."""
    with tempfile.TemporaryDirectory(prefix="broker-rebuild-") as folder:
        database = SqliteDatabase(Path(folder) / "registers.sqlite")
        database.open()
        try:
            copy(baseline, database)
            yield database
        finally:
            database.close()


def copy(baseline: Database, database: Database) -> None:
    """Copies the baseline into an empty database, where there is one."""
    try:
        if not baseline.version():
            return
        with baseline.snapshot() as tx:
            for name in COPIED:
                # What was merged away names the survivor, which must stand before.
                order = " ORDER BY merged_into IS NOT NULL" if name in ("patient", "visit") else ""
                rows = tx.rows(f"SELECT * FROM {name}{order}")
                if rows:
                    sql = f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})"
                    database.write(lambda to, sql=sql, rows=rows: to.each(sql, rows)).result()  # type: ignore[misc]
            last = folded(tx)
            database.write(lambda to: _remember(to, last)).result()
    finally:
        baseline.close()


def bring_up_to_date(baseline: Database) -> None:
    """The schema of a baseline, where there is one, as a start does with the journal's own. Raises `StoreError`."""
    try:
        if baseline.version() not in (0, CURRENT):
            baseline.open()
    finally:
        baseline.close()


def folded(tx: Transaction) -> int:
    """The place of the last event that a baseline holds."""
    row = tx.one("SELECT coalesce(max(seq), 0) FROM event")
    return int(row[0]) if row else 0


def _remember(tx: Transaction, place: int) -> None:
    """The baseline's own memory of how far it got: one row, no body."""
    tx.execute("DELETE FROM event")
    tx.execute(
        "INSERT INTO event (seq, id, message, type, body, routed) VALUES (?, 'folded', 0, '', '', '')",
        (place,),
    )


def fold_into(
    database: Database,
    journal_: Transaction,
    configured: Configured,
    start: int,
    *,
    end: int | None = None,
    batch: int = BATCH,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Folds what was routed behind place `start`, up to `end`; returns how many. Each batch is one transaction."""
    demographic_search.complete(database)
    stations.complete(database)
    pipeline = Pipeline(configured.routes, configured.renderers, registers_only=True)
    done = 0
    while found := [e for e in journal.since(journal_, start, batch) if end is None or e.place <= end]:
        before, start = start, found[-1].place
        whole = [logged for logged in found if logged.routed != "failed"]

        def write(
            tx: Transaction, whole: list[journal.Logged] = whole, first: int = before, last: int = start
        ) -> None:
            tx.alone("broker: baseline")
            if folded(tx) != first:
                raise StoreError("another node folds the same baseline")
            pipeline.route_all(tx, whole)
            _remember(tx, last)

        database.write(write).result()
        done += len(found)
        progress(done)
    return done


def compare(live: Transaction, again: Transaction, version: str) -> list[str]:
    """What differs, by table; names events and counts, never values."""
    # Where earlier routes made rows, or left them out, today's may make others: only what is there is compared.
    same_routes = (
        live.one("SELECT 1 FROM event WHERE routed NOT IN (?, 'failed') LIMIT 1", (version,)) is None
    )
    faults = []
    for name, sql in TABLES.items():
        values = (version,) if "?" in sql else ()
        one, two = set(live.rows(sql, values)), set(again.rows(sql, values))
        lost, extra = one - two, two - one
        if name in SINCE_8 or name in SINCE_15 or (name in OF_ROUTES and not same_routes):
            extra = set()
        if lost or extra:
            events = ", ".join(sorted({str(row[-1]) for row in lost | extra})[:3])
            by = "" if name.startswith("patient_") else f" (written by {events} …)"
            faults.append(
                f"{name}: {len(lost)} live rows and {len(extra)} rebuilt rows have no counterpart{by}"
            )
    return faults
