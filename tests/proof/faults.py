"""The rounds: each does one kind of harm to a stage under load and sees to it that the broker comes back.

What was lost by it is not looked at here but at the end (tests/proof/episode.py).
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.proof.check import Findings
from tests.proof.stage import Alone
from tests.support.processes import wait_until

RECOVERY_SECONDS: Final = 30.0
"""What the broker gets to be ready again by itself."""


def crash(stage: Alone) -> Findings:
    """kill -9 at a random instant, and start again; now and then again before it has come far."""
    with _trouble(stage, chance=0.3):
        for _ in range(stage.dice.randint(1, 2)):
            _instant(stage.dice)
            stage.kill()
            _start(stage)
    return Findings()


def power(stage: Alone) -> Findings:
    """kill -9, and of the data folder stays what was synced and a random part of the rest.

    Syncs are slow before, so that an acknowledgement that does not wait for its own is caught; sometimes the process
    dies and is started before the power fails, so that it has read what was never synced.
    """
    dice = random.Random(stage.dice.random())  # how often the disk draws is not the seed's alone to say
    stage.disk.fail(sync_milliseconds=stage.dice.choice([0, 5, 20]))
    with _trouble(stage, chance=0.3):
        _instant(stage.dice)
        stage.kill()
        if stage.dice.random() < 0.3:
            _start(stage)
            time.sleep(stage.dice.uniform(0.0, 0.3))
            stage.kill()
    stage.disk.cut_power(dice)
    stage.disk.heal()
    stage.broker.start()
    return Findings()


def cut(stage: Alone) -> Findings:
    """Connections are cut, reset, half closed, delayed and gone deaf, at some or at all peers."""
    with _trouble(stage, chance=1.0):
        time.sleep(stage.dice.uniform(1.0, 3.0))
    return Findings()


def disk(stage: Alone) -> Findings:
    """No space, or too little, is left for a while: the broker says so, takes nothing, and recovers by itself."""
    found = Findings()
    _instant(stage.dice)
    assert stage.small_disk is not None, "only a disk of our own may be filled"
    stage.small_disk.leave(stage.dice.choice([0, 0, 32 << 20]))
    try:
        wait_until(lambda: not stage.broker.ready(), "/readyz says that the disk is full", RECOVERY_SECONDS)
        before = stage.taken_when_full
        stage.full.set()
        time.sleep(stage.dice.uniform(0.5, 1.5))
        if taken := stage.taken_when_full - before:
            found.taken_when_full.append(f"{taken} messages or objects")
    finally:
        stage.full.clear()
        stage.small_disk.relieve()
    _wait_until_ready(stage)
    return found


def errors(stage: Alone) -> Findings:
    """Writes and syncs fail for a while, some or all of them; sometimes the process dies of it."""
    dice = stage.dice
    code = dice.choice([errno.EIO, errno.ENOSPC])
    which = dice.choice(["write", "sync", "both"])
    percent = dice.choice([3, 20, 100])
    stage.disk.fail(
        write=(code, percent) if which != "sync" else (0, 0),
        sync=(errno.EIO, percent) if which != "write" else (0, 0),
    )
    time.sleep(dice.uniform(0.5, 2.0))
    if dice.random() < 0.3:
        stage.kill()
        stage.disk.heal()
        _start(stage)
    stage.disk.heal()
    _wait_until_ready(stage)
    return Findings()


KINDS: Final[Mapping[str, Callable[[Alone], Findings]]] = {
    "crash": crash,
    "cut": cut,
    "disk": disk,
    "errors": errors,
    "power": power,
}


@contextmanager
def _trouble(stage: Alone, chance: float) -> Iterator[None]:
    """With this chance, some or all connections have a bad time meanwhile."""
    troubled = stage.dice.sample(stage.proxies, stage.dice.randint(1, len(stage.proxies)))
    part = stage.dice.choice([0.02, 0.1, 0.3]) if stage.dice.random() < chance else 0.0
    for proxy in troubled:
        proxy.trouble = part
    yield
    for proxy in troubled:
        proxy.trouble = 0.0


def _instant(dice: random.Random) -> None:
    """The instant itself is what is tested."""
    time.sleep(dice.uniform(0.0, 1.2))


def _start(stage: Alone) -> None:
    """Starts on the folder as the process left it."""
    stage.disk.absorb()
    stage.broker.start()


def _wait_until_ready(stage: Alone) -> None:
    stage.broker.wait_until_ready(RECOVERY_SECONDS)
