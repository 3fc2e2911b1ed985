"""Invariant 1 at one instant each: the broker is killed just there. `tests/proof` has the random instants and the
power cuts."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.proof.load import control_of
from tests.support.flows import accepted, rows_of, wait_until_idle, wait_until_routed
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpClient, MllpSink, framed
from tests.support.mllp import field as hl7_field
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration


def test_what_is_acknowledged_while_everything_is_down_leaves_after_a_kill(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    epj_sink.stop()
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    person = Person(number="750001", family="Sørby", given="Áile")
    messages = [adt("A04", "K1", person), adt("A08", "K2", person.named("Sørby Čoahkkin"))]
    with broker.pas() as pas:
        accepted(pas, *messages)
    broker.kill()

    epj_sink.start()
    broker.start()

    assert epj_sink.wait_for(2) == messages


def test_a_broker_killed_between_sending_and_noting_it_repeats_the_very_bytes(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    epj_sink.behaviour = "silent"
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    with broker.orders() as orders:
        accepted(orders, orm("K3", Person(number="750002"), "751"))
    (first,) = epj_sink.wait_for(1)
    broker.kill()
    epj_sink.behaviour = "AA"

    broker.start()

    assert epj_sink.wait_for(2) == [first, first]
    wait_until_idle(broker)


def test_an_unrouted_event_is_routed_after_a_kill(start_broker: StartBroker, epj_sink: MllpSink) -> None:
    """Many orders at once, killed right behind the last acknowledgement: commit 2 of most is still to come."""
    broker = start_broker(epj_port=epj_sink.port)
    people = [Person(number=f"76{n:04d}") for n in range(200)]
    burst = [orm(f"K4-{n}", person, f"76{n:04d}") for n, person in enumerate(people)]
    with broker.orders() as orders:
        send_all(orders, burst)
    broker.kill()

    broker.start()
    wait_until_routed(broker)

    assert {str(row.AccessionNumber) for row in rows_of(broker)} == {f"A76{n:04d}" for n in range(200)}
    wait_until(lambda: len(epj_sink.messages) >= 200, "the EPJ hears of all of them")


def send_all(client: MllpClient, messages: list[bytes]) -> None:
    """Pipelined: all are written before the first answer is read."""
    client.send_raw(b"".join(framed(message) for message in messages))
    for message in messages:
        answer = client.receive()
        assert (hl7_field(answer, b"MSA", 1), hl7_field(answer, b"MSA", 2)) == (b"AA", control_of(message))
