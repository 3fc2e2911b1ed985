"""Batches over a real socket: durable as a whole or not at all, in order, each message once, on every listener."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.flows import rows_of, wait_until_idle
from tests.support.messages import Person, adt, orm, oru
from tests.support.mllp import MllpClient, MllpSink, field, framed

KILLS = int(os.environ.get("BROKER_TEST_KILLS", "5"))
SIZE = 1000
PEOPLE = 7

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120 + 30 * KILLS)]


@pytest.fixture
def dice() -> random.Random:
    seed = int(os.environ.get("BROKER_TEST_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"BROKER_TEST_SEED={seed} BROKER_TEST_KILLS={KILLS}")
    return random.Random(seed)


def batch_of(control_id: str, messages: list[bytes]) -> bytes:
    header = f"BHS|^~\\&|PAS|STO|BROKER|STO|20260309080000||||{control_id}\r".encode()
    return header + b"".join(messages) + b"BTS|%d\r" % len(messages)


def acknowledged(answer: bytes) -> list[tuple[bytes, bytes]]:
    """MSA-1 and MSA-2 of every acknowledgement in the answer, in order."""
    return [
        (field(part, b"MSA", 1), field(part, b"MSA", 2))
        for part in (b"MSA" + rest for rest in answer.split(b"\rMSA")[1:])
    ]


def story(number: int) -> list[bytes]:
    """Changes of a few patients, each with a running number in its control id: `<patient>-<number>`."""
    people = [Person(number=f"78{number}{n}", given="Åse") for n in range(PEOPLE)]
    messages = []
    for step in range(SIZE):
        person = people[step % PEOPLE]
        messages.append(adt("A08", f"{person.number}-{step}", person.named(f"Prøve{step}")))
    return messages


def control_of(message: bytes) -> bytes:
    return field(message, b"MSH", 10)


def in_journal(broker: Broker, messages: list[bytes]) -> list[bytes]:
    """Which of them the journal's file holds as accepted, in its order."""
    wanted = {control_of(message).decode() for message in messages}
    with closing(sqlite3.connect(f"file:{broker.data / 'journal.sqlite'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT control_id FROM message WHERE verdict='accepted' ORDER BY seq")
        return [row[0].encode() for row in rows if row[0] in wanted]


def send(broker: Broker, batch: bytes) -> bytes | None:
    """The answer; None when the broker was gone before it had left."""
    try:
        with broker.pas() as client:
            return client.ask(batch)
    except (OSError, ValueError):
        return None


def test_a_batch_survives_kill_9_whole_or_not_at_all(
    start_broker: StartBroker, epj_sink: MllpSink, dice: random.Random
) -> None:
    broker = start_broker(epj_port=epj_sink.port)
    sent: list[bytes] = []
    found = {"answered": 0, "stored": 0, "lost": 0}
    for number in range(KILLS):
        messages = story(number)
        batch = batch_of(f"B{number}", messages)
        controls = [control_of(message) for message in messages]
        due = [(b"AA", control_id) for control_id in controls]
        with MllpClient(broker.pas_port) as client:
            client.send_raw(framed(batch))
            # The instant itself is what is tested; the last one is killed right behind its answer.
            answer = client.receive() if number == KILLS - 1 else None
            time.sleep(dice.uniform(0.0, 0.4) if answer is None else 0.0)
            broker.kill()
            if answer is None:
                answer = received(client)
        kept = in_journal(broker, messages)
        assert kept in ([], controls), "a part of a batch was stored"
        if answer is not None:
            assert acknowledged(answer) == due
            assert kept == controls, "acknowledged and not in the journal"
        found["answered" if answer else "stored" if kept else "lost"] += 1

        broker.start()
        again = send(broker, batch)
        assert again is not None
        assert acknowledged(again) == due
        if answer is not None:
            assert members(again) == members(answer), "not the stored answers"
        assert in_journal(broker, messages) == controls, "not exactly once, in order"
        sent += messages
    print(found)
    wait_until_idle(broker, timeout=90)

    arrived = epj_sink.messages
    assert set(arrived) == set(sent), "not every message as it was, or one under other bytes"
    for patient in {control_of(message).split(b"-")[0] for message in sent}:
        told = [control_of(message) for message in arrived if control_of(message).startswith(patient + b"-")]
        numbers = [int(control_id.split(b"-")[1]) for control_id in told]
        assert numbers == sorted(numbers), "out of order for a patient"


def received(client: MllpClient) -> bytes | None:
    """What had left before the kill."""
    try:
        return client.receive()
    except (OSError, ValueError):
        return None


def members(answer: bytes) -> bytes:
    """The acknowledgements between the answer's own header and trailer."""
    return answer.partition(b"\r")[2].rpartition(b"BTS")[0]


def test_every_listener_takes_batches(start_broker: StartBroker, epj_sink: MllpSink) -> None:
    broker = start_broker(epj_port=epj_sink.port)
    person = Person(number="790001", family="Sørby", given="Áile")

    with broker.pas() as pas, broker.orders() as orders, broker.results() as results:
        told = [
            acknowledged(pas.ask(batch_of("B1", [adt("A04", "1", person), adt("A08", "2", person)]))),
            acknowledged(orders.ask(batch_of("B2", [orm("3", person, "795"), adt("A08", "4", person)]))),
            acknowledged(results.ask(batch_of("B3", [oru("5", person, "795"), b"MSH|^~\r"]))),
        ]

    assert told == [
        [(b"AA", b"1"), (b"AA", b"2")],
        [(b"AA", b"3"), (b"AR", b"4")],
        [(b"AA", b"5"), (b"AR", b"")],
    ]
    wait_until_idle(broker)
    assert [str(row.AccessionNumber) for row in rows_of(broker)] == ["A795"]
    received = broker.command_json("status")["received"]
    rows = {(row["source"], row["verdict"]): row["messages"] for row in received}
    assert rows == {
        **{(source, "filtered"): 1 for source in ("pas", "orders", "results")},
        ("pas", "accepted"): 2,
        ("orders", "accepted"): 1,
        ("results", "accepted"): 1,
        **{(source, "rejected"): 1 for source in ("orders", "results")},
    }


def test_send_and_explain_show_every_message_of_a_batch(broker: Broker, tmp_path: Path) -> None:
    person = Person(number="790002")
    file = tmp_path / "batch.hl7"
    file.write_bytes(batch_of("B1", [adt("A04", "1", person), b"MSH|^~\r", adt("A08", "3", person)]))

    sent, explained = broker.command("send", file), broker.command("explain", file)

    assert (sent.returncode, explained.returncode) == (1, 1)
    assert [line.split()[:2] for line in sent.stdout.splitlines()] == [
        ["AA", "1"],
        ["AR", "MSH-10"],
        ["AA", "3"],
    ]
    for word in ("BATCH control id B1: filtered", "the envelope of 3 messages", "control id 3: accepted"):
        assert word in explained.stdout
    good = tmp_path / "good.hl7"
    good.write_bytes(batch_of("B2", [adt("A08", "4", person), adt("A08", "5", person)]))
    assert [(row["control_id"], row["answer"]) for row in broker.command_json("send", good)] == [
        ("4", "AA"),
        ("5", "AA"),
    ]
