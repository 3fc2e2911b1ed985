"""Which database the settings name."""

from __future__ import annotations

from pathlib import Path

from broker.runtime.journals import journal_of
from broker.settings import load
from broker.store.postgres import PostgresDatabase
from broker.store.sqlite import SqliteDatabase
from tests.support.shared import REPOSITORY


def test_without_a_store_it_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    settings = load(REPOSITORY / "config" / "broker.yaml", env={"BROKER_DATA": str(tmp_path)})
    found = journal_of(settings)

    assert isinstance(found, SqliteDatabase)
    assert (found.path, found.version()) == (tmp_path / "journal.sqlite", 0)
    assert list(tmp_path.iterdir()) == [], "asking makes nothing"


def test_a_url_is_postgresql_and_shown_without_its_password(tmp_path: Path) -> None:
    env = {"BROKER_DATA": str(tmp_path), "BROKER_STORE": "postgresql://broker:hemmelig@db:5433/journal"}
    found = journal_of(load(REPOSITORY / "config" / "broker.yaml", env=env))

    assert isinstance(found, PostgresDatabase)
    assert found.name == "postgresql://db:5433/journal"
