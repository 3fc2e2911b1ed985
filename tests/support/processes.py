"""A program under test: started, waited for by condition, stopped by its own pid.

Its output is kept, and the end of it stands in the text of a failure.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.ports import is_open

_LOOK_EVERY = 0.02
"""Seconds between two looks at a condition: short beside any start-up, long beside the look itself."""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Returns as soon as the condition holds. `what` completes the sentence "timed out waiting until …"."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout:g} s waiting until {what}")
        time.sleep(_LOOK_EVERY)


class Program:
    """One running program. Its standard output and error go to `log`, appended across restarts.

    `env` is its whole environment; this process's own when none is given.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=env,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """As `wait_until`, but fails at once, with the end of the log, when the program dies."""
        try:
            wait_until(lambda: not self.running or condition(), what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}\n{self._last_lines()}") from None
        if not self.running:
            code = self._process.returncode
            raise AssertionError(f"{self.name} ended with {code} before {what}\n{self._last_lines()}")

    def wait_for_port(self, port: int, timeout: float = 30.0, host: str = "127.0.0.1") -> None:
        self.wait_until(lambda: is_open(port, host), f"port {port} is open", timeout)

    def terminate(self, timeout: float = 15.0, number: signal.Signals = signal.SIGTERM) -> int:
        """SIGTERM, or another signal, then its exit code. One that does not heed it is killed, and the test fails."""
        if self.running:
            self._process.send_signal(number)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            text = f"{self.name} ignored {number.name} for {timeout:g} s\n{self._last_lines()}"
            raise AssertionError(text) from None

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone. Harmless when it is gone already."""
        self._process.kill()
        self._process.wait()

    def _last_lines(self, count: int = 40) -> str:
        return "\n".join(self.output().splitlines()[-count:])
