"""`broker simulate`: the systems around a broker, to try it out by hand or to put it through a whole day."""

from __future__ import annotations

import contextlib
import secrets
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.errors import BrokerError, ConfigError
from broker.settings import Settings
from broker.simulate import score as scores
from broker.simulate.day import plan
from broker.simulate.faults import BEHAVIOURS, FAULTS, Behaviour, chosen
from broker.simulate.messages import Flow, Said
from broker.simulate.modality import Modalities, text
from broker.simulate.region import Pace, Places, Region
from broker.simulate.score import Arrival, Records, Score
from broker.simulate.senders import Sender
from broker.simulate.sink import Sink

host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Host of the broker.")
seed_option = click.option(
    "--seed", type=int, help="The same seed gives the same bytes; unset: a new one, shown."
)


@click.group("simulate")
def command() -> None:
    """The systems around a broker: a whole region with a score, or one of them by hand."""


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
    "--date", default="20260310", show_default=True, help="Day that the messages speak of, YYYYMMDD."
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
    date: str,
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
    places = _places(load_settings(config))
    seed = secrets.randbelow(10**9) if seed is None else seed
    wanted = chosen(faults)
    hours = min(minutes * speed / 60, 24.0)
    click.echo(f"seed {seed}: planning {hours:.2g} h from {start:g} o'clock", err=True)
    try:
        day = plan(seed, date=date, start=start, hours=hours, scale=scale, faults=wanted)
    except ValueError:
        raise ConfigError("--date is not a day written YYYYMMDD") from None
    pace = Pace(speed=speed, down=down, drain=drain, pid=pid)
    run = Region(day, places, pace, lambda line: click.echo(line, err=True))
    with _interrupted(run.stop):
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


@command.command("pas")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=2575, show_default=True, help="Its ADT listener."
)
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="Messages to send.")
@click.option(
    "--rate", type=click.FloatRange(0.01), default=10.0, show_default=True, help="Messages a second."
)
@host_option
@seed_option
@format_option
def pas(host: str, port: int, count: int, rate: float, seed: int | None, as_json: bool) -> None:
    """Send ADT of outpatients, inpatients and merges on one connection. Ends with 0 only if all are taken.

    Examples:  broker simulate pas    ·    broker simulate pas --host broker --port 2575 --count 1000 --rate 50
    """
    _feed("pas", host, port, count, rate, seed, as_json)


@command.command("ris")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=2576, show_default=True, help="Its order listener."
)
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="Messages to send.")
@click.option(
    "--rate", type=click.FloatRange(0.01), default=10.0, show_default=True, help="Messages a second."
)
@host_option
@seed_option
@format_option
def ris(host: str, port: int, count: int, rate: float, seed: int | None, as_json: bool) -> None:
    """Send orders, changes and cancels (ORM, OMI) on one connection. Ends with 0 only if all are taken.

    Examples:  broker simulate ris    ·    broker simulate ris --count 500 --rate 20 --seed 7
    """
    _feed("orders", host, port, count, rate, seed, as_json)


