"""`broker patients`: who a patient is here, what merges changed, undoing a wrong one. Masked unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from broker.cli import patients_disclosures, patients_list, patients_recall, patients_text
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
from broker.errors import ConfigError
from broker.event import Identifier, PersonName
from broker.journal import audit
from broker.registers import ledger, links, patients, study_list, visits
from broker.registers.changes import Change
from broker.registers.patients import Known
from broker.registers.versions import VALUES
from broker.registers.visits import Visit
from broker.runtime import decisions, splitplan
from broker.runtime.decisions import Verb
from broker.runtime.splitplan import Plan
from broker.settings import Settings
from broker.store.database import Transaction
from broker.tap.mask import hidden

F = TypeVar("F", bound=Callable[..., Any])


@click.group("patients")
def command() -> None:
    """Who a patient is here, what merges changed, and undoing a wrong one (docs/patients.md).

    A patient's values are `•` and their length; with --phi they are shown, where `tap.allow_phi` allows it, and that
    is audited.
    """


for verb in (patients_list, patients_disclosures, patients_recall):
    command.add_command(verb.command)


@command.command("show")
@click.argument("identifier")
@click.option("--issuer", default="", help="Only the number of this issuer: its OID, or its name.")
@click.option("--history", is_flag=True, help="Also what merged, changed, moved or split the record.")
@click.option("--phi", is_flag=True, help="Show the values; needs `tap: allow_phi` and --reason.")
@click.option("--reason", default="", help="Why; kept for ever in the audit.")
@config_option
@format_option
def show(
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


@command.command("merge-status")
@click.argument("what", required=False, default="")
@config_option
@format_option
def merge_status(what: str, config: Path, as_json: bool) -> None:
    """Show merges, id changes and moves: where they stand here, and what each destination has got of them.

    WHAT is a change's id, a message's id or a patient's number (`-` reads it from standard input); without it, what
    is held and waits for a decision. Shows no patient data.

    Examples:  broker patients merge-status    ·    broker patients merge-status 700123 --format json
    """
    tx = open_journal(load_settings(config))
    changes = splitplan.find(tx, patients_number(what)) if what else ledger.held(tx)
    if as_json:
        print_json([_status(tx, change) for change in changes])
    else:
        for change in changes:
            patients_text.status(_status(tx, change))
        click.echo(f"{len(changes)} changes")
    if what and not changes:
        raise SystemExit(1)


def _people(function: F) -> F:
    """`--by`, `--approved-by` and `--reason`: two people, and why."""
    for option in (
        click.option("--reason", default="", help="Why; kept for ever in the audit."),
        click.option("--approved-by", default="", help="Who approved it: somebody else."),
        click.option("--by", default="", help="Who decided it."),
    ):
        function = option(function)
    return function


@command.command("split")
@click.argument("change")
@click.option("--plan", "planning", is_flag=True, help="Show what would go back to whom, and change nothing.")
@click.option("--apply", "applying", is_flag=True, help="Do what the plan of --plan-id says.")
@click.option("--plan-id", default="", help="The plan that was looked at, as --plan shows it.")
@_people
@config_option
@format_option
def split(
    change: str,
    planning: bool,
    applying: bool,
    plan_id: str,
    by: str,
    approved_by: str,
    reason: str,
    config: Path,
    as_json: bool,
) -> None:
    """Undo a merge, an id change or a move that was wrong (CHANGE as `merge-status` shows it).

    What came under an identifier goes back with it. No message tells other systems: the plan lists by study what
    people at the PACS must do. A plan is done only while it still is what would be done; doing it twice is harmless.

    Examples:  broker patients split 01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --plan
    ·    broker patients split 01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --apply --plan-id 4f1c09b2a7de --by "Kari Lie"
    --approved-by "Ola Moe" --reason "two persons, case 4711"
    """
    if planning == applying:
        raise click.UsageError("give --plan or --apply")
    settings = load_settings(config)
    if applying:
        _decide(settings, "split", change, by, approved_by, reason, as_json, plan_id)
        return
    tx = open_journal(settings)
    planned = splitplan.plan(tx, _change(tx, change))
    if as_json:
        print_json(_planned(planned))
    else:
        patients_text.plan(planned)
    if planned.obstacle:
        raise SystemExit(1)


@command.command("release-merge")
@click.argument("change")
@click.option("--refuse", is_flag=True, help="It stays undone: they are two persons.")
@_people
@config_option
@format_option
def release_merge(
    change: str, refuse: bool, by: str, approved_by: str, reason: str, config: Path, as_json: bool
) -> None:
    """Let a held merge happen, as its message said, or refuse it (CHANGE as `merge-status` shows it).

    Examples:  broker patients release-merge 01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --by "Kari Lie" --approved-by "Ola Moe"
    --reason "the number was changed by the authorities"    ·    broker patients release-merge
    01KK8Q7YG0GHJKMNPQRSTVWXYZ.0 --refuse --by "Kari Lie" --approved-by "Ola Moe" --reason "brothers"
    """
    verb: Verb = "refuse" if refuse else "release"
    _decide(load_settings(config), verb, change, by, approved_by, reason, as_json)


def _decide(
    settings: Settings,
    verb: Verb,
    change: str,
    by: str,
    approved_by: str,
    reason: str,
    as_json: bool,
    plan_id: str = "",
) -> None:
    with open_desk(settings) as desk:
        message = decisions.decide(
            desk,
            verb,
            change,
            by=by,
            approved_by=approved_by,
            reason=reason,
            now=datetime.now(UTC),
            who=login(),
            plan_id=plan_id,
        )
    if as_json:
        print_json({"change": change, "decision": verb, "message": message or None, "new": bool(message)})
    elif message:
        click.echo(f"{verb}: message {message}; a running broker does it within a second (merge-status)")
    else:
        click.echo(f"{verb}: that was decided already; nothing was written")


def _change(tx: Transaction, name: str) -> Change:
    change = ledger.get(tx, name)
    if change is None:
        raise ConfigError(f"there is no change {name}; `broker patients merge-status` lists them")
    return change


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
        described["history"] = [_brief(change) for change in ledger.of_patient(tx, known.key)]
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


def _brief(change: Change) -> dict[str, Any]:
    names = ("id", "kind", "state", "at", "survivor", "absorbed", "reason", "ended")
    return {name: getattr(change, name) for name in names}


def _status(tx: Transaction, change: Change) -> dict[str, Any]:
    return {
        **_brief(change),
        "worklists": {
            key: dict(splitplan.lists_of(tx, key)) for key in (change.survivor, change.absorbed) if key
        },
        "destinations": [asdict(one) for one in splitplan.told(tx, change)],
    }


def _planned(plan: Plan) -> dict[str, Any]:
    return {
        "plan_id": plan.id,
        **_brief(plan.change),
        "obstacle": plan.obstacle,
        "identifiers_back": len(plan.change.leaving),
        "returns": [asdict(item) for item in plan.returns],
        "ambiguous": [asdict(item) for item in plan.ambiguous],
        "work": [asdict(one) for one in plan.work],
        "told": [asdict(one) for one in plan.told],
    }
