"""`broker studies reject` and `revoke`: notes that take images out of use, and back. Part of the `studies` group."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from broker.cli.options import (
    audited,
    by,
    by_options,
    config_option,
    format_option,
    load_settings,
    open_journal,
    print_json,
)
from broker.dicom import key_object
from broker.errors import ConfigError, DeliveryError
from broker.event import Code
from broker.net.store_scu import StoreScu
from broker.runtime import rejecting
from broker.runtime.rejecting import Made
from broker.settings import Settings

TITLES = {
    "quality": key_object.QUALITY,
    "safety": key_object.SAFETY,
    "wrong-entry": key_object.WRONG_ENTRY,
    "expired": key_object.EXPIRED,
}

_instances = click.option(
    "--instance", "instances", multiple=True, metavar="UID", help="Only these; several times."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be named; make nothing.")


@click.command("reject")
@click.argument("study_uid", metavar="STUDY")
@click.option(
    "--title",
    type=click.Choice(list(TITLES)),
    required=True,
    help="What the note is titled (PS3.16 CID 7010).",
)
@_instances
@click.option("--mpps", default="", metavar="UID", help="Only what came of this MPPS.")
@_dry_run
@by_options
@config_option
@format_option
def reject(
    study_uid: str,
    title: str,
    instances: tuple[str, ...],
    mpps: str,
    dry_run: bool,
    reason: str,
    who: str,
    config: Path,
    as_json: bool,
) -> None:
    """Take images out of use: a rejection note is made and stored at the running broker, which sends it to the archive
    as any object and tells the EPJ (docs/rejections.md).

    STUDY is a Study Instance UID. The archive hides what the note names; the objects are not removed. The reason is
    kept in the audit only.

    Examples:  broker studies reject 1.2.840.99.1 --title quality --instance 1.2.840.99.1.7 --reason "moved"
    ·    broker studies reject 1.2.840.99.1 --title wrong-entry --mpps 1.2.3 --reason "call 311" --dry-run
    """
    if instances and mpps:
        raise click.UsageError("give --instance, or --mpps")
    code = TITLES[title]
    _noted(
        load_settings(config),
        study_uid,
        Code(code=code, text=key_object.TITLES[code], system="DCM"),
        only=instances,
        mpps=mpps,
        restoring=False,
        dry_run=dry_run,
        reason=reason,
        who=who,
        as_json=as_json,
    )


@click.command("revoke")
@click.argument("study_uid", metavar="STUDY")
@_instances
@_dry_run
@by_options
@config_option
@format_option
def revoke(
    study_uid: str,
    instances: tuple[str, ...],
    dry_run: bool,
    reason: str,
    who: str,
    config: Path,
    as_json: bool,
) -> None:
    """Take rejections back: a note with the title that the storage listener's `revocation` names is made and stored.

    The standard has no such note: whether the archive follows it is the archive's (docs/rejections.md).

    Examples:  broker studies revoke 1.2.840.99.1 --reason "was the right patient"
    ·    broker studies revoke 1.2.840.99.1 --instance 1.2.840.99.1.7 --reason "sharp enough" --format json
    """
    settings = load_settings(config)
    _noted(
        settings,
        study_uid,
        _restore(settings),
        only=instances,
        mpps="",
        restoring=True,
        dry_run=dry_run,
        reason=reason,
        who=who,
        as_json=as_json,
    )


def _noted(
    settings: Settings,
    study_uid: str,
    title: Code,
    *,
    only: tuple[str, ...],
    mpps: str,
    restoring: bool,
    dry_run: bool,
    reason: str,
    who: str,
    as_json: bool,
) -> None:
    told = by(who, reason)
    journal = open_journal(settings)
    named = rejecting.chosen(journal, study_uid, only=only, mpps=mpps, restoring=restoring)
    made = rejecting.make(journal, study_uid, named, title, now=datetime.now(UTC))
    if not dry_run:
        detail = {
            "study": study_uid,
            "note": made.sop_instance_uid,
            "title": title.code,
            "instances": len(named),
        }
        audited(
            settings,
            "studies revoke" if restoring else "studies reject",
            told.reason,
            {**detail, "as": told.who},
        )
        _stored(settings, made)
    if as_json:
        print_json(
            {
                "study": study_uid,
                "title": title.code,
                "note": None if dry_run else made.sop_instance_uid,
                "instances": [one.sop_instance_uid for one in named],
            }
        )
        return
    for one in named:
        click.echo(f"{one.sop_instance_uid}  series {one.series_uid}")
    if dry_run:
        click.echo(f"{len(named)} instances would be named under {title.code} {title.text}; nothing was made")
    else:
        click.echo(f"{len(named)} instances named by note {made.sop_instance_uid}: {title.code} {title.text}")
        click.echo(f"`broker trace {made.sop_instance_uid}` shows where it went")


def _stored(settings: Settings, made: Made) -> None:
    """At the broker's own storage SCP: whoever runs it need not be told how the note came to be."""
    dicom = settings.broker.dicom
    bind = settings.dicom_bind
    scu = StoreScu(
        "127.0.0.1" if bind == "0.0.0.0" else bind,  # where it listens everywhere, it does so here
        dicom.port,
        called_aet=dicom.ae_title,
        calling_aet=dicom.ae_title,
    )
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(made.file)
        file.flush()
        try:
            scu.send(Path(file.name))
        except DeliveryError as error:
            raise ConfigError(
                f"the broker did not take the note: {error}. Does it run here (`broker status`)? Nothing was rejected"
            ) from error
        finally:
            scu.close()


def _restore(settings: Settings) -> Code:
    found = next((one.config.restore for one in settings.inbound if hasattr(one.config, "restore")), None)
    if not isinstance(found, Code):
        raise ConfigError("no storage listener of these settings has a title that takes rejections back")
    return found
