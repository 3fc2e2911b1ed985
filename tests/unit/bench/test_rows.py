"""A journal filled by SQL is one that the broker could have written: it reconciles, searches and delivers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from broker.delivery import stored
from broker.event import Event
from broker.hl7.er7 import Header
from broker.journal import log, search
from broker.runtime.reconcile import reconcile
from broker.settings import load
from broker.store.sqlite import SqliteDatabase, journal_file
from tests.bench.rows import fill, one_of_a_kind, plan
from tests.support.shared import REPOSITORY

LAST = date(2026, 3, 9)


def test_a_filled_journal_adds_up(tmp_path: Path) -> None:
    settings = load(REPOSITORY / "config" / "broker.yaml", env={"BROKER_DATA": str(tmp_path)})
    rows = plan(205, 4, LAST)
    path = journal_file(tmp_path)

    days = list(fill(path, rows, like=one_of_a_kind(settings), deliveries="queued"))

    assert days == ["2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09"]
    tx = SqliteDatabase(path).read()
    assert reconcile(tx, tmp_path).faults == []
    assert [queued.id for queued in stored.open_deliveries(tx)] == list(range(1, 206))
    opened = stored.load(tx, 205)
    assert opened is not None
    assert Header.read(opened.delivery.payload).control_id == "C205"
    logged = log.event(tx, 205)
    assert isinstance(logged.event, Event)
    assert logged.event.data.patient is not None
    assert logged.raw == opened.delivery.payload


def test_each_question_of_the_bench_finds_what_it_asks_for(tmp_path: Path) -> None:
    path = journal_file(tmp_path)
    list(fill(path, plan(400, 4, LAST)))
    tx = SqliteDatabase(path).read()

    assert search.find(tx, text="C17", kind="control") == [17]
    assert search.find(tx, text="A12", kind="accession") == [126, 127, 128]
    assert search.find(tx, text="2.25.12", kind="study") == [126, 127, 128]
    assert len(search.find(tx, text="P3", kind="patient", limit=100)) == 20
    assert search.find(tx, type="ORM^O01", since="2026-03-09", limit=3) == [376, 386, 396]
