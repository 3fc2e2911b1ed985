"""`broker patients show`: what is known of a patient, and where each value came from. Masked unless told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from broker.cli import patients_text
from broker.cli.issued import owned
from broker.cli.options import (
    config_option,
    format_option,
    load_settings,
    login,
    open_desk,
    open_journal,
    patients_number,
    print_json,
)
from broker.cli.patients_merge_status import brief
from broker.errors import ConfigError
from broker.event import Identifier, PersonName
from broker.journal import audit
from broker.registers import ledger, links, patients, study_list, visits
from broker.registers.patients import Known
from broker.registers.versions import VALUES
from broker.registers.visits import Visit
from broker.runtime import splitplan
from broker.settings import Settings
from broker.store.transaction import Transaction
from broker.tap.mask import hidden


@click.command("show")
@click.argument("identifier")
@click.option("--issuer", default="", help="Only the number of this issuer: its OID, or its name.")
@click.option("--history", is_flag=True, help="Also what merged, changed, moved or split the record.")
@click.option("--phi", is_flag=True, help="Show the values; needs `tap: allow_phi` and --reason.")
@click.option("--reason", default="", help="Why; kept for ever in the audit.")
@config_option
@format_option
def command(
    identifier: str, issuer: str, history: bool, phi: bool, reason: str, config: Path, as_json: bool
) -> None:
    """Show a patient by any identifier, ended ones too: each value with its source, time and event.

    IDENTIFIER is a number; `-` reads it from standard input, so that it stands in no shell's history.

    Examples:  broker patients show 700123    ·    broker patients show - --history --format json
    ·    broker patients show 700123 --issuer 2.999.7001 --phi --reason "case 4711: which name is right"
    """
    settings = load_settings(config)
    tx = open_journal(settings)
    owners = [one.patient for one in owned(settings, tx, patients_number(identifier), issuer)]
    if phi:
        _allowed(settings, config, reason, sorted(set(owners)))
    if not owners:
        raise ConfigError("no patient here has this number; `broker trace` finds the messages that name it")
    found = [_described(tx, patients.get(tx, one), phi=phi, history=history) for one in owners]
    if as_json:
        print_json(found)
        return
    for patient in found:
        patients_text.patient(patient)


def _allowed(settings: Settings, config: Path, reason: str, keys: list[str]) -> None:
    """Writes into the audit who looks at whom, before anything is shown. Raises `ConfigError` where none may."""
    if not reason.strip():
        raise click.UsageError("--phi needs --reason")
    may = settings.broker.tap.allow_phi
    with open_desk(settings) as desk:
        desk.write(
            lambda tx: audit.note(
                tx,
                at=datetime.now(UTC),
                who=login(),
                action="patients show" if may else "patients show refused",
                reason=reason.strip(),
                detail={"patients": keys, "phi": True},
            )
        ).result()
    if not may:
        raise ConfigError(
            f"{config}: tap.allow_phi is off: patients' values are not shown; without --phi their length is"
        )


def _described(tx: Transaction, known: Known, *, phi: bool, history: bool) -> dict[str, Any]:
    values = {
        name: {
            "value": _shown(getattr(known.patient, name), phi=phi),
            "source": origin.source,
            "at": origin.at,
            "said": origin.said,
            "event": origin.event,
        }
        for name in VALUES
        if (origin := known.origins.get(name)) is not None
    }
    described: dict[str, Any] = {
        "key": known.key,
        "verified": known.verified,
        "identifiers": [
            {
                "value": value if phi else hidden(value),
                "issuer": issuer,
                "current": bool(current),
                "source": source,
                "at": since,
                "event": event,
            }
            for value, issuer, current, source, since, event in tx.rows(
                "SELECT value, issuer, current, source, since, event FROM patient_identifier WHERE patient=?"
                " ORDER BY current DESC, issuer, value",
                (known.key,),
            )
        ],
        "values": values,
        "visits": [_visit(visit, phi=phi) for visit in visits.of_patient(tx, known.key)],
        "related": links.related(tx, known.key),
        "worklists": dict(splitplan.lists_of(tx, known.key)),
        "studies": study_list.of_patient(tx, known.key),
    }
    if history:
        described["history"] = [brief(change) for change in ledger.of_patient(tx, known.key)]
    return described


def _visit(visit: Visit, *, phi: bool) -> dict[str, Any]:
    """A visit or appointment; where somebody lies is shown with --phi only."""
    state, bed = visit.state, visit.place
    number = state.visit_number.value if state.visit_number else ""
    return {
        "number": number if phi else hidden(number),
        "status": state.status or "",
        "class": state.patient_class or "",
        "location": (state.location or "") if phi else hidden(state.location or ""),
        "in_bed": bed is not None,
        "said": visit.at,
        "ended": visit.ended,
        "source": visit.source,
        "site": visit.site,
    }


def _shown(value: object, *, phi: bool) -> str:
    if isinstance(value, PersonName):
        value = "^".join((value.family, value.given, value.middle, value.suffix, value.prefix)).rstrip("^")
    elif isinstance(value, Identifier):
        value = value.value
    elif isinstance(value, bool):  # the grading itself is confidential: not even its length
        return str(value).lower() if phi else hidden("•")
    text = str(value or "")
    return text if phi else hidden(text)
