"""The server over real sockets on loopback. Waiting is for conditions, never for time to pass."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from broker.hl7.ack import read_ack
from broker.hl7.er7 import Header
from broker.hl7.framing import END, START, Frame, FrameDecoder, Junk, frame
from broker.net import mllp_server
from broker.net.mllp_client import MllpClient
from broker.net.mllp_peer import Peer
from broker.net.mllp_server import MllpServer
from tests.support.mllp import ack, message

LIMIT = 20.0
"""Seconds after which a test that hangs fails."""


async def echo(payload: bytes, peer: Peer) -> Sequence[bytes]:
    return [ack(Header.read(payload).control_id)]


class Sender:
    """A peer that sends what it is told, in the pieces it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.decoder = FrameDecoder()

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> bytes:
        """The next answer's payload; empty when the server closed."""
        while (event := self.decoder.next_event()) is None:
            data = await self.reader.read(65536)
            if not data:
                return b""
            self.decoder.receive_data(data)
        assert isinstance(event, Frame)
        return event.payload


@contextlib.asynccontextmanager
async def running(server: MllpServer) -> AsyncIterator[Callable[[], Awaitable[Sender]]]:
    await server.start()
    senders: list[Sender] = []

    async def connect() -> Sender:
        senders.append(Sender(*await asyncio.open_connection("127.0.0.1", server.port)))
        return senders[-1]

    try:
        yield connect
    finally:
        await server.stop(1.0)
        for sender in senders:
            sender.writer.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await test()

    asyncio.run(limited())


def server(handler: object = echo, **settings: object) -> MllpServer:
    return MllpServer("127.0.0.1", 0, handler, **settings)  # type: ignore[arg-type]


def test_a_message_is_answered_and_the_connection_kept() -> None:
    async def test() -> None:
        async with running(server()) as connect:
            sender = await connect()
            for control_id in ("1", "2"):
                await sender.send(frame(message(control_id)))
                assert await sender.answer() == ack(control_id)

    run(test)


def test_pipelined_frames_are_answered_in_order_whatever_the_pieces() -> None:
    async def test() -> None:
        async with running(server()) as connect:
            sender = await connect()
            data = b"\r\n".join(frame(message(str(n))) for n in range(30))
            await sender.send(*(data[n : n + 7] for n in range(0, len(data), 7)))
            assert [await sender.answer() for _ in range(30)] == [ack(str(n)) for n in range(30)]

    run(test)


def test_frames_of_one_connection_wait_for_each_other_but_not_for_other_connections() -> None:
    async def test() -> None:
        first_may_end, began = asyncio.Event(), []

        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            control_id = Header.read(payload).control_id
            began.append(control_id)
            if control_id == "slow":
                await first_may_end.wait()
            return [ack(control_id)]

        async with running(server(handler)) as connect:
            one, two = await connect(), await connect()
            await one.send(frame(message("slow")) + frame(message("after")))
            while began != ["slow"]:
                await asyncio.sleep(0)
            await two.send(frame(message("other")))
            assert await two.answer() == ack("other")
            assert began == ["slow", "other"]
            first_may_end.set()
            assert [await one.answer(), await one.answer()] == [ack("slow"), ack("after")]

    run(test)


def test_two_answers_leave_together_and_none_leaves_none() -> None:
    async def test() -> None:
        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            control_id = Header.read(payload).control_id
            return {"both": [ack("both", "CA"), ack("both")], "none": []}.get(control_id, [ack(control_id)])

        async with running(server(handler)) as connect:
            sender = await connect()
            await sender.send(frame(message("both")) + frame(message("none")) + frame(message("one")))
            assert [await sender.answer() for _ in range(3)] == [ack("both", "CA"), ack("both"), ack("one")]

    run(test)


def test_junk_is_handed_over_and_the_next_frame_found() -> None:
    async def test() -> None:
        junk: list[Junk] = []

        async def on_junk(found: Junk, peer: Peer) -> None:
            junk.append(found)

        async with running(server(on_junk=on_junk)) as connect:
            sender = await connect()
            await sender.send(b"GET / HTTP/1.1\r\n\r\n" + START + b"MSH|lost\r" + frame(message("1")) + b"\n")
            assert await sender.answer() == ack("1")
            await sender.send(START + b"MSH|cut")
            sender.writer.write_eof()
            assert await sender.answer() == b""

        assert junk == [
            Junk(b"GET / HTTP/1.1\r\n\r\n", "outside-frame"),
            Junk(b"MSH|lost\r", "restarted"),
            Junk(b"MSH|cut", "unfinished"),
        ]

    run(test)


