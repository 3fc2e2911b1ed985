"""The HL7 destination against a server on bare sockets that answers as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.adapter import Delivery, OutboundContext
from broker.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.hl7.ack import Acknowledgement
from broker.net.hl7_sender import Hl7Destination, Hl7Sender, failure
from broker.store.lease import LostLeaseError
from tests.support.mllp import Behaviour, MllpSink
from tests.support.ports import free_port

PAYLOAD = "MSH|^~\\&|BROKER|STO|EPJ|STO|2026||ADT^A08|{id}|P|2.5|||{accept}|{application}\rPID|1||7\r"


@pytest.fixture
def sink() -> Iterator[MllpSink]:
    sink = MllpSink()
    sink.start()
    yield sink
    sink.stop()


MakeSender = Callable[..., Hl7Sender]


@pytest.fixture
def sender() -> Iterator[MakeSender]:
    made: list[Hl7Sender] = []

    def make(port: int, ack_timeout: str = "5s") -> Hl7Sender:
        config = Hl7Destination(host="127.0.0.1", port=port, connect_timeout="2s", ack_timeout=ack_timeout)  # type: ignore[arg-type]
        made.append(
            Hl7Sender(
                config,
                OutboundContext(name="epj", spool=Path(), work=Path(), clock=lambda: datetime.now(UTC)),
            )
        )
        return made[-1]

    yield make
    for outbound in made:
        outbound.close()


def delivery(number: int = 1, accept: str = "", application: str = "") -> Delivery:
    payload = PAYLOAD.format(id=number, accept=accept, application=application).encode()
    return Delivery(id=number, destination="epj", lane="P1", route="r", attempt=1, payload=payload)


def test_what_is_taken_left_as_it_was_rendered(sink: MllpSink, sender: MakeSender) -> None:
    outbound = sender(sink.port)
    receipts = [outbound.deliver(delivery(number)) for number in (1, 2)]
    outbound.close()
    outbound.close()

    assert sink.messages == [delivery(1).payload, delivery(2).payload]
    assert [receipt.detail for receipt in receipts] == ["MSA-1 AA", "MSA-1 AA"]
    assert b"MSA|AA|1" in receipts[0].answer


def test_a_message_whose_lease_ran_out_while_it_connected_does_not_leave(
    sink: MllpSink, sender: MakeSender
) -> None:
    def lost() -> None:
        raise LostLeaseError("way epj 0")

    outbound = sender(sink.port)
    with pytest.raises(LostLeaseError):
        outbound.deliver(replace(delivery(1), confirm=lost))
    outbound.deliver(delivery(2))

    assert sink.messages == [delivery(2).payload]


@pytest.mark.parametrize("code", ["AE", "AR"])
def test_a_refusal_is_for_good_and_tells_no_text_of_the_peer(
    sink: MllpSink, sender: MakeSender, code: Behaviour
) -> None:
    sink.behaviour = code
    with pytest.raises(PermanentDeliveryError, match=f"^MSA-1 {code}$"):
        sender(sink.port).deliver(delivery())


@pytest.mark.parametrize(
    ("code", "error_code", "error", "text"),
    [
        ("AE", "", PermanentDeliveryError, "MSA-1 AE"),
        ("AR", "", PermanentDeliveryError, "MSA-1 AR"),
        ("CR", "", PermanentDeliveryError, "MSA-1 CR"),
        ("AE", "207", PermanentDeliveryError, "MSA-1 AE, error 207"),
        ("AE", "204", PermanentDeliveryError, "MSA-1 AE, error 204"),
        ("CE", "", TransientDeliveryError, "MSA-1 CE"),
        ("CE", "207", TransientDeliveryError, "MSA-1 CE, error 207"),
        ("AE", "206", TransientDeliveryError, "MSA-1 AE, error 206"),
        ("AR", "206", TransientDeliveryError, "MSA-1 AR, error 206"),
        ("AE", "Nordgård 4181", PermanentDeliveryError, "MSA-1 AE"),
        ("AE", "^", PermanentDeliveryError, "MSA-1 AE"),
    ],
)
def test_what_a_negative_acknowledgement_means(
    code: str, error_code: str, error: type[DeliveryError], text: str
) -> None:
    found = failure(Acknowledgement(code=code, control_id="1", error_code=error_code))

    assert (type(found), str(found)) == (error, text), "a class, and nothing of the peer's own text"


@pytest.mark.parametrize(
    ("behaviour", "error"), [("close", TransientDeliveryError), ("silent", TransientDeliveryError)]
)
def test_no_answer_is_tried_again(
    sink: MllpSink, sender: MakeSender, behaviour: Behaviour, error: type[DeliveryError]
) -> None:
    sink.behaviour = behaviour
    with pytest.raises(error):
        sender(sink.port, ack_timeout="200ms").deliver(delivery())


def test_nobody_there(sender: MakeSender) -> None:
    with pytest.raises(UnreachableError):
        sender(free_port()).deliver(delivery())


def test_it_comes_back_when_the_destination_does(sink: MllpSink, sender: MakeSender) -> None:
    outbound = sender(sink.port)
    outbound.deliver(delivery(1))
    sink.stop()
    with pytest.raises(TransientDeliveryError):
        outbound.deliver(delivery(2))
    sink.start()

    assert outbound.deliver(delivery(2)).detail == "MSA-1 AA"
    assert sink.messages == [delivery(1).payload, delivery(2).payload]


def test_a_message_that_asks_for_no_answer_waits_for_none(sink: MllpSink, sender: MakeSender) -> None:
    sink.behaviour = "silent"
    receipt = sender(sink.port).deliver(delivery(1, accept="NE", application="NE"))

    assert receipt.detail == "sent; the message asks for no acknowledgement"
    assert sink.wait_for(1) == [delivery(1, accept="NE", application="NE").payload]
