"""Looks at the machine: ports, disk, locks, peers. Judges nothing (`judge.py`), and leaves nothing behind.

What Linux alone tells (`/proc`) is asked for where it is there; without it less is known.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from broker.doctor.encryption import Pem
from broker.doctor.judge import Port
from broker.errors import DeliveryError
from broker.net import echo_scu
from broker.net.certificate import validities
from broker.net.tls import PeerTls
from broker.net.web_client import WebClient
from broker.net.web_peer import WebPeer

_SYNCS: Final = 31
_LISTEN: Final = "0A"
"""`TCP_LISTEN` in `/proc/net/tcp`."""

PEM_OPTIONS: Final[Mapping[str, Literal["certificate", "authorities", "key"]]] = {
    "certificate_file": "certificate",
    "key_file": "key",
    "ca_file": "authorities",
    "client_ca_file": "authorities",
}
"""What the options name."""

_PATIENCE: Final = 5.0
"""Seconds that a destination gets to connect, and to answer."""


def port(name: str, host: str, number: int) -> Port:
    """Binds the port for a moment, without listening, and says who has it otherwise."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the broker binds: what is only waiting to be forgotten by the kernel is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as exc:
            holder = _listening(number)
            return Port(
                name=name,
                host=host,
                port=number,
                error=exc.errno or -1,
                holder=holder,
                holder_name=_command(holder) if holder else "",
            )
    return Port(name=name, host=host, port=number)


def broker_on(data: Path) -> int | None:
    """The process that holds the data folder's lock (`broker.runtime.broker`); None: nobody that can be seen."""
    try:
        lock, table = (data / "broker.lock").stat(), Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    for kind, process, major, minor, inode in re.findall(
        r"^\d+: (\w+) +\w+ +\w+ +(\d+) ([0-9a-f]+):([0-9a-f]+):(\d+)", table, re.MULTILINE
    ):
        # Where one file system spans several devices, stat(2) names another one than the kernel's table.
        device = (int(major, 16), int(minor, 16))
        same = device == (os.major(lock.st_dev), os.minor(lock.st_dev)) or not os.major(lock.st_dev)
        if kind == "FLOCK" and int(inode) == lock.st_ino and same:
            return int(process)
    return None


def file_system(folder: Path) -> tuple[str, str]:
    """(kind, mount point) of the file system that holds the folder; empty where the kernel does not tell."""
    try:
        return mounted(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), folder.resolve())
    except OSError:
        return "", ""


def mounted(mounts: str, folder: Path) -> tuple[str, str]:
    """As `file_system`, from the text of `mountinfo` (proc(5)): the longest mount point, the last one of equals."""
    found = ("", "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), before.split()[4])
        if folder.is_relative_to(point) and len(point) >= len(found[1]):
            found = (after.split()[0], point)
    return found


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: where a start would make it."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def writing(folder: Path) -> tuple[float, float]:
    """(median seconds of 4 KiB with `fdatasync`, seconds that the file system's time is ahead). Raises `OSError`."""
    with tempfile.TemporaryFile(dir=folder) as file:
        seconds = []
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)[_SYNCS // 2], os.fstat(file.fileno()).st_mtime - time.time()


def connects(host: str, port_: int) -> str:
    """Opens a TCP connection and closes it; what went wrong, or nothing."""
    try:
        socket.create_connection((host, port_), timeout=_PATIENCE).close()
    except OSError as exc:
        return f"no connection to {host}:{port_}: {exc.strerror or type(exc).__name__}"
    return ""


def echoes(host: str, port_: int, *, called_aet: str, calling_aet: str, tls: PeerTls | None = None) -> str:
    """C-ECHO; what went wrong, or nothing."""
    return echo_scu.echo(
        host, port_, called_aet=called_aet, calling_aet=calling_aet, patience=_PATIENCE, tls=tls
    )


def pem(option: str, path: str) -> Pem:
    """A file of certificates, or a key, which is not read. Raises `OSError`, or `ValueError`: it holds none."""
    kind = PEM_OPTIONS[option.rpartition(".")[2]]
    file = Path(path)
    return Pem(
        option=option,
        path=path,
        kind=kind,
        mode=file.stat().st_mode,
        validities=() if kind == "key" else validities(file.read_text(encoding="ascii", errors="replace")),
    )


def searches(peer: WebPeer) -> str:
    """QIDO-RS for a study that nobody has; what went wrong, or nothing."""
    hasty = peer.model_copy(update={"connect_timeout": _PATIENCE, "response_timeout": _PATIENCE})
    client = WebClient(hasty)
    try:
        client.verify()
    except DeliveryError as exc:
        return str(exc)
    finally:
        client.close()
    return ""


def _listening(number: int) -> int | None:
    """The process that listens on the port, as far as this user may see it."""
    inodes = set(_listening_sockets(number))
    for folder in Path("/proc").glob("[0-9]*/fd") if inodes else ():
        with suppress(OSError):  # another user's, or it has just ended
            for handle in folder.iterdir():
                with suppress(OSError):
                    if str(handle.readlink()).removeprefix("socket:[").rstrip("]") in inodes:
                        return int(folder.parent.name)
    return None


def _listening_sockets(number: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == number:
                    yield fields[9]


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "a program"
