"""The stage of several nodes: two of each role, PostgreSQL and RabbitMQ or Redis, each on a host of its own.

Senders reach the intake nodes behind one address: each new connection gets the next node that lives. EPJ and PACS stand
outside. What is done to it: tests/proof/harms.py.
"""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.proof import check
from tests.proof.check import Findings
from tests.proof.network import OUTSIDE, Network
from tests.proof.proxy import Proxy
from tests.proof.stage import Stage, shorter
from tests.support.broker import Broker
from tests.support.mllp import Behaviour
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis

BUSES: Final[Mapping[str, type[RabbitMq | Redis]]] = {"amqp": RabbitMq, "redis": Redis}
ROLES: Final = ("intake", "router", "deliver", "worklist")
LAYOUT: Final = {f"{role}-{number}": (role,) for role in ROLES for number in range(2)}
"""Host to the roles of its node."""

STORE, BUS = "store", "bus"
"""The hosts of the servers."""

PATIENTS: Final = 8
"""Of each sender: more lanes than there are connections."""

PAUSE: Final = 0.2
"""Of each sender, in seconds: ten processes share the machine, and a queue would only hide what goes on."""

AHEAD: Final = 100
"""Messages of one sender that may be under way, some ten seconds of its load: on a machine that is busy with other
things it would else be acknowledged faster than the cluster delivers, until no recovery is in time."""

ANSWER_SECONDS: Final = 0.02
"""What the EPJ takes for a message."""

START_SECONDS: Final = 90.0
"""What a node gets to be ready, started again as often as it ends meanwhile: a supervisor does no less."""

RECOVERY_SECONDS: Final = 90.0
"""What the cluster gets to take and deliver again: leases of 10 s, reconnects and two cores for all of it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One process of the broker (`broker run --role …`), on a host of the same name."""

    name: str
    roles: Sequence[str]
    broker: Broker

    def __str__(self) -> str:
        return self.name


def slowly(_message: bytes) -> Behaviour:
    """As receivers answer: what is in flight when something is harmed is what matters."""
    time.sleep(ANSWER_SECONDS)
    return "AA"


