"""`broker simulate`: the systems around a broker, to try it out by hand or to put it through a whole day."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

import rich_click as click

from broker.cli import simulate_drill, simulate_places
from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.cli.simulate_roles import ROLES, interrupted, seed_option
from broker.errors import BrokerError
from broker.simulate.day import plan
from broker.simulate.faults import FAULTS, chosen
from broker.simulate.region import Pace, Region
from broker.simulate.score import Score


@click.group("simulate")
def command() -> None:
    """The systems around a broker: a whole region with a score, drills, or one of them by hand."""


for role in (*ROLES, simulate_drill.command):
    command.add_command(role)


@command.command("region")
@click.option(
    "--speed", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Times as fast as life."
)
@click.option(
    "--minutes", type=click.FloatRange(0.05), default=2.0, show_default=True, help="How long it plays."
)
@click.option(
    "--scale", type=click.FloatRange(0.0001), default=1.0, show_default=True, help="Size of the region."
)
@click.option(
    "--from", "start", type=click.FloatRange(0, 24), default=8.0, show_default=True, help="Hour it begins."
)
@click.option(
    "--date",
    type=click.DateTime(["%Y%m%d"]),
    default="20260310",
    show_default=True,
    help="Day that the messages speak of, YYYYMMDD.",
)
@click.option(
    "--faults", default="", help="`all`, or names with commas; `broker simulate faults` lists them."
)
@click.option(
    "--down", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds of `epj-down`."
)
@click.option(
    "--drain",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    help="Seconds without an arrival until what is missing is lost.",
)
@click.option("--pid", type=int, help="The broker's process, to watch its memory.")
@seed_option
@config_option
@format_option
def region(
    speed: float,
    minutes: float,
    scale: float,
    start: float,
    date: datetime,
    faults: str,
    down: float,
    drain: float,
    pid: int | None,
    seed: int | None,
    config: Path,
    as_json: bool,
) -> None:
    """Play a region's workday against a running broker, and judge it. Ends with 0 only if nothing is wrong.

    PAS, RIS, LAB and modalities talk to the broker of the settings file; EPJ and PACS listen where it sends to, so
    nothing else may listen there. A broker answers what it has seen before without doing it again: give a seed twice
    only to a broker with an empty journal.

    Examples:  broker simulate region    ·    broker simulate region --minutes 30 --from 7 --pid 4711 --format json
    ·    broker simulate region --minutes 0.3 --faults late-ack,poison,epj-down --seed 7
    """
    places = simulate_places.region(load_settings(config))
    seed = secrets.randbelow(10**9) if seed is None else seed
    wanted = chosen(faults)
    hours = min(minutes * speed / 60, 24.0)
    click.echo(f"seed {seed}: planning {hours:.2g} h from {start:g} o'clock", err=True)
    day = plan(seed, date=date, start=start, hours=hours, scale=scale, faults=wanted)
    pace = Pace(speed=speed, down=down, drain=drain, pid=pid)
    run = Region(day, places, pace, lambda line: click.echo(line, err=True))
    with interrupted(run.stop):
        try:
            score = run.run()
        except OSError as exc:
            text = f"the EPJ ({places.epj}) or the PACS ({places.pacs}) cannot listen: {exc.strerror}"
            raise BrokerError(f"{text}; stop what listens there") from exc
    values = {"seed": seed, "hours": hours, "scale": scale, "speed": speed, **score.as_json()}
    if as_json:
        print_json(values)
    else:
        _show(score, seed)
    if not score.passed:
        raise SystemExit(1)


@command.command("faults")
@format_option
def faults_list(as_json: bool) -> None:
    """List the faults that `region` can inject.

    Examples:  broker simulate faults
    """
    if as_json:
        print_json({name: {"place": fault.place, "text": fault.text} for name, fault in FAULTS.items()})
        return
    for name, fault in FAULTS.items():
        click.echo(f"{name:<18} {fault.place:<6} {fault.text}")


def _show(score: Score, seed: int) -> None:
    values = score.values
    click.echo(
        f"{'flow':<8} {'sent':>6} {'acked':>6} {'refused':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}"
    )
    for name, found in values["flows"].items():
        ack = found["ack"]
        click.echo(
            f"{name:<8} {found['sent']:>6} {found['acknowledged']:>6} {found['refused']:>7}"
            f" {ack['p50_ms']:>8g} {ack['p99_ms']:>8g} {ack['max_ms']:>8g}"
        )
    for part in ("epj", "images", "worklist"):
        told = [
            f"{name.replace('_', ' ')} {value}"
            for name, value in values[part].items()
            if isinstance(value, int)
        ]
        click.echo(f"{part}: {', '.join(told)}")
    queries, rows = values["worklist"]["queries"], values["worklist"]["examinations"]["rows"]
    click.echo(
        f"queries: {queries['count']}, p50 {queries['p50_ms']:g} ms, p99 {queries['p99_ms']:g} ms;"
        f" rows found by their modality: {rows['count']}, p99 {rows['p99_ms']:g} ms"
    )
    click.echo(f"lag: p50 {values['lag']['p50']:g} s, longest {values['lag']['max']:g} s")
    if memory := values.get("memory"):
        click.echo(f"memory (RSS): {memory['first']} MiB, highest {memory['highest']}, last {memory['last']}")
    if values["faults"]:
        click.echo(f"faults: {', '.join(f'{name} {count}' for name, count in values['faults'].items())}")
    for failure in score.failures:
        click.echo(f"FAIL  {failure}")
    click.echo(f"{'pass' if score.passed else 'fail'}  (seed {seed}, {values['seconds']} s)")
