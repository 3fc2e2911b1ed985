"""The patient register by name and birth date, for those who ask who a patient is. Nothing is filed by it.

A name is kept without case and accents (`broker.text.fold`), and once more as who lacks the letter writes it, where
that differs: `asen` and `aasen` both find Åsen. Who was merged away, or is known from orders only, is not found.
"""

from __future__ import annotations

from typing import Final

from broker.adapter import NamePart, PatientWanted
from broker.event import Patient
from broker.store.database import Database
from broker.store.transaction import Transaction, Value
from broker.text import fold, transliterate

_BEFORE: Final = ""
"""Stands in the place of a key while patients from before the table wait to be written (migration 13)."""

_COMPLETING: Final = "broker: patient search"
_BATCH: Final = 1000
_BEHIND_ALL: Final = "\U0010ffff"

Row = tuple[str, str, str, str]
"""Family name, given name, birth date, sex."""


def rows_of(patient: Patient) -> list[Row]:
    """What a patient is found by."""
    family, given = (patient.name.family, patient.name.given) if patient.name else ("", "")
    rest = (patient.birth_date or "", patient.sex or "")
    plain, shown = (_plain(family), _plain(given)), (_shown(family), _shown(given))
    return sorted({(*plain, *rest), (*shown, *rest)})


def alike(one: Patient, other: Patient) -> bool:
    """Whether both are found by the same."""
    return (one.name, one.birth_date, one.sex) == (other.name, other.birth_date, other.sex)


def put(tx: Transaction, key: str, patient: Patient) -> None:
    """Keeps a patient's record findable: called for whatever is written of a patient, unless the record that it was
    before is `alike`."""
    rows = rows_of(patient)
    if tx.rows(f"SELECT {_COLUMNS} FROM patient_search WHERE patient=? ORDER BY 1, 2", (key,)) == rows:
        return
    tx.execute("DELETE FROM patient_search WHERE patient=?", (key,))
    sql = f"INSERT INTO patient_search (patient, {_COLUMNS}) VALUES (?,?,?,?,?)"
    tx.each(sql, [(key, *row) for row in rows])


_COLUMNS: Final = "family, given, birth_date, sex"


def find(tx: Transaction, wanted: PatientWanted, most: int) -> list[str]:
    """See `broker.adapter.PatientDirectory.find`."""
    where, values = ["patient.verified=1", "patient.merged_into IS NULL"], list[Value]()

    def must(sql: str, *bound: Value) -> None:
        where.append(sql)
        values.extend(bound)

    for column, part in (("family", wanted.family), ("given", wanted.given)):
        if part is not None:
            must(*_named(column, part))
    if wanted.birth_date is not None:
        first, last = wanted.birth_date
        # A date that is known in part is before the days that it may be.
        must("patient_search.birth_date BETWEEN ? AND ?", first or "0", last or _BEHIND_ALL)
    if wanted.sex:
        must("patient_search.sex=?", wanted.sex)
    table = "patient"
    if len(where) > 2:
        table += " JOIN patient_search ON patient_search.patient=patient.key"
    for identifier in wanted.identifiers:
        issuer, bound = (" AND issuer=?", (identifier.issuer,)) if identifier.issuer else ("", ())
        must(
            f"patient.key IN (SELECT patient FROM patient_identifier WHERE value=?{issuer})",
            identifier.value,
            *bound,
        )
    if wanted.issuers:
        marks = ",".join("?" * len(wanted.issuers))
        must(
            "EXISTS (SELECT 1 FROM patient_identifier WHERE patient=patient.key AND current=1"
            f" AND issuer IN ({marks}))",
            *wanted.issuers,
        )
    sql = f"SELECT DISTINCT patient.key FROM {table} WHERE {' AND '.join(where)} LIMIT ?"
    return sorted(key for (key,) in tx.rows(sql, (*values, most + 1)))


def complete(database: Database) -> None:
    """Writes what is lacking of patients from before the table, once, in small transactions."""
    if database.read().one("SELECT 1 FROM patient_search WHERE patient=?", (_BEFORE,)) is None:
        return
    last = ""
    while found := database.write(lambda tx, after=last: _put_next(tx, after)).result():  # type: ignore[misc]
        last = found
    database.write(_completed).result()


def _completed(tx: Transaction) -> None:
    tx.alone(_COMPLETING)
    tx.execute("DELETE FROM patient_search WHERE patient=?", (_BEFORE,))


def _put_next(tx: Transaction, after: str) -> str:
    """The last key of the next patients in order, which are written; empty when there are no more.

    Nodes that start at once do it in turn. Who comes behind the end stops: by then others fold, and what was read here
    could be older than what they have written.
    """
    tx.alone(_COMPLETING)
    if tx.one("SELECT 1 FROM patient_search WHERE patient=?", (_BEFORE,)) is None:
        return ""
    rows = tx.rows("SELECT key, body FROM patient WHERE key>? ORDER BY key LIMIT ?", (after, _BATCH))
    for key, body in rows:
        put(tx, key, Patient.model_validate_json(body))
    return rows[-1][0] if rows else ""


def _named(column: str, part: NamePart) -> tuple[str, *tuple[str, ...]]:
    """SQL and values of one part of a name."""
    text = _plain(part.text)
    if part.prefix:
        return f"patient_search.{column}>=? AND patient_search.{column}<?", text, text + _BEHIND_ALL
    return f"patient_search.{column}=?", text


def _plain(name: str) -> str:
    return " ".join(fold(name).split())


def _shown(name: str) -> str:
    return _plain(transliterate(name, "ascii")[0])
