"""Starting, being looked at, refusing peers, and ending: what an operator and a supervisor rely on."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.dimse import IMPLICIT, VERIFICATION, RejectedError, Scu
from tests.support.flows import accepted, status, wait_until_idle, wait_until_routed
from tests.support.messages import Person, adt, orm
from tests.support.mllp import VT, MllpSink, field, framed
from tests.support.orthanc import Orthanc
from tests.support.ports import is_open

pytestmark = pytest.mark.integration

ECHO = [(VERIFICATION, IMPLICIT)]
SOMEONE = Person(number="790001", family="Løper")


# being looked at


def test_it_is_ready_alive_and_counted(broker: Broker) -> None:
    with broker.pas() as pas:
        accepted(pas, adt("A04", "L1", SOMEONE))
        assert field(pas.ask(adt("A04", "L2", SOMEONE).replace(b"ADT^A04", b"ADT^Z99")), b"MSA", 1) == b"AR"
        accepted(pas, adt("A04", "L1", SOMEONE))
    wait_until_idle(broker)

    assert broker.http("/healthz")[0] == 200
    assert broker.http("/readyz") == (200, b"ready\n")
    assert broker.http("/")[0] == 200
    assert broker.http("/nothing")[0] == 404
    metrics = broker.http("/metrics")[1].decode()
    for line in (
        'broker_messages_received_total{source="pas",verdict="accepted"} 1.0',
        'broker_messages_received_total{source="pas",verdict="rejected"} 1.0',
        'broker_messages_received_total{source="pas",verdict="repeat"} 1.0',
        'broker_deliveries_total{destination="epj",outcome="delivered"} 1.0',
        'broker_deliveries_queued{destination="epj"} 0.0',
        "broker_events_waiting 0.0",
        "broker_ready 1.0",
    ):
        assert line in metrics.splitlines(), line
    received = {(row["source"], row["verdict"]): row["messages"] for row in status(broker)["received"]}
    assert received == {("pas", "accepted"): 1, ("pas", "rejected"): 1}, "a repeat is not stored again"


def test_every_metric_name_is_documented(broker: Broker) -> None:
    names = set(re.findall(r"^# TYPE (\S+)", broker.http("/metrics")[1].decode(), re.MULTILINE))
    documented = Path(__file__).parents[2].joinpath("docs", "metrics.md").read_text(encoding="utf-8")

    assert names
    undocumented = {name for name in names if name not in documented and not name.endswith("_created")}
    assert undocumented == set()


def test_it_says_where_it_listens_and_how_long_the_start_took(start_broker: StartBroker) -> None:
    began = time.monotonic()
    broker = start_broker()
    print(f"ready {time.monotonic() - began:.2f} s after the process was started")

    told = broker.log.read_text(encoding="utf-8")
    for port in (broker.pas_port, broker.orders_port, broker.results_port):
        assert f"mllp://127.0.0.1:{port}" in told
    assert f"dicom://127.0.0.1:{broker.dicom_port}" in told
    assert f"http://127.0.0.1:{broker.http_port}" in told


# ending


def stopped_in(broker: Broker, number: signal.Signals = signal.SIGTERM) -> float:
    """Seconds from the signal to the end; `stop` fails unless that is with 0 and within 10 s."""
    began = time.monotonic()
    if number is not signal.SIGTERM:
        broker.signal(number)
    broker.stop()
    return time.monotonic() - began


@contextmanager
def idle_peers(broker: Broker) -> Iterator[None]:
    """Peers that keep their connections for hours: HL7 senders, a modality, one in the middle of a frame, a browser."""
    with ExitStack() as peers:
        for connect in (broker.pas, broker.orders, broker.results):
            accepted_nothing = peers.enter_context(connect())
            accepted_nothing.send_raw(VT + b"MSH|^~\\&|half a")
        peers.enter_context(Scu(broker.dicom_port, ECHO)).echo()
        peers.enter_context(socket.create_connection(("127.0.0.1", broker.http_port)))
        peers.enter_context(socket.create_connection(("127.0.0.1", broker.dicom_port)))
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_though_peers_stay_connected(number: signal.Signals, broker: Broker) -> None:
    with idle_peers(broker):
        print(f"ended after {stopped_in(broker, number):.1f} s")

    assert not any(is_open(port) for port in (broker.pas_port, broker.dicom_port, broker.http_port))


def test_it_ends_in_time_with_many_half_sent_objects(broker: Broker) -> None:
    """Each has an association in the middle of a PDU: they are ended side by side, not one after the other."""
    peers = [Scu(broker.dicom_port, ECHO) for _ in range(20)]
    for peer in peers:
        peer.send_raw(b"\x04\x00" + (8192).to_bytes(4, "big") + bytes(100))

    print(f"ended after {stopped_in(broker):.1f} s")

    for peer in peers:
        peer.drop()


@pytest.mark.parametrize("trouble", ["unreachable", "silent"])
def test_it_ends_in_time_with_busy_lanes(
    trouble: str, start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    if trouble == "unreachable":
        epj_sink.stop()
    else:
        epj_sink.behaviour = "silent"
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    with broker.pas() as pas:
        accepted(pas, *(adt("A04", f"L1{n}", Person(number=f"79{n:04d}")) for n in range(50)))
        wait_until_routed(broker)

        print(f"ended after {stopped_in(broker):.1f} s")

    epj_sink.stop()
    epj_sink.start()
    epj_sink.behaviour = "AA"
    before = len(epj_sink.messages)
    broker.start()
    wait_until_idle(broker)
    assert {field(m, b"MSH", 10) for m in epj_sink.messages[before:]} == {
        f"L1{n}".encode() for n in range(50)
    }


def test_it_ends_in_time_with_much_still_to_route(start_broker: StartBroker, epj_sink: MllpSink) -> None:
    """What was acknowledged is in the journal: the next start goes on from there."""
    broker = start_broker(epj_port=epj_sink.port)
    numbers = [f"8{n:05d}" for n in range(640)]
    with ExitStack() as stack:
        clients = [stack.enter_context(broker.orders()) for _ in range(16)]
        for n, client in enumerate(clients):
            burst = (
                orm(f"L2-{number}", Person(number=number), number) for number in numbers[n :: len(clients)]
            )
            client.send_raw(b"".join(framed(message) for message in burst))
        for n, client in enumerate(clients):
            for _ in numbers[n :: len(clients)]:
                assert field(client.receive(), b"MSA", 1) == b"AA"
        print(f"{status(broker)['events_waiting']} events waited; ended after {stopped_in(broker):.1f} s")

    broker.start()
    wait_until_routed(broker)
    assert len(broker.command_json("worklist", "list")) == len(numbers)


def test_a_message_under_way_at_the_end_is_answered_or_never_acknowledged(broker: Broker) -> None:
    with broker.pas() as pas:
        accepted(pas, adt("A04", "L30", SOMEONE))
        pas.send_raw(b"".join(framed(adt("A08", f"L3{n}", SOMEONE)) for n in range(1, 9)))
        broker.stop()
        answered = []
        try:
            while True:
                answer = pas.receive()
                assert field(answer, b"MSA", 1) == b"AA"
                answered.append(field(answer, b"MSA", 2).decode())
        except ConnectionError:
            pass

    broker.start()
    kept = [broker.command_json("trace", control_id)[0]["verdict"] for control_id in answered[-1:]]
    assert kept == ["accepted"] * len(answered[-1:])


# refusing to start


def test_a_second_broker_on_the_data_folder_is_refused(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Broker(tmp_path / "second", settings={"BROKER_DATA": str(broker.data)})

    refused = second.command("run", timeout=20)

    assert refused.returncode == 2
    assert "another broker runs on this data folder" in refused.stderr
    assert str(broker.data) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert broker.ready()
    assert not is_open(second.pas_port)


@pytest.mark.parametrize("listener", ["pas", "dicom", "http"])
def test_a_taken_port_is_named(listener: str, tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    port: int = getattr(broker, f"{listener}_port")
    with socket.create_server(("127.0.0.1", port)):
        refused = broker.command("run", timeout=30)

    assert refused.returncode == 1
    assert str(port) in refused.stderr, refused.stderr
    assert "in use" in refused.stderr.lower()
    assert "Traceback" not in refused.stderr
    broker.start()
    broker.stop()


# refusing peers


def test_an_unknown_called_ae_title_is_refused(broker: Broker) -> None:
    with pytest.raises(RejectedError) as rejected:
        Scu(broker.dicom_port, ECHO, called="SOMEBODY")

    assert rejected.value.args[0] == (1, 1, 7), "called AE title not recognised (PS3.8 9.3.4)"
    outcome = Dcmtk(called="SOMEBODY").find(broker.dicom_port, worklist_query(), "-W")
    assert not outcome.succeeded


@pytest.mark.parametrize(
    "settings",
    [{"BROKER_OPEN_AE": "0"}, {"BROKER_OPEN_AE": "", "BROKER_BIND": "0.0.0.0"}],
    ids=["closed", "closed because not on loopback"],
)
def test_an_unknown_calling_ae_title_is_refused(settings: dict[str, str], start_broker: StartBroker) -> None:
    broker = start_broker(settings=settings)

    with pytest.raises(RejectedError) as rejected:
        Scu(broker.dicom_port, ECHO, calling="STRANGER")
    assert rejected.value.args[0] == (1, 1, 3), "calling AE title not recognised (PS3.8 9.3.4)"
    assert not Dcmtk("STRANGER").find(broker.dicom_port, worklist_query(), "-W").succeeded
    assert Dcmtk("CT1_STO").find(broker.dicom_port, worklist_query(), "-W").succeeded
    assert Dcmtk("CT1_STO").echo(broker.dicom_port).succeeded


def test_on_loopback_an_unknown_calling_ae_title_is_welcome(start_broker: StartBroker) -> None:
    broker = start_broker(settings={"BROKER_OPEN_AE": ""})

    assert Dcmtk("STRANGER").echo(broker.dicom_port).succeeded
