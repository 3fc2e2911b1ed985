from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from broker.cli import run as module
from broker.runtime.broker import Broker

SECONDS = 10.0


class Node:
    """Is told to stop as soon as it runs; `hangs`: its stop waits for `released`."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs
        self.released = threading.Event()

    async def start(self) -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    async def stop(self) -> None:
        if self.hangs:
            await asyncio.to_thread(self.released.wait, SECONDS)

    def addresses(self) -> Iterable[str]:
        return ()


@pytest.mark.parametrize("hangs", [False, True])
def test_a_stop_ends_whatever_the_journal_does(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    node, codes = Node(hangs), list[int]()

    def leave(code: int) -> Any:
        codes.append(code)
        node.released.set()  # a real one would end here

    monkeypatch.setattr(module, "STOP_SECONDS", 0.01 if hangs else SECONDS)
    monkeypatch.setattr(module.os, "_exit", leave)
    with capture_logs() as logs:
        assert asyncio.run(module._run(cast(Broker, node))) == 0

    assert codes == ([0] if hangs else [])
    assert [line["event"] for line in logs] == (
        ["stopped without the last steps: the journal does not answer"] if hangs else []
    )
