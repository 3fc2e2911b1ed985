"""The checks of `broker doctor`, in the order of the report: each looks (`look.py`) and has it judged (`judge.py`).

Nothing is sent to a destination but a TCP connect, a C-ECHO or a search for a study that nobody has, nothing is put on
the bus, and nothing is written but a file that is gone again. One more check is one more function in `CHECKS`.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import apsw

import broker
from broker.bus.connection import unanswered
from broker.doctor import cluster, encryption, judge, look
from broker.doctor.cluster import Holder
from broker.doctor.finding import Finding, fault, ok, warning
from broker.errors import BrokerError, ConfigError, StoreError
from broker.net.web_peer import WebPeer
from broker.routing import tables
from broker.routing.lint import lint
from broker.runtime import leader
from broker.runtime.configured import configure
from broker.runtime.journals import journal_of
from broker.runtime.roles import EVERY, Role
from broker.runtime.surroundings import surroundings_of
from broker.settings import LOOPBACK, Settings
from broker.store.room import free_bytes
from broker.store.schema import CURRENT
from broker.store.transaction import Transaction

LEAST_PYTHON: Final = (3, 11)
LOCK: Final = "requirements.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The broker that is looked at: its settings, the environment, now (aware, local time), and what it does."""

    settings: Settings
    env: Mapping[str, str]
    now: datetime
    roles: frozenset[Role] = EVERY

    @property
    def data(self) -> Path:
        return self.settings.data_folder

    @property
    def loopback(self) -> bool:
        return self.settings.broker.bind in LOOPBACK


Check = Callable[[Scene], Iterable[Finding]]


def settings_and_routes(it: Scene) -> Iterator[Finding]:
    """What `broker check` says."""
    try:
        configured = configure(it.settings, it.env)
    except ConfigError as exc:
        yield from unreadable(exc)
        return
    faults = lint(configured.routes, surroundings_of(it.settings, it.env)).faults
    for found in faults:
        yield warning("settings and routes", str(found), "`broker check` shows the line")
    if not faults:
        yield ok("settings and routes", f"{it.settings.file.name}, {len(configured.routes.routes)} routes")


def unreadable(error: ConfigError) -> Iterator[Finding]:
    """Settings or routes that a start would not take."""
    for text in map(str, error.faults or (error,)):
        yield fault("settings and routes", text, "correct it; `broker check` shows the line")


def python(_it: Scene) -> Iterator[Finding]:
    yield judge.python(sys.version_info[:2], LEAST_PYTHON, apsw.sqlite_lib_version())


def packages(it: Scene) -> Iterator[Finding]:
    """The lock stands beside the folder of the settings, or beside the source."""
    for folder in (it.settings.file.parent.parent, Path(broker.__file__).parents[1]):
        if (folder / LOCK).is_file():
            installed = {d.metadata["Name"]: d.version for d in distributions()}
            yield judge.packages(installed, (folder / LOCK).read_text(encoding="utf-8"))
            return
    yield ok("packages", f"not compared: no {LOCK} beside the folder of the settings")


def ports(it: Scene) -> Iterator[Finding]:
    bind = it.settings.broker.bind
    found = [
        look.port(s.name, getattr(s.config, "bind", "") or bind, s.config.port)
        for s in it.settings.inbound
        if s.entry.enabled and hasattr(s.config, "port") and s.spec.role in it.roles
    ]
    if it.roles & {"intake", "worklist"}:
        dicom = it.settings.broker.dicom
        found.append(look.port("dicom", it.settings.dicom_bind, dicom.port))
        if dicom.tls is not None:
            found.append(look.port("dicom.tls", bind, dicom.tls.port))
    found.append(look.port("http", bind, it.settings.broker.http.port))
    yield from judge.ports(found, look.broker_on(it.data))


def disk(it: Scene) -> Iterator[Finding]:
    """Whether the data folder can be written, has room, and keeps what is synced."""
    folder = look.existing(it.data)
    seen, writable = folder.stat(), os.access(folder, os.W_OK | os.X_OK)
    if folder == it.data or not writable:
        yield judge.data_folder(
            str(folder), writable=writable, mode=seen.st_mode, owner=seen.st_uid, user=os.geteuid()
        )
    else:
        yield ok("data folder", f"{it.data} is not there yet; the first start makes it")
    yield judge.room(free_bytes(folder), it.settings.broker.limits.min_free)
    kind, mount = look.file_system(folder)
    if kind:
        yield judge.file_system(kind, mount)
    if writable:
        yield judge.syncing(look.writing(folder)[0])


