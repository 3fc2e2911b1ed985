"""A journal with something to deliver."""

from __future__ import annotations

import pytest

from broker.journal.intake import append
from broker.store.transaction import Transaction
from tests.support.events import event, reception


@pytest.fixture
def tx(tx: Transaction) -> Transaction:
    """A journal with one event, number 1, on both engines; deliveries are numbered from 1."""
    append(tx, reception(1, event("patient.registered")))
    return tx