class Cluster(Stage):
    """All of it. Use `set_up`."""

    still_seconds = 30.0

    def __init__(
        self,
        folder: Path,
        name: str,
        network: Network,
        bus: str,
        say: Callable[[str], None],
        settings: Mapping[str, str],
        answer: Callable[[bytes], Behaviour],
    ) -> None:
        """`bus`: of `BUSES`; `say`: takes what is done, for people; `settings`: of all nodes; `answer`: the EPJ's."""
        super().__init__(folder, name, network.host(OUTSIDE))
        self.epj.behaviour = answer
        self.network, self.say = network, say
        self.store = Postgres(host=network.host(STORE), before=network.before(STORE))
        self.bus = BUSES[bus](folder, host=network.host(BUS), before=network.before(BUS))
        self.database = ""
        (folder / "spool").mkdir()
        self.harmed = 0
        self._settings = {
            "BROKER_EXECUTOR": "celery",
            "BROKER_SPOOL": str(folder / "spool"),
            **shorter(folder, connections=2),
            **settings,
        }
        self.nodes = [self._node(host, roles) for host, roles in LAYOUT.items()]
        takers = [node.broker for node in self.of("intake")]
        self._fronts = {
            b"ADT": self._front([(taker.host, taker.pas_port) for taker in takers]),
            b"ORM": self._front([(taker.host, taker.orders_port) for taker in takers]),
            b"DICOM": self._front([(taker.host, taker.dicom_port) for taker in takers]),
        }
        ports = {kind: self._fronts[kind].port for kind in (b"ADT", b"ORM")}
        self.surround(ports, self._fronts[b"DICOM"].port, repeats=ports, patients=PATIENTS, pause=PAUSE)
        self._arrived: set[bytes] = set()
        self._read = 0
        self._reading = threading.Lock()
        for sender in self.senders:
            sender.ahead = lambda acknowledged: check.ahead(acknowledged, self._told(), AHEAD)

    def start(self) -> None:
        self.store.start()
        self.bus.start()
        self.database = self.store.database()
        for node in self.nodes:
            node.broker.configure({"BROKER_STORE": self._store_of(node), "BROKER_BUS": self._bus_of(node)})
            node.broker.launch()
        for node in self.nodes:
            node.broker.wait_until_ready(START_SECONDS)

    def of(self, role: str) -> list[Node]:
        return [node for node in self.nodes if node.roles == (role,)]

    def leader(self) -> Node:
        """The router that has the lease."""
        leaders: list[Node] = []

        def look() -> bool:
            leaders[:] = [node for node in self.nodes if "leader" in self.leases(node)]
            return bool(leaders)

        wait_until(look, "a router leads", RECOVERY_SECONDS)
        return leaders[0]

    def leases(self, node: Node) -> list[str]:
        """What stands as this node's, whether in time or not."""
        owners = self.store.rows("SELECT name, owner FROM lease", self.database)
        return [name for name, owner in owners if str(node.broker.data) in owner]

    def catch(self) -> Node:
        """SIGSTOP to a deliver node while it has several deliveries in hand."""
        nodes = itertools.cycle(self.of("deliver"))
        caught: list[Node] = []

        def look() -> bool:
            node = next(nodes)
            node.broker.signal(signal.SIGSTOP)
            if any(str(node.broker.data) in owner for (owner,) in self.store.rows(_IN_HAND, self.database)):
                caught.append(node)
            else:
                node.broker.signal(signal.SIGCONT)
            return bool(caught)

        wait_until(look, "a deliver node has several deliveries in hand", RECOVERY_SECONDS)
        return caught[0]

    def kill(self, node: Node) -> None:
        """kill -9."""
        node.broker.kill()
        self.kills += 1

    def start_again(self, node: Node) -> None:
        """As a supervisor does: again and again until it is ready."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            node.broker.launch()
            try:
                node.broker.wait_until_ready(START_SECONDS)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                node.broker.kill()
                time.sleep(1.0)
            else:
                return

    @contextmanager
    def cut(self, one: str, other: str) -> Iterator[None]:
        """Two hosts do not hear each other meanwhile."""
        self.network.cut(one, other)
        self.harmed += 1
        try:
            yield
        finally:
            self.network.heal(one, other)

    def goes_on(self) -> tuple[float, float]:
        """Waits until every sender is answered anew and what it is answered for has arrived: seconds for each."""
        begin = time.monotonic()
        everyone = [*self.senders, *self.modalities]
        before = [len(each.acknowledged) for each in everyone]
        wait_until(
            lambda: all(len(each.acknowledged) > n for each, n in zip(everyone, before, strict=True)),
            "every sender is acknowledged again",
            RECOVERY_SECONDS,
        )
        taken = time.monotonic() - begin
        told = {check.told_of(sender.acknowledged[-1][0]) for sender in self.senders}
        stored = {modality.acknowledged[-1] for modality in self.modalities}
        wait_until(lambda: told <= self._told(), "what is acknowledged is at the EPJ", RECOVERY_SECONDS)
        wait_until(
            lambda: stored <= set(self.pacs.stored), "what is acknowledged is at the PACS", RECOVERY_SECONDS
        )
        return taken, time.monotonic() - begin

    @property
    def asked(self) -> Broker:
        return self.of("router")[0].broker

    def worklists(self) -> list[tuple[str, int]]:
        return [(node.broker.host, node.broker.dicom_port) for node in self.of("worklist")]

    @property
    def connections_harmed(self) -> int:
        return self.harmed

    def shut_down(self) -> Findings:
        found = Findings()
        for what, sql in _LEFT.items():
            if count := self.store.rows(sql, self.database)[0][0]:
                found.broken.append(f"{count} {what}")
        reconciled = self.asked.command("reconcile", "--registers", timeout=300.0)
        if reconciled.returncode:
            found.broken.append(f"broker reconcile: {reconciled.stdout[-2000:]}{reconciled.stderr[-2000:]}")
        for node in self.nodes:
            node.broker.stop()
        return found

    def close(self) -> None:
        self.end_load()
        for node in self.nodes:
            node.broker.kill()
        for front in self._fronts.values():
            front.close()
        self.bus.stop()
        self.store.remove()
        self.epj.stop()
        self.pacs.stop()

    def _node(self, host: str, roles: Sequence[str]) -> Node:
        folder = self._folder / host
        folder.mkdir()
        epj, pacs = (self.network.way(host, OUTSIDE, sink.port) for sink in (self.epj, self.pacs))
        broker = Broker(
            folder,
            epj_port=epj[1],
            pacs_port=pacs[1],
            pacs_aet="REFUSES",
            settings={**self._settings, "BROKER_EPJ_HOST": epj[0], "BROKER_PACS_HOST": pacs[0]},
            roles=roles,
            host=self.network.host(host),
            before=self.network.before(host),
        )
        return Node(host, roles, broker)

    def _store_of(self, node: Node) -> str:
        host, port = self.network.way(node.name, STORE, self.store.port)
        return f"postgresql://broker@{host}:{port}/{self.database}"

    def _bus_of(self, node: Node) -> str:
        host, port = self.network.way(node.name, BUS, self.bus.port)
        return self.bus.url.replace(f"{self.bus.host}:{self.bus.port}", f"{host}:{port}")

    def _front(self, targets: Sequence[tuple[str, int]]) -> Proxy:
        return Proxy(targets, random.Random(0))

    def _told(self) -> set[bytes]:
        """The control ids of what the EPJ has heard of; it grows while it is looked at."""
        with self._reading:
            new = self.epj.messages[self._read :]
            self._read += len(new)
            self._arrived.update(map(check.told_of, new))
        return self._arrived


_IN_HAND: Final = (
    "SELECT owner FROM lease WHERE term IN (SELECT claim FROM delivery GROUP BY claim HAVING count(*)>2)"
)

_LEFT: Final = {
    "deliveries are still claimed": "SELECT count(*) FROM delivery WHERE claim IS NOT NULL",
    "deliveries did not leave": "SELECT count(*) FROM delivery WHERE state<>'delivered'",
    "events have no place": "SELECT count(*) FROM event WHERE place IS NULL",
}
"""What must not be left in the store at the end."""


@contextmanager
def set_up(
    folder: Path,
    name: str,
    network: Network,
    bus: str,
    say: Callable[[str], None],
    settings: Mapping[str, str],
    answer: Callable[[bytes], Behaviour] = slowly,
) -> Iterator[Cluster]:
    """A cluster, running; taken down at the end, whatever happens."""
    folder.mkdir()
    with ExitStack() as cleanup:
        stage = Cluster(folder, name, network, bus, say, settings, answer)
        cleanup.callback(stage.close)
        begin = time.monotonic()
        stage.open()
        say(f"{len(stage.nodes)} nodes were ready after {time.monotonic() - begin:.0f} s")
        yield stage