def spool(it: Scene) -> Iterator[Finding]:
    """The folder of received objects, where it is not the data folder."""
    folder = it.settings.spool_folder
    if folder == it.data:
        return
    writable = os.access(folder, os.W_OK | os.X_OK)
    yield judge.spool(str(folder), there=folder.is_dir(), writable=writable)
    if writable:
        yield judge.room(free_bytes(folder), it.settings.broker.limits.min_free, "spool room")
        kind, mount = look.file_system(folder)
        if kind:
            yield judge.spool_system(kind, mount)
        yield judge.syncing(look.writing(folder)[0], "spool fsync")


def schema(it: Scene) -> Iterator[Finding]:
    database = journal_of(it.settings)
    try:
        yield judge.schema(database.version() or None, CURRENT)
    except StoreError as exc:
        yield fault("schema", str(exc), "start or repair the database; no message is taken without it")
    finally:
        database.close()


def clock(it: Scene) -> Iterator[Finding]:
    folder = look.existing(it.data)
    offset = look.writing(folder)[1] if os.access(folder, os.W_OK | os.X_OK) else 0.0
    newest = _newest(it)
    yield judge.clock(
        it.now,
        built=datetime.fromtimestamp(Path(broker.__file__).stat().st_mtime, UTC),
        newest=datetime.fromisoformat(newest) if newest else None,
        file_offset=offset,
        windows=any(s.entry.windows for s in it.settings.outbound),
    )


def bus(it: Scene) -> Iterator[Finding]:
    """Where events are published and Celery is woken; `memory://` is this process."""
    if it.settings.bus.shared:
        yield cluster.bus(str(it.settings.bus), unanswered(it.settings.bus))


def nodes(it: Scene) -> Iterator[Finding]:
    """What nodes that share a journal need; of a broker that has its journal to itself only the executor."""
    shared = bool(it.settings.broker.store.get_secret_value())
    celery = it.settings.broker.executor == "celery"
    if shared or celery:
        yield cluster.executor(celery=celery, store=shared, bus=it.settings.bus.shared)
    if not shared:
        return
    database = journal_of(it.settings)
    try:
        tx, began = database.read(), time.time()
        ahead = tx.now() - (began + time.time()) / 2
        holders = _holders(tx) if database.version() == CURRENT else None
    except StoreError:
        return  # `schema` tells
    finally:
        database.close()
    yield cluster.database_clock(ahead)
    folder = it.settings.spool_folder
    yield cluster.objects(
        apart=folder != it.data,
        kind=look.file_system(look.existing(folder))[0],
        host=socket.gethostname(),
        holders=holders or (),
    )
    if holders is not None:
        yield cluster.leader(next((h for h in holders if h.lease == leader.NAME), None))
        yield cluster.name(it.settings.node, holders, runs=look.broker_on(it.data) is not None)


def open_files(it: Scene) -> Iterator[Finding]:
    dicom = it.settings.broker.dicom.max_associations
    hl7 = sum(getattr(s.config, "max_connections", 0) for s in it.settings.inbound if s.entry.enabled)
    # An association has a file of its own while an object arrives; a delivery may have one open beside its connection.
    outbound = sum(2 * s.entry.connections for s in it.settings.outbound if s.entry.enabled)
    yield judge.open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 2 * dicom + hl7 + outbound)


def certificates(it: Scene) -> Iterator[Finding]:
    """What is not encrypted, and of what is each file that the settings name for it."""
    tls = it.settings.broker.dicom.tls
    yield encryption.transport(
        loopback=it.loopback, dicom="plain" if tls is None else "tls" if tls.only else "both"
    )
    found = []
    for option, path in _pem_files(it.settings):
        try:
            found.append(look.pem(option, path))
        except (OSError, ValueError):
            yield fault(
                encryption.NAME, f"{option}: {path} cannot be read", "see what `broker check` says of it"
            )
    yield from encryption.files(found, it.now)


