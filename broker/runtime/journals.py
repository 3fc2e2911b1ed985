"""Which database the settings name for the journal: a file in the data folder, or PostgreSQL. Opens nothing."""

from __future__ import annotations

from broker.settings import Settings
from broker.store.database import Database
from broker.store.sqlite import SqliteDatabase, journal_file


def journal_of(settings: Settings) -> Database:
    """The journal of these settings. Raises `StoreError` for a URL that cannot be read."""
    url = settings.broker.store.get_secret_value()
    if not url:
        return SqliteDatabase(journal_file(settings.data_folder))
    # Here, because most commands and brokers never need it.
    from broker.store.postgres import PostgresDatabase

    return PostgresDatabase(url, settings.node)
