"""What is seen of a machine, judged. Pure: values in, findings out; no file, socket or clock."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.dicom.vr_faults import vr_faults
from broker.doctor.finding import Finding, fault, ok, warning

AE_TITLE: Final = "ScheduledStationAETitle"
"""An attribute whose value is an AE title (PS3.5 6.2): its rule is theirs."""

TOO_FAST: Final = 10e-6
"""Seconds: no disk, and no controller's memory behind a bus, makes 4 KiB durable in less."""

SLOW: Final = 20e-3
"""Seconds: each commit, and so each sender, waits this long."""

VOLATILE: Final = {"tmpfs": "memory", "ramfs": "memory", "overlay": "a container's own layer"}
REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"}

ROOM_FACTOR: Final = 4
"""Below so many times `limits.min_free` there is not much time left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A listener's port as it was found. `error`: errno of the attempt to bind it, 0 where it could be bound."""

    name: str
    host: str
    port: int
    error: int = 0
    holder: int | None = None
    """Process that listens there; None: nobody, or it cannot be seen."""
    holder_name: str = ""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def ports(found: Sequence[Port], broker: int | None) -> Iterator[Finding]:
    """`broker`: the process that has the data folder; None while none runs."""
    named: dict[str, str] = {}
    for port in found:
        name = f"port {port.name}"
        if port.port and (first := named.setdefault(port.address, port.name)) != port.name:
            yield fault(
                name, f"{port.address} is also the port of {first}", "give each listener its own port"
            )
        else:
            yield _port(name, port, broker)


def _port(name: str, port: Port, broker: int | None) -> Finding:
    if not port.error:
        if broker is None or not port.port:
            return ok(name, f"{port.address} is free")
        return fault(
            name,
            f"{port.address} is not open, though a broker runs on this data folder (process {broker})",
            "it may still be starting: look at its log, and at `broker run`'s first lines",
        )
    if port.error == errno.EADDRINUSE:
        if broker is not None and port.holder in (broker, None):
            seen = "" if port.holder else "; by its socket that cannot be seen: run as its user"
            return ok(name, f"{port.address} is open, and a broker runs (process {broker}){seen}")
        who = (
            f"{port.holder_name} (process {port.holder})" if port.holder else "a program that cannot be seen"
        )
        return fault(name, f"{port.address} is taken by {who}", "stop that program, or change the port")
    if port.error == errno.EADDRNOTAVAIL:
        return fault(name, f"{port.host} is no address of this machine", "set `bind` or BROKER_BIND")
    if port.error == errno.EACCES:
        do = "take a port from 1024 on, or give the process CAP_NET_BIND_SERVICE"
        return fault(name, f"{port.address} may not be opened by this user", do)
    return fault(name, f"{port.address}: {errno.errorcode.get(port.error, port.error)}", "change the port")


def room(free: int, min_free: int, name: str = "disk room") -> Finding:
    """Bytes free on a disk against `limits.min_free`."""
    found = f"{free} bytes free, limits.min_free is {min_free}"
    if free < min_free:
        return fault(name, f"{found}: new messages are refused", "make room, or enlarge the disk")
    if free < ROOM_FACTOR * min_free:
        return warning(name, found, "make room before messages are refused (`broker retention`)")
    return ok(name, found)


def file_system(kind: str, mount: str) -> Finding:
    """Whether what is written there survives: `kind` as the kernel names it."""
    found = f"{kind} at {mount}"
    if kind in VOLATILE:
        do = "put BROKER_DATA on a disk: what was acknowledged would be gone"
        return warning("file system", f"{found} is {VOLATILE[kind]}", do)
    if kind in REMOTE:
        do = (
            "use a local disk or a block volume: the journal's WAL is for one machine, and locks may not hold"
        )
        return warning("file system", f"{found} is a network file system", do)
    return ok("file system", found)


def spool_system(kind: str, mount: str) -> Finding:
    """As `file_system`; a network file system is what nodes share."""
    found = f"{kind} at {mount}"
    if kind in VOLATILE:
        do = "put BROKER_SPOOL on a disk: what was acknowledged would be gone"
        return warning("spool file system", f"{found} is {VOLATILE[kind]}", do)
    return ok("spool file system", found)


def syncing(median: float, name: str = "fsync") -> Finding:
    """`median`: seconds that writing 4 KiB and `fdatasync` take."""
    found = f"4 KiB and fdatasync take {median * 1000:.2f} ms (median)"
    if median < TOO_FAST:
        do = "find out whether disk, hypervisor or mount options ignore flushes: an AA would not mean durable"
        return warning(name, f"{found}, faster than a disk can be", do)
    if median > SLOW:
        return warning(name, found, "each acknowledgement waits for it: use a faster disk")
    return ok(name, found)


def data_folder(path: str, *, writable: bool, mode: int, owner: int, user: int) -> Finding:
    """`mode` as `st_mode`; `owner` and `user` are numbers of the folder's owner and of who looks."""
    if not writable:
        return fault(
            "data folder", f"{path} cannot be written by this user", "run as its owner, or set BROKER_DATA"
        )
    if owner != user:
        do = "run commands as its owner: files that another user makes there stop the broker"
        return warning("data folder", f"{path} belongs to user {owner}, this is user {user}", do)
    if mode & 0o007:
        return warning("data folder", f"{path} is open to every user of this machine", f"chmod o= {path}")
    return ok("data folder", path)


