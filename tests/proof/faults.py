"""The rounds: each does one kind of harm to a stage under load and sees to it that the broker comes back.

What was lost by it is not looked at here but at the end (tests/proof/episode.py).
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.proof.check import Findings
from tests.proof.stage import Stage
from tests.support.processes import wait_until

RECOVERY_SECONDS: Final = 30.0
"""What the broker gets to be ready again by itself."""


def crash(stage: Stage) -> Findings:
    """kill -9 at a random instant, and start again; now and then again before it has come far."""
    for _ in range(stage.dice.randint(1, 2)):
        _instant(stage.dice)
        stage.kill()
        _start(stage)
    return Findings()


def power(stage: Stage) -> Findings:
    """kill -9, and of the data folder stays what was synced and a random part of the rest.

    Syncs are slow before, so that an acknowledgement that does not wait for its own is caught; sometimes the process
    dies and is started before the power fails, so that it has read what was never synced.
    """
    stage.disk.fail(sync_milliseconds=stage.dice.choice([0, 5, 20]))
    _instant(stage.dice)
    stage.kill()
    if stage.dice.random() < 0.3:
        _start(stage)
        time.sleep(stage.dice.uniform(0.0, 0.3))
        stage.kill()
    stage.disk.cut_power(stage.dice)
    stage.disk.heal()
    stage.broker.start()
    return Findings()


def cut(stage: Stage) -> Findings:
    """Connections are cut, reset, half closed, delayed and gone deaf, at some or at all peers."""
    troubled = stage.dice.sample(stage.proxies, stage.dice.randint(1, len(stage.proxies)))
    for proxy in troubled:
        proxy.trouble = stage.dice.choice([0.02, 0.1, 0.3])
    time.sleep(stage.dice.uniform(1.0, 3.0))
    for proxy in troubled:
        proxy.trouble = 0.0
    return Findings()


def disk(stage: Stage) -> Findings:
    """No space, or too little, is left for a while: the broker says so, takes nothing, and recovers by itself."""
    found = Findings()
    _instant(stage.dice)
    assert stage.small_disk is not None, "only a disk of our own may be filled"
    stage.small_disk.leave(stage.dice.choice([0, 0, 32 << 20]))
    try:
        wait_until(lambda: not stage.broker.ready(), "/readyz says that the disk is full", RECOVERY_SECONDS)
        taken = [sender.taken_when_full for sender in stage.senders]
        stage.full.set()
        time.sleep(stage.dice.uniform(0.5, 1.5))
        stage.full.clear()
        for sender, before in zip(stage.senders, taken, strict=True):
            found.taken_when_full += [f"{sender.taken_when_full - before} messages"] * (
                sender.taken_when_full > before
            )
    finally:
        stage.full.clear()
        stage.small_disk.relieve()
    _wait_until_ready(stage)
    return found


def errors(stage: Stage) -> Findings:
    """Writes and syncs fail for a while, some or all of them."""
    dice = stage.dice
    code = dice.choice([errno.EIO, errno.ENOSPC])
    which = dice.choice(["write", "sync", "both"])
    percent = dice.choice([3, 20, 100])
    stage.disk.fail(
        write=(code, percent) if which != "sync" else (0, 0),
        sync=(errno.EIO, percent) if which != "write" else (0, 0),
    )
    time.sleep(dice.uniform(0.5, 2.0))
    stage.disk.heal()
    _wait_until_ready(stage)
    return Findings()


KINDS: Final[Mapping[str, Callable[[Stage], Findings]]] = {
    "crash": crash,
    "cut": cut,
    "disk": disk,
    "errors": errors,
    "power": power,
}


def _instant(dice: random.Random) -> None:
    """The instant itself is what is tested."""
    time.sleep(dice.uniform(0.0, 1.2))


def _start(stage: Stage) -> None:
    """Starts on the folder as the process left it."""
    stage.disk.absorb()
    stage.broker.start()


def _wait_until_ready(stage: Stage) -> None:
    stage.broker.wait_until_ready(RECOVERY_SECONDS)
