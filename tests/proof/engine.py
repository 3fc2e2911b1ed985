"""Any MLLP engine through the crash part: killed and started by commands, judged by what it acknowledged to senders
and what reached our sink.

The engine listens at `--engine` and is set up to pass every ADT on to `--sink-port` of this machine as it is, or at
least with its MSH-10. Not here: orders, images, repeats and disks, which are not alike in any two engines.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.proof import check
from tests.proof.check import Findings
from tests.proof.episode import Tally
from tests.proof.load import Sender, control_of, patients_story
from tests.support.mllp import MllpSink
from tests.support.ports import is_open
from tests.support.processes import wait_until

SENDERS: Final = 3
START_SECONDS: Final = 120.0
QUIET_SECONDS: Final = 10.0
"""So long nothing new must have come before what is missing counts as lost."""


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "another engine", "only kills; only ADT over MLLP, from us through it to us"
    )
    group.add_argument("--engine", metavar="HOST:PORT", help="where it takes messages")
    group.add_argument(
        "--sink-port", type=int, metavar="PORT", help="where it passes them on to: we listen there"
    )
    group.add_argument("--restart-command", metavar="COMMAND", help="starts it; stays in front, or returns")
    group.add_argument(
        "--kill-command", metavar="COMMAND", help="kills it; without, what --restart-command started gets -9"
    )


def play(options: argparse.Namespace, folder: Path, seed: int, say: Callable[[str], None]) -> Tally:
    """Kills and starts it at random instants until the time is up, then waits for what is still to come."""
    host, _, port = options.engine.rpartition(":")
    dice = random.Random(seed)
    stop = threading.Event()
    sink = MllpSink(options.sink_port)
    sink.start()
    process = _Engine(options, folder / "engine.log", host, int(port))
    senders = [
        Sender(
            host=host,
            ports={b"ADT": int(port)},
            messages=patients_story(number),
            dice=random.Random(f"{seed} {number}"),
            stop=stop,
            pause=0.02,
        )
        for number in range(SENDERS)
    ]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    tally = Tally(rounds={"crash": 0})
    try:
        process.start()
        for thread in threads:
            thread.start()
        end = time.monotonic() + options.minutes * 60
        while not tally.rounds["crash"] or time.monotonic() < end:
            time.sleep(dice.uniform(0.0, 2.0))  # the instant itself is what is tested
            process.kill()
            process.start()
            tally.rounds["crash"] += 1
            tally.kills += 1
            say(f"kill {tally.rounds['crash']}: {sum(len(s.acknowledged) for s in senders)} acknowledged")
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(timeout=20)
        sent = [message for sender in senders for message, _ in sender.acknowledged]
        tally.findings = _judged(sent, sink)
        tally.messages_acknowledged = len(sent)
        tally.refused = sum(sender.refused for sender in senders)
    except AssertionError as error:
        tally.findings.broken.append(str(error))
    finally:
        stop.set()
        process.end()
        sink.stop()
    return tally


def _judged(sent: list[bytes], sink: MllpSink) -> Findings:
    """Waits until everything has come, or nothing new comes any more."""
    wanted = {control_of(message) for message in sent}
    while not wanted <= {control_of(message) for message in sink.messages}:
        before = len(sink.messages)
        try:
            sink.wait_for(before + 1, QUIET_SECONDS)
        except AssertionError:
            break
    arrived = sink.messages
    found = check.in_order((control_of(message), message) for message in arrived)
    found.lost += sorted(c.decode() for c in wanted - {control_of(message) for message in arrived})
    return found


class _Engine:
    """The engine as its commands let us have it."""

    def __init__(self, options: argparse.Namespace, log: Path, host: str, port: int) -> None:
        self._restart, self._kill = options.restart_command, options.kill_command
        self._log = log
        self._host, self._port = host, port
        self._started: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._started = subprocess.Popen(
                self._restart,
                shell=True,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_until(lambda: is_open(self._port, self._host), "the engine listens", START_SECONDS)

    def end(self) -> None:
        """Kills it if it runs. Harmless when it does not."""
        if self._started is not None and (self._kill or self._started.poll() is None):
            self.kill()

    def kill(self) -> None:
        if self._kill:
            subprocess.run(self._kill, shell=True, stdout=subprocess.DEVNULL, check=True)
        elif self._started is not None:
            assert self._started.poll() is None, "the restart command has returned: give --kill-command too"
            os.killpg(self._started.pid, signal.SIGKILL)
        if self._started is not None:
            self._started.wait()
            self._started = None
