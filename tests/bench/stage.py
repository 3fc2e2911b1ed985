"""What a measurement stands on: a folder, a broker, its EPJ, and how much to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.broker import Broker
from tests.support.ports import free_port
from tests.support.processes import Program

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`quick` is for CI: a fifth of the work, numbers of little worth."""

    folder: Path
    quick: bool

    def count(self, full: int) -> int:
        return max(20, full // 5) if self.quick else full

    def size(self, variable: str, full: int) -> int:
        """As `count`, unless the environment says how many: for a long run by hand."""
        return int(os.environ.get(variable, 0)) or self.count(full)

    def made(self, name: str) -> Path:
        """A folder of the run's own, which goes with it."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    @contextmanager
    def broker(self, name: str, **arguments: int | str) -> Iterator[Broker]:
        """A broker with a data folder of its own and an EPJ that acknowledges at once."""
        with self.program(name, "sink.py") as port:
            folder = self.folder / name
            broker = Broker(folder, epj_port=port, **arguments)  # type: ignore[arg-type]
            broker.start()
            try:
                yield broker
            except Exception:
                say("the end of the broker's log:\n" + "\n".join(broker.log.read_text().splitlines()[-20:]))
                raise
            finally:
                broker.kill()

    @contextmanager
    def program(self, name: str, script: str, *arguments: str | Path) -> Iterator[int]:
        """A script of this folder with a free port as its first argument; the port."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        port = free_port()
        program = Program([sys.executable, HERE / script, str(port), *arguments], folder / f"{script}.log")
        program.wait_for_port(port)
        try:
            yield port
        finally:
            program.kill()


def say(text: str) -> None:
    """Progress for who waits."""
    print(text, flush=True)