def test_an_oversized_frame_is_refused_by_name_and_the_next_one_taken() -> None:
    async def test() -> None:
        async with running(server(max_frame=200)) as connect:
            sender = await connect()
            await sender.send(frame(message("big") + b"x" * 5000), frame(message("1")))
            refusal = read_ack(await sender.answer())
            assert (refusal.code, refusal.control_id) == ("AR", "big")
            assert await sender.answer() == ack("1")

    run(test)


def test_the_owner_can_answer_oversized_frames() -> None:
    async def test() -> None:
        async def on_oversize(head: bytes, size: int, peer: Peer) -> Sequence[bytes]:
            return [ack(Header.read(head).control_id, "AE") + str(size).encode()]

        async with running(server(max_frame=200, on_oversize=on_oversize)) as connect:
            sender = await connect()
            big = message("big") + b"x" * 5000
            await sender.send(frame(big))
            assert await sender.answer() == ack("big", "AE") + str(len(big)).encode()

    run(test)


def test_a_peer_that_hangs_up_its_sending_side_still_gets_its_answers() -> None:
    async def test() -> None:
        async with running(server()) as connect:
            sender = await connect()
            await sender.send(frame(message("1")) + frame(message("2")) + START + message("3") + b"\x1c")
            sender.writer.write_eof()
            assert [await sender.answer() for _ in range(4)] == [ack("1"), ack("2"), ack("3"), b""]

    run(test)


def test_an_end_without_cr_is_taken_after_a_short_silence() -> None:
    async def test() -> None:
        async with running(server(end_wait=0.01)) as connect:
            sender = await connect()
            await sender.send(START + message("1") + b"\x1c")
            assert await sender.answer() == ack("1")
            await sender.send(b"\r" + frame(message("2")))
            assert await sender.answer() == ack("2")

    run(test)


def test_a_silent_connection_is_closed_where_a_limit_is_set() -> None:
    async def test() -> None:
        async with running(server(idle_timeout=0.01)) as connect:
            sender = await connect()
            assert await sender.answer() == b""

    run(test)


