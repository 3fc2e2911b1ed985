"""Ends transactions of nodes that stall inside one, so that nobody waits for what they have locked.

The server does so by itself (`idle_in_transaction_session_timeout`) only where a client stands between two exchanges.
A writer hands statements over without waiting for each (`postgres_session`): where its process stops, or its cable is
cut, in the midst of that, the session counts as active, has no limit, and may hold the leader's lease. Whoever stalled
finds its connection lost. Not here: when it is looked.
"""

from __future__ import annotations

from typing import Final

import structlog

from broker.store.postgres_session import Connection

log = structlog.get_logger("broker.store")

STALL_SECONDS: Final = 10
"""What a writer that stalls inside a transaction may keep the others waiting."""

_END: Final = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname=current_database()"
    " AND usename=current_user AND application_name=current_setting('application_name')"
    " AND state='active' AND wait_event='ClientRead' AND xact_start IS NOT NULL"
    " AND state_change < clock_timestamp() - make_interval(secs => $1)"
)
"""Of the same login and program, which it may always end; `ClientRead` while active: in the midst of a pipeline."""


def end_stalled(connection: Connection, store: str, seconds: float = STALL_SECONDS) -> None:
    """`store`: what people read in messages. Raises `psycopg.Error`."""
    row = connection.execute(_END, (float(seconds),)).fetchone()
    if row is not None and row[0]:
        log.warning("the transaction of a node that stalls was ended", store=store, sessions=row[0])
