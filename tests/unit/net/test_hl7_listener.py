"""The listener over a real socket on loopback, with an intake that does what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from broker.adapter import InboundContext, ListenerPlace, Reception, Stored, Verdict
from broker.errors import ConfigError, StoreError, UnwritableError
from broker.event import Draft, EventData, Identifier, Patient
from broker.hl7.ack import read_ack, read_acks
from broker.hl7.er7 import Header, Message
from broker.hl7.framing import Frame, FrameDecoder, frame
from broker.net.hl7_listener import Hl7Listener, Listener, profile, read_table
from broker.reception import Hl7Reader, Profile

NOW = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)
ADT = "MSH|^~\\&|PAS|STO|||2026||{kind}|4711|P|2.5|||{accept}|{application}\rPID|1||7\r"


class Intake:
    """Keeps receptions, in order; `gate` holds commits back, `broken` is raised, `repeat` is what stood there."""

    def __init__(self) -> None:
        self.kept: list[Reception] = []
        self.transactions: list[int] = []
        self.waiting = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.broken: Exception | None = None
        self.repeat: Stored | None = None

    async def accept(self, reception: Reception) -> Stored:
        (stored,) = await self.accept_all([reception])
        return stored

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        self.waiting.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        self.kept += receptions
        self.transactions.append(len(receptions))
        return [
            self.repeat or Stored(answers=reception.answers, answer_code=reception.answer_code)
            for reception in receptions
        ]

    def accept_blocking(self, reception: Reception) -> Stored:
        raise AssertionError("an asyncio listener does not block")


class Rig:
    """A running listener, its intake, what it counted, and a sender."""

    def __init__(
        self, listener: Listener[Hl7Listener], intake: Intake, counted: list[tuple[str, ...]]
    ) -> None:
        self.listener, self.intake, self.counted = listener, intake, counted
        self._decoder = FrameDecoder()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, data: bytes) -> None:
        if self._streams is None:
            port = int(self.listener.addresses[0].rpartition(":")[2])
            self._streams = await asyncio.open_connection("127.0.0.1", port)
        self._streams[1].write(data)
        await self._streams[1].drain()

    async def answer(self) -> bytes:
        """The next answer; empty when the listener hung up."""
        assert self._streams is not None
        while (event := self._decoder.next_event()) is None:
            data = await self._streams[0].read(65536)
            if not data:
                return b""
            self._decoder.receive_data(data)
        assert isinstance(event, Frame)
        return event.payload

    async def ask(self, message: bytes | str) -> str:
        """Sends one message; MSA-1 of its answer."""
        await self.send(frame(message.encode() if isinstance(message, str) else message))
        return read_ack(await self.answer()).code

    async def hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(ConnectionError):
                await self._streams[1].wait_closed()
            self._streams = None


def mapper(message: Message, profile: Profile) -> list[Draft]:
    patient = Patient(identifiers=(Identifier(value=message["PID-3"]),))
    return [Draft(type="patient.updated", data=EventData(patient=patient))]


def read(config: Hl7Listener, place: ListenerPlace) -> Hl7Reader:
    return Hl7Reader(profile=profile(config, place), mappers={"ADT^A08": mapper})


@asynccontextmanager
async def running(
    *, reader: Callable[[Hl7Listener, ListenerPlace], Hl7Reader] = read, **options: Any
) -> AsyncIterator[Rig]:
    intake, counted = Intake(), list[tuple[str, ...]]()
    context = InboundContext(
        name="pas",
        site="STO",
        bind="127.0.0.1",
        config_folder=Path(),
        spool=Path(),
        intake=intake,
        worklist=None,
        clock=lambda: NOW,
        register_dicom=lambda _: None,
        known_aets=frozenset(),
        count=lambda name, labels: counted.append(tuple(labels.values())),
    )  # type: ignore[arg-type]
    listener = Listener(Hl7Listener(port=0, issuer="STO", **options), context, reader)
    await listener.start()
    rig = Rig(listener, intake, counted)
    try:
        yield rig
    finally:
        if intake.gate is not None:
            intake.gate.set()
        await listener.stop()
        await rig.hang_up()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


def adt(kind: str = "ADT^A08", accept: str = "", application: str = "") -> str:
    return ADT.format(kind=kind, accept=accept, application=application)


def test_a_message_is_kept_counted_and_answered() -> None:
    async def test() -> None:
        async with running() as rig:
            assert await rig.ask(adt()) == "AA"
            (kept,) = rig.intake.kept
            assert (kept.raw, kept.source, kept.peer, kept.received) == (
                adt().encode(),
                "pas",
                "127.0.0.1",
                NOW,
            )
            assert [event.type for event in kept.events] == ["patient.updated"]
            assert rig.counted == [("pas", "accepted")]
            assert await rig.ask(adt("ADT^A60")) == "AR"
            assert [(kept.verdict, kept.answer_code) for kept in rig.intake.kept[1:]] == [
                (Verdict.REJECTED, "AR")
            ]
            assert rig.counted[1:] == [("pas", "rejected")]

    run(test)


def test_the_answer_leaves_only_after_the_commit() -> None:
    async def test() -> None:
        async with running() as rig:
            rig.intake.gate = asyncio.Event()
            await rig.send(frame(adt().encode()))
            answer = asyncio.create_task(rig.answer())
            await rig.intake.waiting.wait()
            await asyncio.sleep(0)
            assert not answer.done()
            assert rig.counted == []
            rig.intake.gate.set()
            assert read_ack(await answer).code == "AA"

    run(test)


def test_a_repeat_is_answered_from_the_store() -> None:
    async def test() -> None:
        async with running() as rig:
            stored = b"MSH|^~\\&|||||||ACK|STORED|P|2.5\rMSA|AA|4711\r"
            rig.intake.repeat = Stored(answers=(stored,), answer_code="AA", repeat=True)
            await rig.send(frame(adt().encode()))
            assert await rig.answer() == stored
            assert rig.counted == [("pas", "repeat")]

    run(test)


def test_what_is_remarked_of_identifiers_is_counted_once_a_message() -> None:
    async def test() -> None:
        async with running() as rig:
            message = adt().replace("PID|1||7", "PID|1||30908299902")
            assert await rig.ask(message) == "AA"
            assert rig.counted == [
                ("pas", "accepted"),
                ("bare-national-number", "pas"),
                ("synthetic-number", "pas"),
            ]
            rig.intake.repeat = Stored(
                answers=(b"MSH|^~\\&|||||||ACK|S|P|2.5\rMSA|AA|1\r",), answer_code="AA", repeat=True
            )
            assert await rig.ask(message) == "AA"
            assert rig.counted[3:] == [("pas", "repeat")]

    run(test)


@pytest.mark.parametrize(
    ("accept", "application", "expected"),
    [
        ("", "", "AR"),
        ("AL", "NE", "CE"),
        ("AL", "AL", "CE"),
        ("ER", "AL", "CE"),
        ("NE", "AL", "AR"),
        ("SU", "ER", "AR"),
    ],
)
@pytest.mark.parametrize("kind", ["ADT^A08", "ADT^A60"])
def test_while_the_journal_cannot_be_written_nothing_is_acknowledged(
    kind: str, accept: str, application: str, expected: str
) -> None:
    """Above all no CA: it says that the message was safely stored."""

    async def test() -> None:
        async with running() as rig:
            rig.intake.broken = StoreError("the disk is full")
            assert await rig.ask(adt(kind, accept, application)) == expected
            assert (rig.intake.kept, rig.counted) == ([], [("hl7",)])
            rig.intake.broken = None
            assert await rig.ask(adt()) == "AA"  # so only one answer came before

    run(test)


def test_the_refusal_says_why_and_is_not_logged_per_message(capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with running() as rig:
            rig.intake.broken = UnwritableError("the disk is nearly full")
            for _ in range(3):
                await rig.send(frame(adt().encode()))
                assert b"the disk is nearly full; send again later" in await rig.answer()
            assert rig.counted == [("hl7",)] * 3

    run(test)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("raw", [adt("ACK^A08"), adt(accept="NE", application="NE")])
def test_who_wants_no_answer_gets_none_then_either(raw: str) -> None:
    async def test() -> None:
        async with running() as rig:
            rig.intake.broken = StoreError("the disk is full")
            await rig.send(frame(raw.encode()))
            assert await rig.ask("junk") == "AR"  # the answer to the second frame is the first to come

    run(test)


def test_a_failure_that_nobody_foresaw_closes_the_connection_and_only_that() -> None:
    async def test() -> None:
        async with running() as rig:
            rig.intake.broken = RuntimeError("a bug")
            await rig.send(frame(adt().encode()))
            assert await rig.answer() == b""
            rig.intake.broken = None
            await rig.hang_up()
            assert await rig.ask(adt()) == "AA"

    run(test)


def test_junk_is_kept_and_not_answered() -> None:
    async def test() -> None:
        async with running() as rig:
            await rig.send(b"GET / HTTP/1.1\r\n")
            assert await rig.ask(adt()) == "AA"
            junk, message = rig.intake.kept
            assert (junk.verdict, junk.reason, junk.raw) == (
                Verdict.JUNK,
                "outside-frame",
                b"GET / HTTP/1.1\r\n",
            )
            assert (junk.answers, junk.answer_code) == ((), "")
            assert message.verdict is Verdict.ACCEPTED
            assert rig.counted == [("pas", "junk"), ("pas", "accepted")]

    run(test)


def test_a_message_that_is_cut_off_is_kept_as_junk() -> None:
    async def test() -> None:
        async with running() as rig:
            await rig.send(b"\x0b" + adt().encode())
            await rig.hang_up()
            await rig.intake.waiting.wait()
            (junk,) = rig.intake.kept
            assert (junk.verdict, junk.reason, junk.raw) == (Verdict.JUNK, "unfinished", adt().encode())

    run(test)


@pytest.mark.parametrize(
    ("raw", "code"),
    [(adt(), "AR"), (adt(accept="AL"), "CR"), ("MSA", "AR"), (adt(accept="NE"), ""), (adt("ACK"), "")],
)
def test_a_message_that_is_too_long_is_refused_by_its_beginning(raw: str, code: str) -> None:
    async def test() -> None:
        async with running(max_frame=1024) as rig:
            await rig.send(frame(raw.encode() + b"X" * 5000))
            if code:
                answer = await rig.answer()
                assert read_ack(answer).code == code
                assert b"this listener takes 1024" in answer
            assert await rig.ask(adt()) == "AA"
            refused = rig.intake.kept[0]
            assert refused.raw.startswith(raw.encode())
            assert len(refused.raw) < 5000 + len(raw)

    run(test)


def test_deep_validation_does_not_hold_other_connections_up() -> None:
    async def test() -> None:
        async with running(validate="strict") as rig:
            assert await rig.ask(adt().replace("|2026|", "|yesterday|")) == "AE"

    run(test)


def test_stopping_answers_what_has_begun() -> None:
    async def test() -> None:
        async with running() as rig:
            rig.intake.gate = asyncio.Event()
            await rig.send(frame(adt().encode()))
            await rig.intake.waiting.wait()
            stopping = asyncio.create_task(rig.listener.stop())
            rig.intake.gate.set()
            assert read_ack(await rig.answer()).code == "AA"
            await rig.hang_up()
            await stopping

    run(test)


# --- batches --------------------------------------------------------------------------------------


def batch_of(*members: str) -> bytes:
    return "".join(("BHS|^~\\&|PAS|STO|||2026||||B1\r", *members, f"BTS|{len(members)}\r")).encode()


def member(control_id: str, kind: str = "ADT^A08", accept: str = "", application: str = "") -> str:
    return adt(kind, accept, application).replace("|4711|", f"|{control_id}|")


def said(answer: bytes) -> list[tuple[str, str]]:
    return [(ack.code, ack.control_id) for ack in read_acks(answer)]


def test_a_batch_is_kept_in_one_transaction_counted_and_answered_in_one_frame() -> None:
    members = [member(str(n), "ADT^A08" if n % 3 else "ADT^A60") for n in range(200)]  # more than a slice

    async def test() -> None:
        async with running() as rig:
            await rig.send(frame(batch_of(*members)))
            answer = await rig.answer()

            assert Header.read(answer).reference == "B1"
            assert said(answer) == [("AA" if n % 3 else "AR", str(n)) for n in range(200)]
            assert rig.intake.transactions == [201]
            envelope, *kept = rig.intake.kept
            assert (envelope.message_type, envelope.control_id) == ("BATCH", "B1")
            assert envelope.raw == batch_of(*members).replace("".join(members).encode(), b"")
            assert [one.raw for one in kept] == [one.encode() for one in members]
            assert rig.counted.count(("pas", "accepted")) == 133
            assert rig.counted.count(("pas", "rejected")) == 67
            assert rig.counted.count(("pas", "filtered")) == 1, "the envelope"

    run(test)


def test_the_answer_to_a_batch_leaves_only_after_the_commit() -> None:
    async def test() -> None:
        async with running() as rig:
            rig.intake.gate = asyncio.Event()
            await rig.send(frame(batch_of(member("1"), member("2"))))
            answer = asyncio.create_task(rig.answer())
            await rig.intake.waiting.wait()
            await asyncio.sleep(0)
            assert not answer.done()
            rig.intake.gate.set()
            assert said(await answer) == [("AA", "1"), ("AA", "2")]

    run(test)


def test_a_batch_that_needs_no_answers_gets_none() -> None:
    async def test() -> None:
        async with running() as rig:
            await rig.send(frame(batch_of(member("1", accept="NE", application="NE"), member("2", "ACK"))))
            assert await rig.ask(adt()) == "AA"  # the first answer to come
            assert len(rig.intake.kept) == 4

    run(test)


def test_while_the_journal_cannot_be_written_each_member_is_told_so() -> None:
    members = [member("1"), member("2", accept="AL"), member("3", accept="NE", application="NE")]

    async def test() -> None:
        async with running() as rig:
            rig.intake.broken = StoreError("the disk is full")
            await rig.send(frame(batch_of(*members)))
            assert said(await rig.answer()) == [("AR", "1"), ("CE", "2")]
            await rig.send(frame(batch_of()))
            assert said(await rig.answer()) == [("AR", "B1")], "not even an empty one is taken from memory"
            assert rig.intake.kept == []
            assert rig.counted == [("hl7",)] * 5, "turned away: three messages and two envelopes"

    run(test)


def test_a_batch_with_more_messages_than_the_listener_takes_is_refused_whole() -> None:
    async def test() -> None:
        async with running(max_batch=2) as rig:
            await rig.send(frame(batch_of(member("1"), member("2"))))
            assert len(said(await rig.answer())) == 2
            await rig.send(frame(batch_of(member("1"), member("2"), member("3"))))
            assert said(await rig.answer()) == [("AR", "B1")]
            assert rig.intake.transactions == [3, 1]

    run(test)


def test_other_connections_are_answered_while_a_batch_is_judged() -> None:
    """The mapping of the batch's member waits in its thread until the other connection has its answer."""
    inside, release = threading.Event(), threading.Event()

    def waits(message: Message, profile: Profile) -> list[Draft]:
        if message.header.control_id == "SLOW":
            inside.set()
            assert release.wait(10)
        return mapper(message, profile)

    def slow(config: Hl7Listener, place: ListenerPlace) -> Hl7Reader:
        return Hl7Reader(profile=profile(config, place), mappers={"ADT^A08": waits})

    async def test() -> None:
        async with running(reader=slow) as rig:
            await rig.send(frame(batch_of(member("SLOW"))))
            assert await asyncio.to_thread(inside.wait, 10)
            other = Rig(rig.listener, rig.intake, rig.counted)
            assert await other.ask(adt()) == "AA"
            await other.hang_up()
            release.set()
            assert said(await rig.answer()) == [("AA", "SLOW")]

    run(test)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": ""},
        {"issuer": "a&b&c&d"},
        {"issuers": ("",)},
        {"charset": "KLINGON"},
        {"fallback_charset": "KLINGON"},
        {"validate": "sometimes"},
        {"port": -1},
        {"port": "2575"},
        {"max_frame": 1},
        {"idle_timeout": "soon"},
        {"host": "x"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Hl7Listener(**{"port": 2575, "issuer": "STO", **options})


def test_a_listener_may_have_a_site_of_its_own() -> None:
    place = ListenerPlace(name="pas", site="STO", config_folder=Path())

    assert profile(Hl7Listener(port=0, issuer="STO"), place).site == "STO"
    assert profile(Hl7Listener(port=0, issuer="STO", site="LHL"), place).site == "LHL"


def test_a_table_by_its_key_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("# said before\na,b,c\n1,,x\n1,2,y\n", encoding="utf-8")

    assert read_table(tmp_path, "t.csv", ("a", "b"), "c") == {"1|": "x", "1|2": "y"}


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n1,y\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"t\.csv:3:.*twice"):
        read_table(tmp_path, "t.csv", ("a",), "b")
