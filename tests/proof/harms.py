"""The rounds of the cluster: one harm at a time while the load goes on, then everything is started again.

Each waits until the cluster takes and delivers again, and says how long that took. What was lost by it is not looked at
here but at the end (tests/proof/episode.py).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.proof.check import Findings
from tests.proof.cluster import BUS, STORE, Cluster, Node
from tests.proof.network import OUTSIDE
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, encoded
from tests.support.processes import wait_until

LEASE_SECONDS: Final = 10.0
"""broker/store/lease.py: after so long another node may have taken over."""

TAKEOVER_SECONDS: Final = 60.0
"""What the others get for that."""

Harm = Callable[[Cluster], str]
"""Does it; returns what was done, for people."""


def kill_intake(stage: Cluster) -> str:
    return _killed(stage, stage.dice.choice(stage.of("intake")))


def kill_leader(stage: Cluster) -> str:
    """Started again at once, or only when the other one must have taken over."""
    waits = stage.dice.choice([0.0, LEASE_SECONDS + 2.0])
    return _killed(stage, stage.leader(), waits)


def kill_standby(stage: Cluster) -> str:
    leader = stage.leader()
    others = [node for node in stage.of("router") if node is not leader]
    return _killed(stage, stage.dice.choice(others or [leader]))


def kill_deliver(stage: Cluster) -> str:
    waits = stage.dice.choice([0.0, LEASE_SECONDS + 2.0])
    return _killed(stage, stage.catch(), waits)


def kill_worklist(stage: Cluster) -> str:
    """Meanwhile the other one answers."""
    node = stage.dice.choice(stage.of("worklist"))
    stage.kill(node)
    for other in stage.of("worklist"):
        if other is not node:
            with Scu(other.broker.dicom_port, [(WORKLIST, EXPLICIT)], host=other.broker.host) as scu:
                assert scu.find(encoded(worklist_query())), f"{other} shows nothing"
    stage.start_again(node)
    return str(node)


def stall_leader(stage: Cluster) -> str:
    leader = stage.leader()
    leader.broker.signal(signal.SIGSTOP)
    return _stalled(stage, leader)


def stall_deliver(stage: Cluster) -> str:
    return _stalled(stage, stage.catch())


def kill_bus(stage: Cluster) -> str:
    return _bus_killed(stage, wipe=False)


def wipe_bus(stage: Cluster) -> str:
    return _bus_killed(stage, wipe=True)


def restart_store(stage: Cluster) -> str:
    """Fast: sessions are ended, their transactions undone."""
    stage.store.stop()
    return _store_started(stage)


def crash_store(stage: Cluster) -> str:
    """Immediate: the start recovers."""
    stage.store.crash()
    return _store_started(stage)


def cut_store(stage: Cluster) -> str:
    return _cut(stage, stage.dice.choice(stage.nodes), STORE)


def cut_bus(stage: Cluster) -> str:
    return _cut(stage, stage.dice.choice([*stage.of("router"), *stage.of("deliver")]), BUS)


def cut_destination(stage: Cluster) -> str:
    return _cut(stage, stage.dice.choice(stage.of("deliver")), OUTSIDE)


def _killed(stage: Cluster, node: Node, waits: float = 0.0) -> str:
    stage.kill(node)
    time.sleep(waits or stage.dice.uniform(0.0, 1.0))
    stage.start_again(node)
    return f"{node}, started again {f'after {waits:.0f} s' if waits else 'at once'}"


def _stalled(stage: Cluster, node: Node) -> str:
    """Wakes up only when others have all that it had, and have gone on with it: what it does then comes late."""
    begin = time.monotonic()
    held = ", ".join(stage.leases(node))
    wait_until(lambda: not stage.leases(node), f"another node has what {node} had: {held}", TAKEOVER_SECONDS)
    time.sleep(stage.dice.uniform(2.0, 5.0))
    node.broker.signal(signal.SIGCONT)
    return f"{node}, which had {held}, for {time.monotonic() - begin:.0f} s"


def _bus_killed(stage: Cluster, *, wipe: bool) -> str:
    seconds = stage.dice.uniform(0.0, 4.0)
    stage.bus.kill()
    stage.kills += 1
    if wipe:
        stage.bus.wipe()
    time.sleep(seconds)
    stage.bus.start()
    return f"down for {seconds:.1f} s and its start, data {'deleted' if wipe else 'kept'}"


def _store_started(stage: Cluster) -> str:
    seconds = stage.dice.uniform(0.0, 3.0)
    time.sleep(seconds)
    stage.store.start()
    return f"down for {seconds:.1f} s and its start"


def _cut(stage: Cluster, node: Node, other: str) -> str:
    """For some seconds, or longer than a lease."""
    seconds = stage.dice.choice([stage.dice.uniform(1.0, 5.0), _longer_than_a_lease(stage)])
    with stage.cut(node.name, other):
        time.sleep(seconds)
    return f"{node} and {other} for {seconds:.0f} s"


def _longer_than_a_lease(stage: Cluster) -> float:
    return LEASE_SECONDS + stage.dice.uniform(1.0, 4.0)


def _round(name: str, harm: Harm) -> Callable[[Cluster], Findings]:
    """The harm at a random instant of the traffic, then until everything goes on."""

    def play(stage: Cluster) -> Findings:
        time.sleep(stage.dice.uniform(0.0, 1.5))  # the instant itself is what is tested
        what = harm(stage)
        taken, delivered = stage.goes_on()
        stage.say(f"{name}: {what}; taken again after {taken:.1f} s, delivered after {delivered:.1f} s")
        return Findings()

    return play


_HARMS: Final[tuple[Harm, ...]] = (
    *(kill_intake, kill_leader, kill_standby, kill_deliver, kill_worklist),
    *(stall_leader, stall_deliver, kill_bus, wipe_bus, restart_store, crash_store),
    *(cut_store, cut_bus, cut_destination),
)

KINDS: Final[Mapping[str, Callable[[Cluster], Findings]]] = {
    name: _round(name, harm) for harm in _HARMS for name in [harm.__name__.replace("_", "-")]
}
