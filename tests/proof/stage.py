"""What a broker is harmed on: senders, an EPJ and a PACS around it; and the stage of one process, with a disk that can
fail and forget. Times between attempts are shortened: a hospital's would make each round minutes long. Nothing else is
changed. The stage of several nodes is tests/proof/cluster.py.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.proof.check import Findings
from tests.proof.disk import Disk
from tests.proof.load import PATIENTS, Repeater, Sender, StoreSender, instances, patients_story
from tests.proof.proxy import Proxy
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.disk import CannotMountError, SmallDisk
from tests.support.flows import accepted
from tests.support.messages import Person, adt
from tests.support.mllp import MllpClient, MllpSink
from tests.support.refusing import RefusingPacs

SENDERS: Final = 4
MODALITIES: Final = 2
KNOWN: Final = "2.25.10"
"""Whose objects the first modality sends (`load.instance_number`): PAS tells of him and of no other."""

DISK_BYTES: Final = 200 << 20
"""Above the broker's own limit of free space, with room for what one episode writes."""

_SHORTER: Final = {
    "port: ${env:BROKER_EPJ_PORT:-6661}": "port: ${env:BROKER_EPJ_PORT:-6661}\n    ack_timeout: 2s",
    "  pacs:                                      # images": "  pacs:\n    response_timeout: 3s",
}
_SHORTER_ROUTES: Final = {
    f"retry: {{ {waits} }}": "retry: { first: 100ms, factor: 2, max: 1s }"
    for waits in ("first: 1s, factor: 2, max: 5m", "first: 2s, factor: 2, max: 10m")
}


class Stage(ABC):
    """The surroundings, in a folder of their own. Everything is judged through them."""

    still_seconds = 10.0
    """So long nothing more must have left before the broker counts as stuck: every wait on the stage is far shorter."""

    def __init__(self, folder: Path, name: str, host: str = "127.0.0.1") -> None:
        """`name`: the seed and the number of the episode; every decision follows from it. `host`: of EPJ and PACS."""
        self._folder, self._name = folder, name
        self.dice = random.Random(name)
        self.stop, self.full = threading.Event(), threading.Event()
        self.kills = 0
        self.epj, self.pacs = MllpSink(host=host), RefusingPacs(0, host)
        self.epj.start()
        self.pacs.start()

    def surround(
        self,
        ports: Mapping[bytes, int],
        dicom_port: int,
        repeats: Mapping[bytes, int],
        patients: int = PATIENTS,
        pause: float = 0.01,
    ) -> None:
        """Makes the load. `ports`, `repeats`: by message type (`ADT`, `ORM`), on loopback; `patients`: per sender;
        `pause`: of a sender between two messages, at most."""
        self.senders = [
            Sender(
                ports=ports,
                messages=patients_story(number, patients=patients, merges=True),
                dice=self._dice(f"sender {number}"),
                stop=self.stop,
                pause=pause,
                haste=0.02,
                batches=0.1,
                full=self.full,
            )
            for number in range(SENDERS)
        ]
        self.modalities = [
            StoreSender(
                port=dicom_port,
                objects=instances(self._folder, number),
                dice=self._dice(f"modality {number}"),
                stop=self.stop,
                pause=10 * pause,
                full=self.full,
            )
            for number in range(MODALITIES)
        ]
        self.repeater = Repeater(
            senders=self.senders, ports=repeats, dice=self._dice("repeats"), stop=self.stop
        )
        self._threads = [
            threading.Thread(target=each.run, daemon=True)
            for each in (*self.senders, *self.modalities, self.repeater)
        ]

    def open(self) -> None:
        """Starts the broker, tells it of the patient whose images will come, and starts the load."""
        self.start()
        with MllpClient(self.repeater.ports[b"ADT"]) as pas:
            accepted(pas, adt("A04", "740-0", Person(number="740")))
        for thread in self._threads:
            thread.start()

    @abstractmethod
    def start(self) -> None:
        """Starts the broker; returns when it is ready."""

    @property
    @abstractmethod
    def asked(self) -> Broker:
        """Which node says how much is still open."""

    @abstractmethod
    def worklists(self) -> list[tuple[str, int]]:
        """Where a modality may ask."""

    @abstractmethod
    def shut_down(self) -> Findings:
        """Stops the broker in order once it is idle; what only the stage itself sees."""

    @abstractmethod
    def close(self) -> None:
        """Ends everything that was started here."""

    @property
    @abstractmethod
    def connections_harmed(self) -> int: ...

    @property
    def taken_when_full(self) -> int:
        """Messages and objects that were acknowledged while `full` was set."""
        return sum(sender.taken_when_full for sender in (*self.senders, *self.modalities))

    def end_load(self) -> list[str]:
        """Stops the senders. Returns what does not stop."""
        self.stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=20)
        return ["a sender hangs" for thread in self._threads if thread.is_alive()]

    def _dice(self, whose: str) -> random.Random:
        return random.Random(f"{self._name} {whose}")


