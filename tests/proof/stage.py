"""The broker with everything around it: a disk that can fail and forget, proxies, senders, an EPJ and a PACS.

Times between attempts are shortened: a hospital's would make each round minutes long. Nothing else is changed.
"""

from __future__ import annotations

import errno
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.proof.disk import Disk
from tests.proof.load import Repeater, Sender, StoreSender, instances, patients_story
from tests.proof.proxy import Proxy
from tests.support.broker import Broker
from tests.support.flows import accepted
from tests.support.messages import Person, adt
from tests.support.mllp import MllpSink
from tests.support.refusing import RefusingPacs
from tests.support.shared import REPOSITORY

SENDERS: Final = 4
MODALITIES: Final = 2
DISK_SIZE: Final = "200m"
"""Above the broker's own limit of free space, with room for what one episode writes."""

NO_DISK: Final = "a small disk to fill cannot be mounted here (it takes root and the right to mount)"

_SHORTER: Final = (
    (
        "config/broker.yaml",
        r"(port: \$\{env:BROKER_EPJ_PORT.*)",
        r"\1\n    ack_timeout: 2s\n    connect_timeout: 2s",
    ),
    ("config/broker.yaml", r"(called_aet: \$\{.*)", r"\1\n    response_timeout: 3s\n    connect_timeout: 2s"),
    ("routes/*.yaml", r"retry: \{[^}]*\}", "retry: { first: 100ms, factor: 2, max: 1s }"),
)


class Stage:
    """One broker and its surroundings in a folder of their own. Use `set_up`."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        """`name`: the seed and the number of the episode; every decision follows from it. `settings`: of `Broker`."""
        self._name = name
        self.dice = random.Random(name)
        self.stop = threading.Event()
        self.data = folder / "data"
        self.data.mkdir()
        work = folder / "work"
        work.mkdir()
        self.mounted = _mount(self.data)
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
            settings={**self.disk.environment, "BROKER_CONFIG": str(_configuration(folder)), **settings},
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

    def end_load(self) -> list[str]:
        """Stops the senders. Returns what does not stop."""
        self.stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=20)
        return ["a sender hangs" for thread in self._threads if thread.is_alive()]

    def fill_disk(self) -> None:
        """Takes all space there is. Raises `OSError` on a disk that is not our own small one."""
        assert self.mounted, "only our own disk may be filled"
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(1 << 16))
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise

    def free_disk(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Ends everything that was started here."""
        self.end_load()
        self.broker.kill()
        for proxy in self.proxies:
            proxy.close()
        self.epj.stop()
        self.pacs.stop()
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.data], check=True)

    @property
    def _ballast(self) -> Path:
        return self.data / "ballast"

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


def can_mount(folder: Path) -> bool:
    """Whether this machine lets us have a small disk of our own."""
    if not _mount(folder):
        return False
    subprocess.run(["umount", folder], check=True)
    return True


def _mount(folder: Path) -> bool:
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "proof", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _configuration(folder: Path) -> Path:
    """The shipped configuration with shorter waits: the path of its settings file."""
    for name in ("config", "routes"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for files, pattern, shorter in _SHORTER:
        found = 0
        for file in folder.glob(files):
            text, count = re.subn(pattern, shorter, file.read_text(encoding="utf-8"))
            file.write_text(text, encoding="utf-8")
            found += count
        assert found, f"{files} no longer has {pattern}"
    return folder / "config" / "broker.yaml"
