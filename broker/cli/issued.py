"""Whose number is meant: by its value, and by its issuer as people call that (`--issuer`). Shared by commands."""

from __future__ import annotations

from broker.registers import patients
from broker.registers.patients import Owned
from broker.runtime.archive_search import issuers_of
from broker.settings import Settings
from broker.store.transaction import Transaction


def owned(settings: Settings, tx: Transaction, number: str, issuer: str) -> list[Owned]:
    """Who has, or had, the number. `issuer`: its OID, or the name that a listener knows that by; empty: any."""
    named = issuers_of(settings).complete("", issuer, "", "", "").issuer
    return [one for one in patients.under(tx, number) if not issuer or one.issuer in (issuer, named)]