@command.command("epj")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=6661, show_default=True, help="Where it listens."
)
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address that it listens on.")
@click.option(
    "--behaviour",
    type=click.Choice(BEHAVIOURS),
    default="AA",
    show_default=True,
    help="What it does with each message.",
)
@click.option(
    "--first", type=click.IntRange(0), help="Behaves so only the first times a message comes; then AA."
)
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Only every so many messages."
)
@click.option(
    "--patience", type=float, default=30.0, show_default=True, help="Seconds; `late-ack` comes one later."
)
@click.option("--seconds", type=float, help="Ends after so long; unset: with Ctrl-C.")
@format_option
def epj(
    port: int,
    bind: str,
    behaviour: Behaviour,
    first: int | None,
    every: int,
    patience: float,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Be an EPJ: take what a broker delivers and answer it as told. Control ids are shown, contents never.

    Examples:  broker simulate epj    ·    broker simulate epj --behaviour AE --first 2 --every 10
    ·    broker simulate epj --behaviour late-ack --patience 30
    """
    arrivals: list[Arrival] = []

    def note(arrival: Arrival) -> None:
        arrivals.append(arrival)
        if not as_json:
            click.echo(f"{arrival.control_id}{'' if arrival.clean else f'  {behaviour}'}")

    def behave(key: str, before: int) -> Behaviour:  # noqa: ARG001 - the sink's signature
        chosen_one = len(arrivals) % every == 0 if before == 0 else True
        return behaviour if chosen_one and (first is None or before < first) else "AA"

    sink = Sink(bind, port, behave, note, patience=patience)
    try:
        sink.start()
    except OSError as exc:
        raise BrokerError(f"{bind}:{port}: {exc.strerror}") from exc
    click.echo(f"listening on {bind}:{port}, Ctrl-C ends", err=True)
    over = threading.Event()
    with _interrupted(over.set):
        over.wait(seconds)
    sink.stop()
    control_ids = Counter(arrival.control_id for arrival in arrivals)
    summary = {"receptions": len(arrivals), "messages": len(control_ids)}
    if as_json:
        print_json(summary)
    else:
        click.echo(f"{summary['receptions']} receptions of {summary['messages']} messages")


@command.command("modality")
@click.option("--ae", required=True, help="AE title that it calls with and whose worklist it asks for.")
@click.option("--port", type=click.IntRange(1, 65535), default=11112, show_default=True, help="DICOM port.")
@click.option("--called", default="BROKER", show_default=True, help="AE title that it calls.")
@click.option("--date", default="", help="Only this day, YYYYMMDD, or a range with - between.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Seconds between queries."
)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Queries to send.")
@host_option
@format_option
def modality(
    ae: str, port: int, called: str, date: str, every: float, count: int, host: str, as_json: bool
) -> None:
    """Ask for a modality's worklist, again and again. Names and ids of patients are not shown.

    Examples:  broker simulate modality --ae CT1_STO    ·    broker simulate modality --ae MR1_STO --every 2 --count 30
    """
    with tempfile.TemporaryDirectory(prefix="broker-simulate-") as folder:
        device = Modalities(host, port, called, Path(folder), Records())
        try:
            for number in range(count):
                if number:
                    time.sleep(every)
                began = time.monotonic()
                rows = device.rows(ae, date)
                seconds = time.monotonic() - began
                found = [
                    {
                        "date": text(row, "ScheduledProcedureStepStartDate"),
                        "time": text(row, "ScheduledProcedureStepStartTime"),
                        "modality": text(row, "Modality"),
                        "accession": text(row, "AccessionNumber"),
                        "step": text(row, "ScheduledProcedureStepID"),
                    }
                    for row in rows
                ]
                if as_json:
                    print_json({"seconds": round(seconds, 4), "rows": found})
                    continue
                for row in found:
                    click.echo("  ".join(row.values()))
                click.echo(f"{len(found)} rows in {1000 * seconds:.0f} ms")
        finally:
            device.close()


def _feed(flow: Flow, host: str, port: int, count: int, rate: float, seed: int | None, as_json: bool) -> None:
    """One feed by hand: the day's own messages of that flow, at a rate, on one connection."""
    seed = secrets.randbelow(10**9) if seed is None else seed
    records, stopping = Records(), threading.Event()
    sender = Sender(host, port, records, stopping)
    began = time.monotonic()
    with _interrupted(stopping.set):
        for number, said in enumerate(_messages(flow, count, seed)):
            if stopping.wait(max(0.0, began + number / rate - time.monotonic())):
                break
            sender.send((said,))
    sender.close()
    seconds = time.monotonic() - began
    found = scores.flow(records.sendings)
    good = found["acknowledged"] == count
    if as_json:
        print_json({"seed": seed, "seconds": round(seconds, 2), **found})
    else:
        ack = found["ack"]
        click.echo(
            f"seed {seed}: {found['acknowledged']} of {count} taken in {seconds:.1f} s, {found['refused']} refused;"
            f" ack p50 {ack['p50_ms']:g} ms, p99 {ack['p99_ms']:g} ms, longest {ack['max_ms']:g} ms"
        )
    if not good:
        raise SystemExit(1)


def _messages(flow: Flow, count: int, seed: int) -> Iterator[Said]:
    """So many messages of the flow, in an order that makes sense."""
    hours, scale, found = 10.0, count / 5000, list[Said]()
    while len(found) < count:
        day = plan(seed, hours=hours, scale=scale)
        found = [said for act in day.acts for said in act.said if said.flow == flow]
        scale *= 2
    yield from found[:count]


def _places(settings: Settings) -> Places:
    """Where the broker of these settings listens and sends to. Raises `ConfigError`."""
    inbound = {setting.entry.adapter: setting.config for setting in reversed(settings.inbound)}
    outbound = {setting.entry.adapter: setting.config for setting in reversed(settings.outbound)}
    needed = {"inbound": ("pas", "ris", "lab"), "outbound": ("epj", "pacs")}
    found: Mapping[str, Mapping[str, Any]] = {"inbound": inbound, "outbound": outbound}
    for group, names in needed.items():
        if missing := [name for name in names if name not in found[group]]:
            raise ConfigError(f"{settings.file}: {group}: a region needs an entry with adapter: {missing[0]}")
    ports: Mapping[str, Any] = inbound
    epj_config: Any = outbound["epj"]
    pacs_config: Any = outbound["pacs"]
    return Places(
        host=settings.broker.bind,
        pas=ports["pas"].port,
        orders=ports["ris"].port,
        results=ports["lab"].port,
        dicom=settings.broker.dicom.port,
        dicom_aet=settings.broker.dicom.ae_title,
        http=settings.broker.http.port,
        epj_host=epj_config.host,
        epj=epj_config.port,
        pacs_host=pacs_config.host,
        pacs=pacs_config.port,
        pacs_aet=pacs_config.called_aet,
        patience=epj_config.ack_timeout,
    )


@contextlib.contextmanager
def _interrupted(stop: Any) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the work in order, with its result; a second one at once."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        told = [f"{name} {value}" for name, value in values[part].items() if isinstance(value, int)]
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