def test_a_handler_that_fails_closes_its_own_connection_only(capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            if Header.read(payload).control_id == "bad":
                raise RuntimeError(payload.decode())
            return await echo(payload, peer)

        async with running(server(handler)) as connect:
            one, two = await connect(), await connect()
            await one.send(frame(message("bad")))
            assert await one.answer() == b""
            await two.send(frame(message("1")))
            assert await two.answer() == ack("1")

    run(test)

    logged = capsys.readouterr().out
    assert "mllp.handler-failed" in logged
    assert "RuntimeError" in logged
    assert "PID|1" not in logged


def test_a_connection_over_the_limit_is_refused_by_name() -> None:
    async def test() -> None:
        listener = server(max_connections=1, refusal_wait=0.05, linger=0.01)
        async with running(listener) as connect:
            one = await connect()
            await one.send(frame(message("1")))
            assert await one.answer() == ack("1")
            two, silent = await connect(), await connect()
            await two.send(frame(message("2", "AL", "NE")))
            refusal = read_ack(await two.answer())
            assert (refusal.code, refusal.control_id) == ("CE", "2")
            assert await two.answer() == b""
            assert await silent.answer() == b""
            assert listener.connections == 1
            one.writer.close()
            while listener.connections:
                await asyncio.sleep(0)
            three = await connect()
            await three.send(frame(message("3")))
            assert await three.answer() == ack("3")

    run(test)


def test_however_many_are_over_the_limit_each_gets_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the refusals wait in the kernel, what they sent with them."""
    monkeypatch.setattr(mllp_server, "REFUSALS", 2)

    async def test() -> None:
        listener = server(max_connections=1, linger=LIMIT)
        async with running(listener) as connect:
            one = await connect()
            await one.send(frame(message("1")))
            assert await one.answer() == ack("1")
            crowd = [await connect() for _ in range(20)]
            for number, sender in enumerate(crowd):
                await sender.send(frame(message(f"over {number}")))

            async def refused(number: int, sender: Sender) -> None:
                refusal = read_ack(await sender.answer())
                assert (refusal.code, refusal.control_id) == ("AR", f"over {number}")
                sender.writer.close()

            await asyncio.gather(*(refused(*each) for each in enumerate(crowd)))
            await one.send(frame(message("2")))
            assert await one.answer() == ack("2"), "who was there first is served on"

    run(test)


def test_a_place_that_is_free_again_is_taken_by_who_waited_in_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mllp_server, "REFUSALS", 0)

    async def test() -> None:
        async with running(server(max_connections=1)) as connect:
            one, two = await connect(), await connect()
            await two.send(frame(message("2")))
            await one.send(frame(message("1")))
            assert await one.answer() == ack("1")
            one.writer.close()
            assert await two.answer() == ack("2")

    run(test)


def test_an_accept_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mllp_server, "ACCEPT_RETRY", 0)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        real, failures = loop.sock_accept, iter([OSError(errno.EMFILE, "")] * 3)

        async def accept(listener: socket.socket) -> object:
            for failure in failures:
                raise failure
            return await real(listener)

        monkeypatch.setattr(loop, "sock_accept", accept)
        async with running(server(max_connections=1)) as connect:
            sender = await connect()
            await sender.send(frame(message("1")))
            assert await sender.answer() == ack("1")

    run(test)
    assert capsys.readouterr().out.count("mllp.accept-failed") == 3


def test_every_address_of_a_name_is_listened_on_and_a_taken_port_is_an_os_error() -> None:
    async def test() -> None:
        async with running(server()):
            one = MllpServer("localhost", 0, echo)  # type: ignore[arg-type]
            async with running(one) as connect:
                sender = await connect()
                await sender.send(frame(message("1")))
                assert await sender.answer() == ack("1")
                with pytest.raises(OSError, match="in use"):
                    await MllpServer("127.0.0.1", one.port, echo).start()  # type: ignore[arg-type]

    run(test)


def test_stopping_answers_what_was_begun_and_no_more() -> None:
    async def test() -> None:
        may_end, began = asyncio.Event(), []

        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            began.append(Header.read(payload).control_id)
            await may_end.wait()
            return await echo(payload, peer)

        listener = server(handler, linger=0.01)
        async with running(listener) as connect:
            busy, idle = await connect(), await connect()
            await busy.send(frame(message("1")) + frame(message("2")))
            while not began:
                await asyncio.sleep(0)
            stopping = asyncio.create_task(listener.stop(LIMIT))
            assert await idle.answer() == b""
            with pytest.raises(OSError, match="onnect"):
                await asyncio.open_connection("127.0.0.1", listener.port)
            may_end.set()
            await stopping
            assert [await busy.answer(), await busy.answer()] == [ack("1"), b""]
            assert began == ["1"]

    run(test)


def test_stopping_does_not_wait_longer_than_its_grace() -> None:
    async def test() -> None:
        began = asyncio.Event()

        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            began.set()
            await asyncio.Event().wait()
            return []

        listener = server(handler)
        async with running(listener) as connect:
            sender = await connect()
            await sender.send(frame(message("1")))
            await began.wait()
            await listener.stop(0.01)
            assert await sender.answer() == b""

    run(test)


def test_a_peer_that_does_not_read_its_answers_is_cut_off() -> None:
    async def test() -> None:
        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            return [b"x" * 1_000_000]

        listener = server(handler, write_timeout=0.05)
        async with running(listener) as connect:
            sender = await connect()
            sender.writer.write(frame(message("1")) * 100)
            while not listener.connections:
                await asyncio.sleep(0)
            while listener.connections:
                await asyncio.sleep(0)

    run(test)


def test_reading_ahead_is_bounded_while_a_message_is_handled() -> None:
    async def test() -> None:
        may_end, began, seen = asyncio.Event(), asyncio.Event(), 0

        async def handler(payload: bytes, peer: Peer) -> Sequence[bytes]:
            nonlocal seen
            began.set()
            await may_end.wait()
            seen += 1
            return []

        listener = server(handler)
        async with running(listener) as connect:
            sender = await connect()
            await sender.send(frame(message("1")))
            await began.wait()
            data = frame(message("2") + b"x" * 100_000) * 200
            sending = asyncio.create_task(sender.send(data))
            (connection,) = listener._connections
            while not connection._paused:
                await asyncio.sleep(0)
            assert len(connection._decoder._buffer) < 2_000_000
            may_end.set()
            await sending
            while seen < 201:
                await asyncio.sleep(0)

    run(test)


def test_client_and_server_together() -> None:
    async def test() -> None:
        listener = server()
        await listener.start()
        client = MllpClient("127.0.0.1", listener.port, ack_timeout=LIMIT)
        for n in range(20):
            assert await asyncio.to_thread(client.send, message(str(n))) == ack(str(n))
        assert listener.connections == 1
        client.close()
        await listener.stop()

    run(test)


def test_the_end_bytes_are_what_the_standard_says() -> None:
    assert frame(b"x") == START + b"x" + END == b"\x0bx\x1c\x0d"
