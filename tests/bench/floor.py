"""The floor for HL7: the least a durable MLLP server in Python can do, with the same disk and the same driver.

`python floor.py PORT FOLDER`. asyncio, no parsing but MSH-10, one table, one writer thread that commits the messages
of all connections with one fsync (SQLite, WAL, synchronous=FULL), and only then the answers. Nothing is routed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from pathlib import Path

import apsw

VT, END = b"\x0b", b"\x1c\r"


class Writer:
    """Commits what is waiting as one transaction, then wakes those who wait."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[str, bytes, asyncio.Future[None]]] = deque()
        self._changed = threading.Condition()
        self._connection = apsw.Connection(str(path))
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE message (control_id TEXT, body BLOB)")
        threading.Thread(target=self._run, daemon=True).start()

    def write(self, control_id: str, body: bytes) -> asyncio.Future[None]:
        future = self._loop.create_future()
        with self._changed:
            self._waiting.append((control_id, body, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                group = list(self._waiting)
                self._waiting.clear()
            with self._connection:
                self._connection.executemany(
                    "INSERT INTO message VALUES (?,?)", [(c, b) for c, b, _ in group]
                )
            self._loop.call_soon_threadsafe(_wake, [future for _, _, future in group])


def _wake(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


async def main(port: int, folder: Path) -> None:
    writer = Writer(folder / "floor.sqlite", asyncio.get_running_loop())

    async def serve(reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await reader.readuntil(END)
                body = frame[1:-2]
                control_id = body.split(b"|", 10)[9]
                await writer.write(control_id.decode(), body)
                out.write(VT + b"MSH|^~\\&|F|F|||||ACK|1|P|2.5\rMSA|AA|" + control_id + b"\r" + END)
        except (asyncio.IncompleteReadError, ConnectionError):
            out.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 24)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
