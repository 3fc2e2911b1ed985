"""`broker simulate drill`: what goes wrong with identity, played against a running broker and judged."""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import rich_click as click

from broker.cli import simulate_places
from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.cli.simulate_roles import seed_option
from broker.errors import BrokerError
from broker.simulate.drills import catalog
from broker.simulate.drills.ending import Check
from broker.simulate.drills.peers import Command, DrillPlaces, Peers
from broker.simulate.drills.script import Drill
from broker.simulate.drills.stage import Outcome, Stage

DAYS: Final = 9
"""The messages begin so many days ago, so that a week of theirs lies in the past."""


@click.command("drill")
@click.argument("name", type=click.Choice([*catalog.DRILLS, "all"]))
@click.option(
    "--without", type=click.IntRange(1), multiple=True, help="Leave this step out; the drill must fail."
)
@seed_option
@config_option
@format_option
def command(name: str, without: tuple[int, ...], seed: int | None, config: Path, as_json: bool) -> None:
    """Play an identity drill against a running broker, and judge it. Ends with 0 only if nothing is wrong.

    PAS, RIS, LAB and modalities talk to the broker of the settings file; EPJ, PACS and the PACS's HL7 listener stand
    where it sends to (BROKER_PACS_HL7_PORT), so nothing else may listen there. An operator's part is done with the
    broker's own commands. Names and numbers are synthetic, and new with each seed.

    Examples:  broker simulate drill all    ·    broker simulate drill wrong-merge --format json
    ·    broker simulate drill trauma --seed 7 --without 17
    """
    if without and name == "all":
        raise click.UsageError("--without needs one drill: its steps are numbered by drill")
    places = simulate_places.drill(load_settings(config))
    seed = secrets.randbelow(10**9) if seed is None else seed
    begins = (datetime.now(UTC) - timedelta(days=DAYS)).replace(hour=8, minute=0, second=0, microsecond=0)
    names = catalog.DRILLS if name == "all" else (name,)
    found = [
        _played(catalog.write(one, seed, begins), places, _broker(config), without, as_json=as_json)
        for one in names
    ]
    passed = all(one["verdict"] == "pass" for one in found)
    if as_json:
        print_json({"seed": seed, "verdict": "pass" if passed else "fail", "drills": found})
    else:
        click.echo(f"{'pass' if passed else 'fail'}  drills: {', '.join(names)}; seed {seed}")
    if not passed:
        raise SystemExit(1)


def _played(
    drill: Drill, places: DrillPlaces, command: Command, without: Sequence[int], *, as_json: bool
) -> dict[str, Any]:
    began = time.monotonic()
    if not as_json:
        click.echo(f"{drill.name}: {catalog.DRILLS[drill.name].text}")
    steps: list[Outcome] = []
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="broker-drill-") as folder:
        peers = Peers(places, Path(folder))
        try:
            stage = Stage(drill, peers, command)
            with peers.listening():
                for outcome in stage.play(without):
                    steps.append(outcome)
                    if not as_json:
                        _show(
                            f"{outcome.number:>3}", outcome.place, outcome.title, outcome.said, ok=outcome.ok
                        )
                for check in stage.judge():
                    checks.append(check)
                    if not as_json:
                        _show("end", check.place, check.title, check.fault, ok=not check.fault)
        except OSError as exc:
            region = places.region
            ports = (
                f"the EPJ ({region.epj}), the PACS ({region.pacs}) or its HL7 listener ({places.pacs_hl7})"
            )
            raise BrokerError(f"{ports} cannot listen: {exc.strerror}; stop what listens there") from exc
        finally:
            peers.close()
    failures = [f"step {o.number}: {o.place}: {o.title}: {o.said}" for o in steps if not o.ok]
    failures += [f"end: {c.place}: {c.title}: {c.fault}" for c in checks if c.fault]
    seconds = round(time.monotonic() - began, 1)
    verdict = "fail" if failures else "pass"
    if not as_json:
        click.echo(f"{verdict}  {drill.name}: {len(steps)} steps, {len(checks)} checks")
        click.echo()
    return {
        "drill": drill.name,
        "verdict": verdict,
        "seconds": seconds,
        "failures": failures,
        "steps": [
            {"number": o.number, "place": o.place, "title": o.title, "said": o.said, "ok": o.ok}
            for o in steps
        ],
        "end": [{"place": c.place, "title": c.title, "fault": c.fault, "ok": not c.fault} for c in checks],
    }


def _show(number: str, place: str, title: str, said: str, *, ok: bool) -> None:
    told = f"{title}: {said}" if said else title
    click.echo(f"  {number}  {'ok  ' if ok else 'FAIL'}  {place:<12}  {told}")


def _broker(config: Path) -> Command:
    """The broker's own commands, as an operator calls them: a process each, with the same settings."""

    def run(arguments: Sequence[str]) -> tuple[int, str]:
        finished = subprocess.run(
            [sys.executable, "-m", "broker", *arguments, "--config", str(config)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return finished.returncode, finished.stdout

    return run
