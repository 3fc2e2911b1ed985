"""What a measurement stands on: a folder, a broker, its EPJ, and how much to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support.broker import Broker
from tests.support.ports import free_port
from tests.support.processes import Program

HERE = Path(__file__).parent


class Served(NamedTuple):
    """A program that listens."""

    port: int
    pid: int


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
        with self.program(name, "sink.py") as sink:
            broker = Broker(self.folder / name, epj_port=sink.port, **arguments)  # type: ignore[arg-type]
            with _running([broker]):
                yield broker

    @contextmanager
    def nodes(
        self, name: str, roles: Sequence[Sequence[str]], epj_port: int, settings: Mapping[str, str]
    ) -> Iterator[Sequence[Broker]]:
        """A process for each set of roles (an empty one: all of them), started at the same time."""
        nodes = []
        for number, of_one in enumerate(roles):
            folder = self.made(f"{name}-{number}")
            nodes.append(Broker(folder, epj_port=epj_port, settings=settings, roles=of_one))
        with _running(nodes):
            yield nodes

    @contextmanager
    def program(self, name: str, script: str, *arguments: str | Path) -> Iterator[Served]:
        """A script of this folder with a free port as its first argument."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        port = free_port()
        program = Program([sys.executable, HERE / script, str(port), *arguments], folder / f"{script}.log")
        program.wait_for_port(port)
        try:
            yield Served(port, program.pid)
        finally:
            program.kill()


@contextmanager
def _running(nodes: Sequence[Broker]) -> Iterator[None]:
    """Started, and killed at the end; where something fails, the end of what each logged is shown."""
    try:
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(Broker.start, nodes))
        yield
    except Exception:
        for node in nodes:
            say(f"the end of {node.log}:\n" + "\n".join(node.log.read_text().splitlines()[-20:]))
        raise
    finally:
        for node in nodes:
            node.kill()


def say(text: str) -> None:
    """Progress for who waits."""
    print(text, flush=True)
