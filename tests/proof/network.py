"""The network between the hosts of a cluster: who reaches whom where, and cutting two of them apart.

A cut is a pulled cable: nothing passes, nobody is told, and what was sent may still arrive once it is whole. `Kernel`
gives every host a network namespace of its own on one bridge; where the machine does not allow that, `Relays` puts a
TCP proxy on each way from one host to another. Not here: what runs on the hosts.
"""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
from pathlib import Path
from typing import Final, Protocol

from tests.proof.proxy import Proxy
from tests.support.needs import find_program, needs
from tests.support.processes import Program, wait_until

OUTSIDE: Final = "outside"
"""The host that this process stands on, with the senders and the destinations."""

_CLONE_NEWNET: Final = 0x40000000
_ADDRESS: Final = "10.77.0.{}"


class Network(Protocol):
    """Hosts are made by being named."""

    cut_is: str
    """How two hosts are cut apart here, for people."""

    def host(self, name: str) -> str:
        """The address that programs of this host listen on."""

    def before(self, name: str) -> list[str]:
        """What a command begins with that shall run on this host; it ends with this process at the latest."""

    def way(self, near: str, far: str, port: int) -> tuple[str, int]:
        """Where a program on `near` reaches this port of `far`."""

    def cut(self, one: str, other: str) -> None:
        """From now on they do not hear each other."""

    def heal(self, one: str, other: str) -> None:
        """They hear each other again."""

    def close(self) -> None:
        """Takes everything down that was made."""


class Kernel:
    """Network namespaces on a bridge; a cut isolates two of its ports from each other, so that frames vanish."""

    cut_is = "network namespaces, two ports of their bridge isolated from each other"

    def __init__(self, folder: Path) -> None:
        """Takes this process into a namespace of its own, so it must be the first thing and the only thread.

        Raises `OSError` where the machine does not allow it.
        """
        self._programs = {name: needs(name) for name in ("ip", "nsenter", "unshare", "sleep", "setpriv")}
        self._log = folder / "network.log"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", "bridge", "type", "bridge")
        # Without ARP: it stands beside the outside's own end, and would answer for its address past the cable.
        self._ip("link", "set", "bridge", "arp", "off", "up")
        self._numbers: dict[str, int] = {}
        self._holders: dict[str, Program] = {}
        self._cuts: set[frozenset[str]] = set()
        self.host(OUTSIDE)

    def host(self, name: str) -> str:
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers) + 1
            self._add(name)
        return _ADDRESS.format(self._numbers[name])

    def before(self, name: str) -> list[str]:
        self.host(name)
        inside = (
            [] if name == OUTSIDE else [self._programs["nsenter"], f"--net={self._namespace(name)}", "--"]
        )
        return [*self._mortal(), *inside]

    def way(self, near: str, far: str, port: int) -> tuple[str, int]:
        return self.host(far), port

    def cut(self, one: str, other: str) -> None:
        # Two cuts at once would cut all their four ends apart from each other.
        assert not self._cuts, "one cut at a time"
        self._cuts.add(frozenset((one, other)))
        self._isolate("on", one, other)

    def heal(self, one: str, other: str) -> None:
        self._isolate("off", one, other)
        self._cuts.discard(frozenset((one, other)))

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()

    def _add(self, name: str) -> None:
        """Its end of the cable is `eth0`, the bridge's `port<number>`."""
        number = self._numbers[name]
        self._ip("link", "add", f"port{number}", "type", "veth", "peer", "name", f"end{number}")
        self._ip("link", "set", f"port{number}", "master", "bridge", "up")
        inside: list[str] = []
        if name != OUTSIDE:
            command = [*self._mortal(), self._programs["unshare"], "--net", "--", self._programs["sleep"]]
            self._holders[name] = Program([*command, "infinity"], self._log)
            wait_until(lambda: self._entered(name), f"{name} has a namespace of its own")
            self._ip("link", "set", f"end{number}", "netns", str(self._holders[name].pid))
            inside = [self._programs["nsenter"], f"--net={self._namespace(name)}", "--"]
        self._ip("link", "set", f"end{number}", "name", "eth0", before=inside)
        self._ip("address", "add", f"{_ADDRESS.format(number)}/24", "dev", "eth0", before=inside)
        for device in ("lo", "eth0"):
            self._ip("link", "set", device, "up", before=inside)

    def _namespace(self, name: str) -> str:
        return f"/proc/{self._holders[name].pid}/ns/net"

    def _entered(self, name: str) -> bool:
        return os.readlink(self._namespace(name)) != os.readlink("/proc/self/ns/net")

    def _isolate(self, state: str, *names: str) -> None:
        for name in names:
            device = f"port{self._numbers[name]}"
            self._ip("link", "set", device, "type", "bridge_slave", "isolated", state)

    def _mortal(self) -> list[str]:
        return [self._programs["setpriv"], "--pdeathsig=KILL", "--"]

    def _ip(self, *arguments: str, before: list[str] | None = None) -> None:
        command = [*(before or []), self._programs["ip"], *arguments]
        finished = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if finished.returncode:
            raise OSError(f"ip {' '.join(arguments)}: {finished.stderr.strip()}")


class Relays:
    """Everything on loopback, with a proxy on every way; a cut is a proxy that stops forwarding without closing."""

    cut_is = "proxies that stop forwarding without closing"

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._relays: dict[tuple[str, str, int], Proxy] = {}

    def host(self, name: str) -> str:
        return "127.0.0.1"

    def before(self, name: str) -> list[str]:
        return [needs("setpriv"), "--pdeathsig=KILL", "--"]

    def way(self, near: str, far: str, port: int) -> tuple[str, int]:
        if near == OUTSIDE:
            return "127.0.0.1", port
        key = near, far, port
        if key not in self._relays:
            self._relays[key] = Proxy([("127.0.0.1", port)], self._dice)
        return "127.0.0.1", self._relays[key].port

    def cut(self, one: str, other: str) -> None:
        for relay in self._between(one, other):
            relay.cut()

    def heal(self, one: str, other: str) -> None:
        for relay in self._between(one, other):
            relay.heal()

    def close(self) -> None:
        for relay in self._relays.values():
            relay.close()

    def _between(self, one: str, other: str) -> list[Proxy]:
        ends = {one, other}
        return [relay for (near, far, _), relay in self._relays.items() if {near, far} == ends]


def best(folder: Path, dice: random.Random, wanted: str = "") -> tuple[Network, str]:
    """The network that this machine allows, and why it is not the kernel's own (empty: it is).

    `wanted`: `kernel` or `relays`, nothing else will do then. Call it once and before any thread is started.
    """
    if wanted == "relays":
        return Relays(dice), "as asked for"
    absent = [name for name in ("ip", "nsenter", "unshare") if find_program(name) is None]
    why = f"{', '.join(absent)} is not installed" if absent else ""
    if not why:
        try:
            return Kernel(folder), ""
        except OSError as error:
            why = str(error)
    if wanted:
        raise SystemExit(f"no network namespaces here: {why}")
    return Relays(dice), why
