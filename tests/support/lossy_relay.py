"""An MLLP relay that acknowledges before it stores: what the proof must catch in an engine that does so.

`python -m tests.support.lossy_relay PORT TARGET`: passes on each message, in order, some time after its AA.
"""

from __future__ import annotations

import queue
import sys
import threading
import time

from tests.support.mllp import MllpClient, MllpSink

HELD_SECONDS = 0.02


def main(port: int, target: int) -> None:
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    sink = MllpSink(port)

    def take(message: bytes) -> str:
        waiting.put(message)
        return "AA"

    sink.behaviour = take
    sink.start()
    threading.Thread(target=pass_on, args=(waiting, target), daemon=True).start()
    threading.Event().wait()


def pass_on(waiting: queue.SimpleQueue[bytes], target: int) -> None:
    with MllpClient(target) as client:
        while True:
            message = waiting.get()
            time.sleep(HELD_SECONDS)  # what it has taken and not passed on is the fault that is planted here
            client.ask(message)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
