"""`broker devices profile`: kinds of devices, and which of them a device seems to be by what it was seen to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from broker import profiles
from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.errors import ConfigError
from broker.profiles import Asked, Likeness
from broker.settings import Settings, profiles_folder
from broker.why.device import asking
from broker.why.facts import Device


@click.command("profile")
@click.argument("ae", default="")
@config_option
@format_option
def command(ae: str, config: Path, as_json: bool) -> None:
    """Propose the profile of a device from what it was seen to ask; without AE, list the profiles.

    The running broker remembers the last queries of each device; their keys are looked at, not their values. Nothing is
    changed: the lines to put into the settings are shown. Ends with 1 where no profile is like it.

    Examples:  broker devices profile    ·    broker devices profile OCT1_STO --format json
    """
    settings = load_settings(config)
    known = profiles.load(profiles_folder(settings.file))
    if not ae:
        _list(known, as_json)
        return
    seen, why = asking(settings)(ae, None)
    if not seen:
        raise ConfigError(
            why or f"{ae} has asked nothing since the broker started: let it ask once, then try again"
        )
    asked = [_asked(one) for one in seen]
    found, habits = profiles.alike(known, asked), _habits(seen)
    if as_json:
        print_json(_told(settings, ae, found, habits, asked))
    else:
        _say(ae, found, habits, len(asked))
    if not found:
        raise SystemExit(1)


def _list(known: Any, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"name": name, "summary": one.summary, "seen": one.seen, "signs": one.signs.model_dump()}
                for name, one in known.items()
            ]
        )
        return
    for name, one in known.items():
        click.echo(f"{name:<18} {one.summary}")


def _asked(one: Device) -> Asked:
    # Keys that the settings add are none of the device's own.
    own = tuple(key["key"] for key in one.keys if key["key"] in one.asked and not key.get("by_settings"))
    return Asked(keys=one.asked, narrowing=own, cancelled=not one.whole and not one.limited)


def _habits(seen: tuple[Device, ...]) -> list[str]:
    """What can be told of the device without any profile, and which option answers it."""
    asked = [_asked(one) for one in seen]
    narrowing = [{path.rpartition(".")[2] for path in one.narrowing} for one in asked]
    private = sorted({path for one in asked for path in one.keys if "," in path})
    found = []
    if not any("ScheduledProcedureStepStartDate" in keys for keys in narrowing):
        found.append("asks without a day: `window` keeps its list to the steps around now")
    if not any("ScheduledStationAETitle" in keys for keys in narrowing):
        found.append("names no station: `worklist: own` keeps others' rows away from it")
    if any(one.cancelled for one in asked):
        found.append("cancelled or went before the last answer: `max_answers` sends the nearest first")
    if private:
        found.append(
            f"asks for {', '.join(private)}, which no row is matched on: FF01 says so, `hide_unsupported` does not"
        )
    return found


def _told(
    settings: Settings, ae: str, found: list[Likeness], habits: list[str], asked: list[Asked]
) -> dict[str, Any]:
    device = settings.device(ae)
    return {
        "ae": ae,
        "queries": len(asked),
        "profile": found[0].name if found else None,
        "declared": device.profile if device is not None else None,
        "alike": [
            {"profile": one.name, "shown": one.shown, "missed": one.missed, "share": round(one.share, 2)}
            for one in found
        ],
        "habits": habits,
        "asked": sorted({path for one in asked for path in one.keys}),
    }


def _say(ae: str, found: list[Likeness], habits: list[str], queries: int) -> None:
    click.echo(f"{ae}: {queries} queries seen")
    for one in found:
        signs = "; ".join((*one.shown, *(f"not: {sign}" for sign in one.missed)))
        click.echo(f"  {one.name:<18} {len(one.shown)} of {len(one.shown) + len(one.missed)} signs: {signs}")
    for habit in habits:
        click.echo(f"  {habit}")
    if found:
        click.echo(
            f"next: in the settings, `devices: {{ {ae}: {{ profile: {found[0].name} }} }}`; then start anew"
        )
    else:
        click.echo("it shows most signs of no profile")
