"""A feed over real sockets, against the recording sink of the tests: it shares no code with the simulator."""

from __future__ import annotations

import threading
from random import Random

import pytest

from broker.simulate import messages
from broker.simulate.messages import Said, Stamp
from broker.simulate.people import People
from broker.simulate.records import Records
from broker.simulate.senders import Sender
from tests.support.mllp import Behaviour, MllpSink


def said(number: int) -> Said:
    person = People(Random(number), "SIM").new()
    return messages.adt("A04", Stamp(time="20260310090000", control_id=f"SIM{number}"), person, ward="POL")


def feed(sink: MllpSink, *what: Said, fault: str = "", crowd: int = 3) -> Records:
    records = Records()
    sender = Sender("127.0.0.1", sink.port, records, threading.Event(), crowd=crowd)
    sender.send(what, fault)
    sender.close()
    return records


def test_messages_are_sent_one_after_the_other_and_noted(epj_sink: MllpSink) -> None:
    records = feed(epj_sink, said(1), said(2))

    assert epj_sink.messages == [said(1).raw, said(2).raw]
    first, second = records.sendings
    assert (first.code, first.attempts, first.complaint) == ("AA", 1, "")
    assert first.acked is not None
    assert first.acked <= second.sent
    assert first.latency is not None


@pytest.mark.parametrize("behaviour", ["close"])
def test_without_an_answer_the_same_bytes_are_sent_again(epj_sink: MllpSink, behaviour: Behaviour) -> None:
    epj_sink.behaviour = lambda _: behaviour if len(epj_sink.messages) < 2 else "AA"
    (sending,) = feed(epj_sink, said(1)).sendings

    assert epj_sink.messages == [said(1).raw] * 3
    assert (sending.code, sending.attempts) == ("AA", 3)


def test_a_refusal_is_an_answer(epj_sink: MllpSink) -> None:
    epj_sink.behaviour = "AE"
    (sending,) = feed(epj_sink, said(1)).sendings

    assert (sending.code, sending.attempts) == ("AE", 1)


def test_a_stop_ends_the_waiting(epj_sink: MllpSink) -> None:
    records, stopping = Records(), threading.Event()
    stopping.set()
    Sender("127.0.0.1", epj_sink.port, records, stopping).send((said(1),))

    assert [(s.code, s.attempts) for s in records.sendings] == [("", 0)]


@pytest.mark.parametrize("fault", ["split", "half-close", "many-connections"])
def test_a_fault_arrives_as_one_whole_message(epj_sink: MllpSink, fault: str) -> None:
    (sending,) = feed(epj_sink, said(1), fault=fault).sendings

    assert epj_sink.messages == [said(1).raw]
    assert (sending.code, sending.fault, sending.latency) == ("AA", fault, None)


def test_junk_stands_before_the_frame(epj_sink: MllpSink) -> None:
    (sending,) = feed(epj_sink, said(1), fault="junk").sendings

    (message,) = epj_sink.messages[-1:]
    assert message.endswith(said(1).raw)
    assert sending.fault == "junk"


def test_pipelined_messages_are_answered_in_their_order(epj_sink: MllpSink) -> None:
    first, second = feed(epj_sink, said(1), said(2), fault="pipelined").sendings

    assert epj_sink.messages == [said(1).raw, said(2).raw]
    assert (first.complaint, second.complaint) == ("", "")
    assert first.acked is not None
    assert first.acked < second.sent, "on one connection the second is behind the first"


def test_after_a_reset_the_same_bytes_are_sent_again(epj_sink: MllpSink) -> None:
    (sending,) = feed(epj_sink, said(1), fault="reset").sendings

    assert set(epj_sink.messages) == {said(1).raw}
    assert (sending.code, sending.attempts) == ("AA", 2)


def test_a_repeat_must_be_answered_with_the_same_bytes(epj_sink: MllpSink) -> None:
    assert [s.complaint for s in feed(epj_sink, said(1), fault="repeat").sendings] == [""]

    def talking(_: bytes) -> Behaviour:
        epj_sink.text = str(len(epj_sink.messages)).encode()
        return "AA"

    epj_sink.behaviour = talking
    assert [s.complaint for s in feed(epj_sink, said(1), fault="repeat").sendings] != [""]


def test_a_peer_that_breaks_under_a_fault_gets_it_again(epj_sink: MllpSink) -> None:
    epj_sink.behaviour = lambda _: "close" if len(epj_sink.messages) < 1 else "AA"
    (sending,) = feed(epj_sink, said(1), fault="split").sendings

    assert sending.code == "AA"
    assert epj_sink.messages == [said(1).raw] * 2