def ae_titles(it: Scene) -> Iterator[Finding]:
    stations: set[str] = set()
    for name in it.settings.broker.tables:
        file = it.settings.table_file(name)
        # Another table's values are no titles; a broken table is told by `settings_and_routes`.
        try:
            codes = tables.load_table(name, file).rows.values()
        except ConfigError:
            continue
        stations.update(title for rows in codes for row in rows if row.titles for title in row.values)
    configs: dict[str, Any] = {s.name: s.config for s in it.settings.outbound if s.entry.enabled}
    called = {
        name: (config.called_aet, f"{config.host}:{config.port}")
        for name, config in configs.items()
        if hasattr(config, "called_aet")
    }
    dicom = it.settings.broker.dicom
    yield from judge.ae_titles(
        dicom.ae_title, dicom.peers, stations, called, open_ae=it.settings.open_ae, loopback=it.loopback
    )


def destinations(it: Scene) -> Iterator[Finding]:
    """All at once: one that is dead takes seconds to show it."""
    outbound = it.settings.outbound
    ways = [
        (s.name, s.config, way) for s in outbound if s.entry.enabled and (way := _way(s.config)) is not None
    ]
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = pool.map(lambda it: it[2].failure(it[1]), ways)
        for (name, _, way), why in zip(ways, found, strict=True):
            if why:
                yield warning(f"destination {name}", why, f"its deliveries wait; ask for {way.ask}")
            else:
                yield ok(f"destination {name}", way.said)
    for setting in outbound:
        if not setting.entry.enabled:
            yield ok(f"destination {setting.name}", "is off")


CHECKS: Final[tuple[Check, ...]] = (
    settings_and_routes,
    python,
    packages,
    ports,
    disk,
    spool,
    schema,
    clock,
    bus,
    nodes,
    open_files,
    certificates,
    ae_titles,
    destinations,
)


def examine(it: Scene) -> Iterator[Finding]:
    """Every finding of every check; one that cannot be made says so, and the others go on."""
    for one in CHECKS:
        try:
            yield from one(it)
        except (BrokerError, OSError) as exc:
            why = str(exc) if isinstance(exc, BrokerError) else (exc.strerror or type(exc).__name__)
            name = one.__name__.replace("_", " ")
            yield fault(name, f"cannot be looked at: {why}", "run as the broker's user; see its log")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How it is found out whether a destination can be reached."""

    failure: Callable[[Any], str]
    """What keeps one with these options from being reached; nothing when it is."""
    said: str
    ask: str


_ECHO: Final = _Way(
    failure=lambda c: look.echoes(
        c.host, c.port, called_aet=c.called_aet, calling_aet=c.calling_aet, tls=getattr(c, "tls", None)
    ),
    said="answers C-ECHO",
    ask="the address, the title, certificates where it is called over TLS, and the firewall",
)
_CONNECT: Final = _Way(
    failure=lambda c: look.connects(c.host, c.port),
    said="takes connections",
    ask="the address and the firewall",
)
_SEARCH: Final = _Way(
    failure=look.searches,
    said="answers QIDO-RS",
    ask="the address, the certificate, the credentials and the firewall",
)


def _pem_files(settings: Settings) -> Iterator[tuple[str, str]]:
    """Option and path of each, of what is switched on."""
    places: list[tuple[str, Any]] = [("dicom.tls", settings.broker.dicom.tls)]
    for setting in settings.outbound:
        if setting.entry.enabled:
            name = f"outbound.{setting.name}"
            places += [(name, setting.config), (f"{name}.tls", getattr(setting.config, "tls", None))]
    for place, options in places:
        for option in look.PEM_OPTIONS:
            if path := getattr(options, option, ""):
                yield f"{place}.{option}", path


def _way(config: Any) -> _Way | None:
    """A DICOM destination has an AE title to call; a folder has no host."""
    if isinstance(config, WebPeer):
        return _SEARCH
    if hasattr(config, "called_aet"):
        return _ECHO
    return _CONNECT if hasattr(config, "host") else None


def _holders(tx: Transaction) -> list[Holder]:
    """Who has which lease now. A way's is held by one run of a node: behind its name stands which."""
    rows = tx.rows("SELECT name, owner FROM lease WHERE owner<>'' AND until>?", (tx.now(),))
    return [
        Holder(lease=name, node=owner if name == leader.NAME else owner.rpartition(" ")[0])
        for name, owner in rows
    ]


def _newest(it: Scene) -> str | None:
    """When the journal's last message came; None where there is none, or no journal to ask (which `schema` tells)."""
    database = journal_of(it.settings)
    try:
        if not database.version():
            return None
        row = database.read().one("SELECT max(received) FROM message")
        return row[0] if row else None
    except StoreError:
        return None
    finally:
        database.close()
