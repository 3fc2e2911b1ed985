"""The roles of `broker simulate` that an engineer starts by hand against any broker: PAS, RIS, EPJ, a modality."""

from __future__ import annotations

import contextlib
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import rich_click as click

from broker.cli.options import format_option, print_json
from broker.errors import BrokerError
from broker.simulate import score as scores
from broker.simulate.day import plan
from broker.simulate.faults import BEHAVIOURS, Behaviour
from broker.simulate.messages import Flow, Said
from broker.simulate.modality import Modalities, text
from broker.simulate.records import Arrival, Records
from broker.simulate.senders import Sender
from broker.simulate.sink import Sink
from broker.simulate.story import Exam

F = TypeVar("F", bound=Callable[..., Any])

host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Host of the broker.")
seed_option = click.option(
    "--seed", type=int, help="The same seed gives the same bytes; unset: a new one, shown."
)


@contextlib.contextmanager
def interrupted(stop: Callable[[], None]) -> Iterator[None]:
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


_SHOWN: Final = {
    "date": "ScheduledProcedureStepStartDate",
    "time": "ScheduledProcedureStepStartTime",
    "modality": "Modality",
    "accession": "AccessionNumber",
    "step": "ScheduledProcedureStepID",
    "study": "StudyInstanceUID",
}
"""What is shown of a row: nothing that says whose it is."""


def _feeding(function: F) -> F:
    """The options of who sends HL7 to a listener."""
    for option in (
        format_option,
        seed_option,
        host_option,
        click.option(
            "--rate", type=click.FloatRange(0.01), default=10.0, show_default=True, help="Messages a second."
        ),
        click.option(
            "--count", type=click.IntRange(1), default=100, show_default=True, help="Messages to send."
        ),
    ):
        function = option(function)
    return function


@click.command("pas")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=2575, show_default=True, help="Its ADT listener."
)
@_feeding
def pas(host: str, port: int, count: int, rate: float, seed: int | None, as_json: bool) -> None:
    """Send ADT of outpatients, inpatients and merges on one connection. Ends with 0 only if all are taken.

    Examples:  broker simulate pas    ·    broker simulate pas --host broker --port 2575 --count 1000 --rate 50
    """
    _feed("pas", host, port, count, rate, seed, as_json)


@click.command("ris")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=2576, show_default=True, help="Its order listener."
)
@_feeding
def ris(host: str, port: int, count: int, rate: float, seed: int | None, as_json: bool) -> None:
    """Send orders, changes and cancels (ORM, OMI) on one connection. Ends with 0 only if all are taken.

    Examples:  broker simulate ris    ·    broker simulate ris --count 500 --rate 20 --seed 7
    """
    _feed("orders", host, port, count, rate, seed, as_json)


@click.command("epj")
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
    with interrupted(over.set):
        over.wait(seconds)
    sink.stop()
    summary = {"receptions": len(arrivals), "messages": len({arrival.control_id for arrival in arrivals})}
    if as_json:
        print_json(summary)
    else:
        click.echo(f"{summary['receptions']} receptions of {summary['messages']} messages")


@click.command("modality")
@click.option("--ae", required=True, help="AE title that it calls with and whose worklist it asks for.")
@click.option("--port", type=click.IntRange(1, 65535), default=11112, show_default=True, help="DICOM port.")
@click.option("--called", default="BROKER", show_default=True, help="AE title that it calls.")
@click.option("--date", default="", help="Only this day, YYYYMMDD, or a range with - between.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Seconds between queries."
)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Queries to send.")
@click.option("--images", type=click.IntRange(0), default=0, help="Small images to store for each new row.")
@host_option
@format_option
def modality(
    ae: str,
    port: int,
    called: str,
    date: str,
    every: float,
    count: int,
    images: int,
    host: str,
    as_json: bool,
) -> None:
    """Ask for a modality's worklist, again and again, and store images. Names and ids of patients are not shown.

    Ends with 0 only if every query was answered and every image taken.

    Examples:  broker simulate modality --ae CT1_STO    ·    broker simulate modality --ae MR1_STO --every 2 --count 30
    ·    broker simulate modality --ae CT1_STO --images 3
    """
    records, done, found = Records(), set[str](), list[dict[str, str]]()
    with tempfile.TemporaryDirectory(prefix="broker-simulate-") as folder:
        device = Modalities(host, port, called, Path(folder), records)
        try:
            for number in range(count):
                if number:
                    time.sleep(every)
                rows = device.rows(ae, date)
                found = [{name: text(row, keyword) for name, keyword in _SHOWN.items()} for row in rows]
                for row, shown in zip(rows, found, strict=True):
                    if not as_json:
                        click.echo("  ".join(shown.values()))
                    if images and shown["step"] not in done:
                        done.add(shown["step"])
                        device.examine(_exam(ae, shown, images), lambda: False, row=row)
                if not as_json:
                    click.echo(f"{len(found)} rows")
        finally:
            device.close()
    taken = sum(storing.taken for storing in records.storings)
    if as_json:
        print_json({"rows": found, "images": len(records.storings), "taken": taken})
    elif images:
        click.echo(f"{taken} of {len(records.storings)} images taken")
    if taken < len(records.storings):
        raise SystemExit(1)


def _exam(ae: str, row: Mapping[str, str], images: int) -> Exam:
    """The examination that a row asks for."""
    return Exam(
        aet=ae,
        accession=row["accession"],
        step=row["step"],
        study_uid=row["study"],
        modality=row["modality"],
        patient=(),
        owners=(),
        first=1,
        last=images,
    )


def _feed(flow: Flow, host: str, port: int, count: int, rate: float, seed: int | None, as_json: bool) -> None:
    """One feed by hand: the day's own messages of that flow, at a rate, on one connection."""
    seed = secrets.randbelow(10**9) if seed is None else seed
    records, stopping = Records(), threading.Event()
    sender = Sender(host, port, records, stopping)
    began = time.monotonic()
    with interrupted(stopping.set):
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


ROLES = (pas, ris, epj, modality)
