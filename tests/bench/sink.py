"""An EPJ that acknowledges at once, or after some seconds, in a process of its own: `python sink.py PORT`.

`--seconds` is what it takes for each message; a connection has one at a time. `--notes` names a file that gets a line
for each message: its control id and when it was there, by the clock of `time.perf_counter`, which Linux gives to all
processes alike.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import IO

VT, END = b"\x0b", b"\x1c\r"


async def main(port: int, seconds: float, notes: IO[str] | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await reader.readuntil(END)
                control_id = frame.split(b"|", 10)[9]
                if notes is not None:
                    notes.write(f"{control_id.decode()} {time.perf_counter()}\n")
                if seconds:
                    await asyncio.sleep(seconds)
                writer.write(VT + b"MSH|^~\\&|EPJ|EPJ|||||ACK|1|P|2.5\rMSA|AA|" + control_id + b"\r" + END)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 24)
    async with server:
        await server.serve_forever()


def noted(notes: Path) -> dict[bytes, float]:
    """Control id to when it was first there."""
    came: dict[bytes, float] = {}
    for line in notes.read_text(encoding="utf-8").splitlines():
        control_id, at = line.split(" ")
        came.setdefault(control_id.encode(), float(at))
    return came


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An EPJ that acknowledges.")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=0.0, help="what it takes for each message")
    parser.add_argument("--notes", type=Path, help="file that gets a line for each message")
    return parser.parse_args()


if __name__ == "__main__":
    options = _options()
    file = options.notes.open("w", buffering=1, encoding="utf-8") if options.notes else None
    asyncio.run(main(options.port, options.seconds, file))
