"""The IHE Integration Statement: the transactions that the adapters of this configuration claim. Pure.

Only what is switched on, each with its limits. What stands nowhere here is not claimed.
"""

from __future__ import annotations

from broker.conformance.document import Document, Section, Table
from broker.conformance.facts import Facts
from broker.statement import IheClaim


def statement(facts: Facts) -> Document:
    """The whole statement."""
    found: dict[IheClaim, list[str]] = {}
    for setting in facts.on:
        for claim in setting.spec.statement(setting.config).claims:
            found.setdefault(claim, []).append(setting.name)
    claimed = {claim: by for claim, by in found.items() if claim.how == "claimed"}
    relayed = {claim: by for claim, by in found.items() if claim.how == "relayed"}
    actors = tuple(
        (
            actor,
            profile,
            ", ".join(sorted({c.transaction for c in claimed if (c.actor, c.profile) == (actor, profile)})),
        )
        for actor, profile in sorted({(claim.actor, claim.profile) for claim in claimed})
    )
    return Document(
        title="IHE Integration Statement",
        text=(
            f"{facts.product} No Connectathon result stands behind it:"
            " it says what is built and tested here, with its limits. What is not in it is not claimed.",
        ),
        sections=(
            Section(
                title="Actors", tables=(Table(columns=("actor", "profile", "transactions"), rows=actors),)
            ),
            Section(title="Transactions", tables=(_table(claimed),)),
            Section(
                title="Passed on, not claimed",
                text=(
                    "The broker stands between the actors of these transactions and plays neither part whole.",
                )
                if relayed
                else ("None.",),
                tables=(_table(relayed),),
            ),
        ),
    )


def _table(claims: dict[IheClaim, list[str]]) -> Table:
    rows = tuple(
        (claim.transaction, claim.name, claim.profile, claim.actor, ", ".join(by), claim.limits)
        for claim, by in claims.items()
    )
    return Table(
        columns=("transaction", "name", "profile", "actor", "listener or destination", "limits"), rows=rows
    )