def spool(path: str, *, there: bool, writable: bool) -> Finding:
    """A folder of received objects that is not the data folder: a start does not make it."""
    if not there:
        return fault("spool", f"{path} is not there", "mount it, or make the folder once, inside the mount")
    if not writable:
        return fault("spool", f"{path} cannot be written by this user", "run every node as its owner")
    return ok("spool", path)


def schema(found: int | None, newest: int) -> Finding:
    """The journal's version, None where there is no journal, against the one that this program writes."""
    if found is None:
        return ok("schema", f"no journal yet; the first start makes one of version {newest}")
    if found > newest:
        return fault(
            "schema", f"{found}; this program knows {newest}", "run the newer broker: there is no way back"
        )
    if found < newest:
        return warning(
            "schema", f"{found}; the next start makes it {newest}", "`broker backup` before that start"
        )
    return ok("schema", str(found))


def ae_titles(
    own: str,
    peers: Sequence[str],
    stations: Iterable[str],
    destinations: Mapping[str, tuple[str, str]],
    *,
    open_ae: bool,
    loopback: bool,
) -> Iterator[Finding]:
    """`destinations`: name to (called AE title, address). Titles are compared as they stand (PS3.8 9.3.2)."""
    name = "AE titles"
    findings: list[Finding] = []
    shown = set(stations)
    called = [title for title, _ in destinations.values()]
    for title in sorted({own, *peers, *shown, *called}):
        for broken in vr_faults({AE_TITLE: title}):
            findings.append(fault(name, f"'{title}': {broken.text}", "correct it where it stands"))
    for title, number in Counter(peers).items():
        if number > 1:
            findings.append(warning(name, f"{title} stands {number} times in dicom.peers", "leave one"))
    for place, titles in (
        ("dicom.peers", set(peers)),
        ("a table of stations", shown),
        ("outbound", set(called)),
    ):
        if own in titles:
            do = "give each system a title of its own"
            findings.append(fault(name, f"{own} is the broker's own, and stands in {place}", do))
    addresses: dict[str, str] = {}
    for title, address in destinations.values():
        if addresses.setdefault(title, address) != address:
            do = "ask which of them is meant: archives tell peers apart by title"
            findings.append(warning(name, f"{title} is the title of destinations at two addresses", do))
    folded: dict[str, str] = {}
    for title in sorted({own, *peers, *shown, *called}):
        if (other := folded.setdefault(title.casefold(), title)) != title:
            do = "write it as the device does: case makes them two"
            findings.append(warning(name, f"{other} and {title} differ only in case", do))
    if not open_ae and (unknown := sorted(shown - set(peers))):
        do = "add them to dicom.peers, or they get no worklist"
        findings.append(warning(name, f"stations that may not call: {', '.join(unknown)}", do))
    if open_ae and not loopback:
        do = "unset BROKER_OPEN_AE and name the modalities in dicom.peers"
        findings.append(warning(name, "any calling AE title is accepted from the network", do))
    if not findings:
        findings.append(
            ok(name, f"{own}, {len(set(peers))} peers, {len(shown)} stations, {len(called)} destinations")
        )
    yield from findings


def clock(
    now: datetime, *, built: datetime, newest: datetime | None, file_offset: float, windows: bool
) -> Finding:
    """`now` is aware and local. `built`: when this program was made; `newest`: the journal's last reception;
    `file_offset`: seconds that the file system's time is ahead; `windows`: a destination has hours of its own."""
    found = f"{now.isoformat(timespec='seconds')} ({now.tzname()})"
    right = "set the clock, and have chrony or systemd-timesyncd keep it"
    if now < built - timedelta(days=1):
        return fault("clock", f"{found} is before this program was made", right)
    if newest is not None and now < newest - timedelta(minutes=1):
        return fault("clock", f"{found} is before the journal's last message: the clock went back", right)
    if abs(file_offset) > 2.0:
        do = "keep both clocks by one time service"
        return warning("clock", f"{found}; the file system's time differs by {file_offset:.0f} s", do)
    if windows and not now.utcoffset() and now.tzname() in ("UTC", "GMT", None):
        do = "set TZ (Europe/Oslo): hours of destinations and MSH-7 of what we build are local time"
        return warning("clock", f"{found}, and a destination has `windows`", do)
    return ok("clock", found)


def packages(installed: Mapping[str, str], lock: str) -> Finding:
    """Installed versions by name against the text of `requirements.lock`; what is not installed is not asked for."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    have = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in installed.items()}
    others = [f"{n} {have[n]} (locked {v})" for n, v in locked.items() if have.get(n, v) != v]
    if others:
        do = "install what was tested: pip install --require-hashes -r requirements.lock"
        return warning("packages", f"not the locked versions: {', '.join(sorted(others))}", do)
    return ok("packages", f"{len(locked.keys() & have.keys())} packages are the locked ones")


def python(version: tuple[int, int], least: tuple[int, int], sqlite: str) -> Finding:
    """The interpreter, and the SQLite that apsw carries."""
    found = f"Python {version[0]}.{version[1]}, SQLite {sqlite}"
    if version < least:
        return fault("Python", found, f"use Python {least[0]}.{least[1]} or newer")
    return ok("Python", found)


def open_files(limit: int, connections: int) -> Finding:
    """RLIMIT_NOFILE (-1: none) against the connections that the settings allow."""
    needed = connections + 200  # journal, readers, objects on their way, the process itself
    found = f"{limit if limit >= 0 else 'unlimited'}, up to {needed} may be needed"
    if 0 <= limit < needed:
        return warning("open files", found, f"LimitNOFILE={max(4096, needed)} in the unit, or `ulimit -n`")
    return ok("open files", found)
