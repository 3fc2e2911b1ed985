from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
from structlog.testing import capture_logs

from broker.errors import BrokerError, ConfigError, StoreError
from broker.runtime import broker as runtime
from broker.runtime.broker import Broker
from broker.runtime.configured import configure
from broker.runtime.lanes import MemoryLanes
from broker.settings import load
from broker.store.sqlite import journal_file
from broker.store.transaction import Transaction
from broker.telemetry import METRICS
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, IMPLICIT, VERIFICATION, WORKLIST, Scu, encoded
from tests.support.mllp import MllpClient, field, framed
from tests.support.shared import REPOSITORY

ADT = (REPOSITORY / "routes" / "tests" / "adt_a04_registered.hl7").read_bytes().replace(b"\n", b"\r")
PORTS = (
    "BROKER_PAS_PORT",
    "BROKER_ORDERS_PORT",
    "BROKER_RESULTS_PORT",
    "BROKER_PDQ_PORT",
    "BROKER_DICOM_PORT",
    "BROKER_HTTP_PORT",
)

Make = Callable[..., Broker]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Brokers over one configuration and one data folder; every port is a free one unless it is given."""
    for name in ("config", "routes"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)

    def make(**env: str) -> Broker:
        # Port 9: nobody takes what leaves.
        wanted = {**dict.fromkeys(PORTS, "0"), "BROKER_EPJ_PORT": "9", "BROKER_PACS_PORT": "9", **env}
        wanted.setdefault("BROKER_DATA", str(tmp_path / "data"))
        settings = load(tmp_path / "config" / "broker.yaml", env=wanted)
        return Broker(configure(settings, wanted), lambda: datetime.now(UTC))

    return make


def running(broker: Broker, use: Callable[[], Any] = lambda: None) -> Any:
    """Starts the broker, uses it from another thread, stops it; returns what `use` did."""

    async def run() -> Any:
        try:
            await broker.start()
            return await asyncio.to_thread(use)
        finally:
            await broker.stop()

    return asyncio.run(run())


def port(broker: Broker, what: str, number: int = 0) -> int:
    """The port of the `number`-th address that begins so."""
    found = [address for address in broker.addresses() if address.startswith(what)]
    return int(found[number].split()[0].rsplit(":", 1)[1])


def get(broker: Broker, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port(broker, 'http')}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def threads() -> set[str]:
    # asyncio's and anyio's pools, and an association whose peer has just gone, end when they like.
    names = {thread.name for thread in threading.enumerate()}
    return {
        name for name in names if not name.startswith(("MainThread", "asyncio_", "AnyIO", "AcceptorThread"))
    }


def test_a_start_opens_everything_and_a_stop_closes_it(make: Make) -> None:
    broker, before = make(), threads()

    def look() -> None:
        addresses = list(broker.addresses())
        assert [a.split(":")[0] for a in addresses] == [*["mllp"] * 4, "dicom", "http"]
        assert not [a for a in addresses if a.endswith(":0")]
        for address in addresses:
            number = int(address.split()[0].rsplit(":", 1)[1])
            socket.create_connection(("127.0.0.1", number), 10).close()
        assert get(broker, "/readyz") == (200, "ready\n")
        assert broker.why_not_ready() == ""

    assert broker.why_not_ready() == "starting or stopping"
    running(broker, look)

    assert threads() == before
    assert broker.why_not_ready() == "starting or stopping"


def test_what_fails_to_stop_keeps_nothing_else_open(make: Make) -> None:
    broker, again = make(), make()

    def use() -> None:
        async def fails() -> None:
            await stop()
            raise KeyError("an adapter's own")

        stop = broker._inbound[0].stop
        broker._inbound[0].stop = fails  # type: ignore[method-assign]

    with capture_logs() as logs:
        running(broker, use)
    running(again, lambda: None)  # the journal and its folder are free

    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "something that was to stop failed"
    ]


def test_a_message_is_answered_journaled_routed_and_counted(make: Make) -> None:
    broker = make()

    def use() -> tuple[bytes, str]:
        with MllpClient(port(broker, "mllp")) as pas:
            answer = pas.ask(ADT)
            again = pas.ask(ADT)
        assert field(again, b"MSA", 1) == b"AA"
        while broker.status()["events_waiting"]:
            threading.Event().wait(0.005)
        return answer, get(broker, "/metrics")[1]

    answer, metrics = running(broker, use)

    assert field(answer, b"MSA", 1) == b"AA"
    assert 'broker_messages_received_total{source="pas",verdict="accepted"} 1.0' in metrics
    assert 'broker_messages_received_total{source="pas",verdict="repeat"} 1.0' in metrics
    assert 'broker_messages_stored{source="pas",verdict="accepted"} 1.0' in metrics
    assert "broker_ready 1.0" in metrics
    for name in METRICS:
        assert f"# HELP {name.removesuffix('_total')}" in metrics


def test_a_control_id_that_was_used_again_is_refused_and_a_person_learns_of_it(make: Make) -> None:
    broker = make()

    def use() -> tuple[bytes, dict[str, Any], str]:
        with MllpClient(port(broker, "mllp")) as pas:
            pas.ask(ADT)
            refused = pas.ask(ADT.replace(b"19821030", b"19821031"))
        return refused, broker.status(), get(broker, "/metrics")[1]

    answer, status, metrics = running(broker, use)

    assert (field(answer, b"MSA", 1), field(answer, b"MSA", 2)) == (b"AE", b"P000101")
    assert b"205" in answer
    (entry,) = [entry for entry in status["exceptions"] if entry["kind"] == "control-id-reused"]
    assert entry["subject"].startswith("pas: 127.0.0.1")
    assert {(r["verdict"], r["messages"]) for r in status["received"]} == {("accepted", 1), ("rejected", 1)}
    assert 'broker_messages_received_total{source="pas",verdict="rejected"} 1.0' in metrics


def test_the_next_start_finds_what_is_left_to_deliver(make: Make) -> None:
    first = make()

    def send() -> None:
        with MllpClient(port(first, "mllp")) as pas:
            pas.ask(ADT)

    running(first, send)
    second = make()
    status = running(second, second.status)

    assert status["events_waiting"] == 0
    (epj,) = [d for d in status["destinations"] if d["destination"] == "epj"]
    assert (epj["queued"], epj["delivered"]) == (1, 0)


def test_two_brokers_never_share_a_data_folder(make: Make) -> None:
    first, second = make(), make()

    def start_another() -> None:
        with pytest.raises(ConfigError, match="another broker"):
            running(second)
        assert first.why_not_ready() == "", "and the first one is unharmed"

    running(first, start_another)
    running(second)


def test_the_data_folder_is_made_for_nobody_else(make: Make, tmp_path: Path) -> None:
    running(make())

    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken_ends_the_start_and_leaves_nothing_behind(make: Make) -> None:
    before = threads()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        for name in PORTS:
            with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{number}.* cannot be opened"):
                running(make(**{name: number}))
    assert threads() == before
    running(make())


def test_readiness_is_a_real_write(make: Make, tmp_path: Path) -> None:
    broker = make()

    def look() -> None:
        with contextlib.closing(apsw.Connection(str(journal_file(tmp_path / "data")))) as other:
            before = other.pragma("data_version")
            assert broker.why_not_ready() == ""
            assert other.pragma("data_version") != before
        connection = broker._database.write(lambda tx: tx._connection).result(10)
        connection.execute("PRAGMA query_only=ON")
        assert get(broker, "/readyz") == (503, "the journal cannot be written\n")
        connection.execute("PRAGMA query_only=OFF")
        assert get(broker, "/readyz")[0] == 200

    running(broker, look)
    assert journal_file(tmp_path / "data").is_file()


def test_a_disk_without_room_is_not_ready_and_nothing_is_taken_until_it_is(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = make()
    free = [10**9]
    monkeypatch.setattr(broker._rooms[0], "_free", lambda _folder: free[0])

    def look() -> None:
        with MllpClient(port(broker, "mllp")) as pas:
            free[0] = 10**6
            answer = pas.ask(ADT)
            assert field(answer, b"MSA", 1) == b"AR"
            assert b"limits.min_free" in answer
            assert get(broker, "/readyz") == (503, "the disk has less free than limits.min_free\n")
            metrics = get(broker, "/metrics")[1]
            assert "broker_ready 0.0" in metrics
            assert 'broker_messages_turned_away_total{protocol="hl7"} 1.0' in metrics
            assert broker.status()["received"] == []
            free[0] = 10**9
            assert field(pas.ask(ADT), b"MSA", 1) == b"AA"
            assert get(broker, "/readyz")[0] == 200
            assert "broker_ready 1.0" in get(broker, "/metrics")[1]

    running(broker, look)


def test_while_the_journal_hangs_senders_wait_and_all_else_is_served(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that answers nothing for a while: nobody is refused, and nobody is told that it is stored."""
    monkeypatch.setattr(runtime, "READY_SECONDS", 0.05)
    broker = make()
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_tx: Transaction) -> None:
        hangs.set()
        assert goes_on.wait(30)

    def use() -> None:
        broker._database.write(hang, urgent=True)
        assert hangs.wait(10)
        with MllpClient(port(broker, "mllp")) as pas, MllpClient(port(broker, "mllp", 1)) as orders:
            for sender in (pas, orders):
                sender.send_raw(framed(ADT))
            assert get(broker, "/healthz") == (200, "ok\n")
            assert get(broker, "/readyz") == (503, "the journal cannot be written\n")
            assert broker.status()["received"] == [], "reads need no writer"
            with Scu(port(broker, "dicom"), [(WORKLIST, EXPLICIT), (VERIFICATION, IMPLICIT)]) as modality:
                assert modality.echo() == 0
                assert modality.find(encoded(worklist_query())) == []
            with MllpClient(port(broker, "mllp")) as junk:
                junk.send_raw(b"no frame")  # a connection more is accepted and read
            for _ in range(20):
                get(broker, "/readyz")
            goes_on.set()
            assert field(pas.receive(), b"MSA", 1) == b"AA"
            assert field(orders.receive(), b"MSA", 1) == b"AR", "orders take no ADT"
            assert get(broker, "/readyz")[0] == 200

    running(broker, use)


def test_a_destination_that_is_off_is_no_lane(make: Make) -> None:
    broker = make()

    lanes = broker._deliverers.lanes
    assert isinstance(lanes, MemoryLanes)
    on = {"epj", "pacs", "device-commitment"}
    assert set(lanes._executors) == on, "the worklist is a register, pacs-hl7 is off"


def test_a_journal_of_a_newer_broker_is_refused(make: Make, tmp_path: Path) -> None:
    running(make())
    connection = apsw.Connection(str(journal_file(tmp_path / "data")))
    connection.execute("PRAGMA user_version=999")
    connection.close()

    with pytest.raises(StoreError, match="newer"):
        running(make())


def test_status_names_no_patient(make: Make) -> None:
    broker = make()

    def use() -> str:
        with MllpClient(port(broker, "mllp")) as pas:
            pas.ask(ADT)
            pas.ask(ADT.replace(b"19821030", b"1982XX30").replace(b"P000101", b"P000199"))
        return str(broker.status()) + get(broker, "/metrics")[1] + get(broker, "/api/status")[1]

    told = running(broker, use)
    for value in ("30908299902", "rby", "19821030", "1982XX30", "Bakklandet"):
        assert value not in told
