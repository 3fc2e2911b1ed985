"""An EPJ that acknowledges at once, in a process of its own: `python sink.py PORT`."""

from __future__ import annotations

import asyncio
import sys

VT, END = b"\x0b", b"\x1c\r"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            frame = await reader.readuntil(END)
            control_id = frame.split(b"|", 10)[9]
            writer.write(VT + b"MSH|^~\\&|EPJ|EPJ|||||ACK|1|P|2.5\rMSA|AA|" + control_id + b"\r" + END)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, limit=1 << 24)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
