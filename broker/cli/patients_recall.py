"""`broker patients recall`: who got an address that is protected by now. A command of the `patients` group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rich_click as click

from broker.cli.issued import owned
from broker.cli.options import (
    audited,
    config_option,
    format_option,
    load_settings,
    open_journal,
    patients_number,
    print_json,
    reason_option,
)
from broker.errors import ConfigError
from broker.registers import patients
from broker.runtime.recall import Recall, Told, recall
from broker.settings import OutboundSetting, Settings
from broker.store.transaction import Transaction


@click.command("recall")
@click.argument("number")
@click.option(
    "--issuer", default="", help="Its issuer, where several have the same number: OID or namespace."
)
@reason_option()
@config_option
@format_option
def command(number: str, issuer: str, reason: str, config: Path, as_json: bool) -> None:
    """Show which destinations were sent contact data of a patient, when, and how to ask for it back.

    NUMBER is an identifier of the patient; `-` reads it from standard input, where it stands in no list of processes.
    What still waited when the protection was set was withdrawn by itself. The list says who the patient is to nobody,
    but that an address is protected is confidential: each use is audited. Ends with 1 where somebody must be asked.

    Examples:  broker patients recall - --reason "graded by the registry"
    ·    broker patients recall 700123 --issuer 2.999.7001 --reason "graded" --format json
    """
    settings = load_settings(config)
    journal = open_journal(settings)
    key = _key(settings, journal, patients_number(number), issuer)
    audited(settings, "patients recall", reason, {"patient": key})
    found = recall(journal, key)
    ask = [told for told in found.told if not told.cleared]
    if as_json:
        print_json({"patient": key, **asdict(found), "ask": [told.destination for told in ask]})
    else:
        _print(key, found, settings.outbound)
    if ask:
        raise SystemExit(1)


def _key(settings: Settings, journal: Transaction, number: str, issuer: str) -> str:
    found = owned(settings, journal, number, issuer)
    keys = {patients.get(journal, one.patient).key for one in found}
    if not keys:
        raise ConfigError("the patient register has no such number; mind the issuer, and leading zeros")
    if len(keys) > 1:
        issuers = ", ".join(sorted({one.issuer for one in found}))
        raise ConfigError(f"several patients have this number; give --issuer: {issuers}")
    return keys.pop()


def _print(key: str, found: Recall, outbound: Sequence[OutboundSetting]) -> None:
    said = {True: "protected", False: "not protected", None: "PAS says nothing of it"}[found.protected]
    click.echo(f"patient {key}: {said}; {found.withdrawn} deliveries withheld or withdrawn")
    places = {one.name: one for one in outbound}
    for told in found.told:
        sure = "was sent" if told.sure else "may have got"
        click.echo(
            f"  {told.destination} {sure} {len(told.deliveries)} messages, {told.first[:19]}Z to {told.last[:19]}Z"
        )
        click.echo(f"    {_next(told, places.get(told.destination))}")
    if not found.told:
        click.echo("  nobody was sent an address by this journal; what retention took away it cannot tell")


def _next(told: Told, place: OutboundSetting | None) -> str:
    if told.cleared:
        return "it is cleared for protected addresses (`protected: allow`): nobody has to be asked"
    host, port = (getattr(place.config, name, "") for name in ("host", "port")) if place else ("", "")
    where = f" at {host}:{port}" if host else ""
    return (
        f"ask whoever runs {told.destination}{where} to remove address, telephone and next of kin;"
        f" `broker why delivery {told.deliveries[0]}` names the message"
    )
