"""The broker with everything around it: a disk that can fail and forget, proxies, senders, an EPJ and a PACS.

Times between attempts are shortened: a hospital's would make each round minutes long. Nothing else is changed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.proof.disk import Disk
from tests.proof.load import Repeater, Sender, StoreSender, instances, patients_story
from tests.proof.proxy import Proxy
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.disk import CannotMountError, SmallDisk
from tests.support.flows import accepted
from tests.support.messages import Person, adt
from tests.support.mllp import MllpSink
from tests.support.refusing import RefusingPacs

SENDERS: Final = 4
MODALITIES: Final = 2
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


class Stage:
    """One broker and its surroundings in a folder of their own. Use `set_up`."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        """`name`: the seed and the number of the episode; every decision follows from it. `settings`: of `Broker`."""
        self._name = name
        self.dice = random.Random(name)
        self.stop = threading.Event()
        self.data = folder / "data"
        self.data.mkdir()
        self.small_disk: SmallDisk | None = None
        work = folder / "work"
        work.mkdir()
        with suppress(CannotMountError):
            self.small_disk = SmallDisk(self.data, DISK_BYTES)
        self.disk = Disk(self.data, work)
        self.epj, self.pacs = MllpSink(), RefusingPacs(0)
        self.epj.start()
        self.pacs.start()
        self.to_epj, self.to_pacs = self._proxy("EPJ", self.epj.port), self._proxy("PACS", self.pacs.port)
        self.broker = Broker(
            folder,
            epj_port=self.to_epj.port,
            pacs_port=self.to_pacs.port,
            pacs_aet="REFUSES",
            settings={**self.disk.environment, **changed(folder, _SHORTER, _SHORTER_ROUTES), **settings},
        )
        ports = {b"ADT": self.broker.pas_port, b"ORM": self.broker.orders_port}
        by_proxy = {kind: self._proxy(kind.decode(), port) for kind, port in ports.items()}
        self.dicom = self._proxy("DICOM", self.broker.dicom_port)
        self.proxies = [self.to_epj, self.to_pacs, self.dicom, *by_proxy.values()]
        self.full = threading.Event()
        self.kills = 0
        self.senders = [
            Sender(
                ports={kind: proxy.port for kind, proxy in by_proxy.items()},
                messages=patients_story(number),
                dice=self._dice(f"sender {number}"),
                stop=self.stop,
                pause=0.01,
                haste=0.02,
                batches=0.1,
                full=self.full,
            )
            for number in range(SENDERS)
        ]
        self.modalities = [
            StoreSender(
                port=self.dicom.port,
                objects=instances(folder, number),
                dice=self._dice(f"modality {number}"),
                stop=self.stop,
                pause=0.1,
                full=self.full,
            )
            for number in range(MODALITIES)
        ]
        self.repeater = Repeater(
            senders=self.senders, ports=ports, dice=self._dice("repeats"), stop=self.stop
        )
        self._threads = [
            threading.Thread(target=each.run, daemon=True)
            for each in (*self.senders, *self.modalities, self.repeater)
        ]

    def open(self) -> None:
        """Starts the broker, tells it of the patients whose images will come, and starts the load."""
        self.broker.start()
        with self.broker.pas() as pas:
            for number in range(MODALITIES):
                accepted(pas, adt("A04", f"74{number}-0", Person(number=f"74{number}")))
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """kill -9."""
        self.broker.kill()
        self.kills += 1

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

    def close(self) -> None:
        """Ends everything that was started here."""
        self.end_load()
        self.broker.kill()
        for proxy in self.proxies:
            proxy.close()
        self.epj.stop()
        self.pacs.stop()
        if self.small_disk is not None:
            self.small_disk.unmount()

    def _dice(self, whose: str) -> random.Random:
        return random.Random(f"{self._name} {whose}")

    def _proxy(self, name: str, target: int) -> Proxy:
        return Proxy(target, self._dice(f"proxy {name}"))


@contextmanager
def set_up(folder: Path, name: str, settings: Mapping[str, str]) -> Iterator[Stage]:
    """A stage, running; taken down at the end, whatever happens."""
    folder.mkdir()
    with ExitStack() as cleanup:
        stage = Stage(folder, name, settings)
        cleanup.callback(stage.close)
        stage.open()
        yield stage


def why_no_small_disk(folder: Path) -> str:
    """Why this machine lets us have no small disk of our own to fill; empty when it does."""
    try:
        SmallDisk(folder / "try", DISK_BYTES).unmount()
    except CannotMountError as exc:
        return str(exc)
    return ""