class Alone(Stage):
    """One broker of one process, with a disk that can be filled, fail and forget. Use `set_up`."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        """`settings`: of `Broker`."""
        super().__init__(folder, name)
        self.data = folder / "data"
        self.data.mkdir()
        self.small_disk: SmallDisk | None = None
        work = folder / "work"
        work.mkdir()
        with suppress(CannotMountError):
            self.small_disk = SmallDisk(self.data, DISK_BYTES)
        self.disk = Disk(self.data, work)
        self.to_epj, self.to_pacs = self._proxy("EPJ", self.epj.port), self._proxy("PACS", self.pacs.port)
        self.broker = Broker(
            folder,
            epj_port=self.to_epj.port,
            pacs_port=self.to_pacs.port,
            pacs_aet="REFUSES",
            settings={**self.disk.environment, **shorter(folder), **settings},
        )
        ports = {b"ADT": self.broker.pas_port, b"ORM": self.broker.orders_port}
        by_proxy = {kind: self._proxy(kind.decode(), port) for kind, port in ports.items()}
        self.dicom = self._proxy("DICOM", self.broker.dicom_port)
        self.proxies = [self.to_epj, self.to_pacs, self.dicom, *by_proxy.values()]
        self.surround({kind: proxy.port for kind, proxy in by_proxy.items()}, self.dicom.port, repeats=ports)

    def start(self) -> None:
        self.broker.start()

    def kill(self) -> None:
        """kill -9."""
        self.broker.kill()
        self.kills += 1

    @property
    def asked(self) -> Broker:
        return self.broker

    def worklists(self) -> list[tuple[str, int]]:
        return [(self.broker.host, self.broker.dicom_port)]

    def shut_down(self) -> Findings:
        self.broker.stop()
        return Findings(broken=[f"a change of {p} went past the record" for p in self.disk.absorb()])

    @property
    def connections_harmed(self) -> int:
        return sum(proxy.faults for proxy in self.proxies)

    def close(self) -> None:
        self.end_load()
        self.broker.kill()
        for proxy in self.proxies:
            proxy.close()
        self.epj.stop()
        self.pacs.stop()
        if self.small_disk is not None:
            self.small_disk.unmount()

    def _proxy(self, name: str, target: int) -> Proxy:
        return Proxy([("127.0.0.1", target)], self._dice(f"proxy {name}"))


@contextmanager
def set_up(folder: Path, name: str, settings: Mapping[str, str]) -> Iterator[Alone]:
    """A stage, running; taken down at the end, whatever happens."""
    folder.mkdir()
    with ExitStack() as cleanup:
        stage = Alone(folder, name, settings)
        cleanup.callback(stage.close)
        stage.open()
        yield stage


def shorter(folder: Path, connections: int = 1) -> dict[str, str]:
    """Settings of a broker that waits less between its attempts; its configuration is put into the folder.

    `connections`: to each destination.
    """
    more = f"\n    connections: {connections}"
    return changed(folder, {text: other + more for text, other in _SHORTER.items()}, _SHORTER_ROUTES)


def why_no_small_disk(folder: Path) -> str:
    """Why this machine lets us have no small disk of our own to fill; empty when it does."""
    try:
        SmallDisk(folder / "try", DISK_BYTES).unmount()
    except CannotMountError as exc:
        return str(exc)
    return ""
