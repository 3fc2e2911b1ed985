"""The routes by which this process goes: the live set of the journal, loaded here, and the switch to the next one.

A set that cannot be loaded here is told, and the one before stays. A proposed set is loaded beforehand, so that the
switch itself costs a look at a number. Not here: who may make a set live (`applying`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog

from broker import __version__
from broker.delivery.parked import By
from broker.errors import ConfigError, StoreError
from broker.routing.engine import RouteSet
from broker.routing.files import RouteFiles
from broker.routing.language import OnFailure
from broker.runtime import nodes, routesets
from broker.runtime.configured import Configured, compiled, configure
from broker.runtime.journals import journal_of
from broker.runtime.pipeline import Pipeline
from broker.runtime.roles import EVERY, Role
from broker.runtime.routesets import Answer, Stored
from broker.settings import Settings
from broker.store.database import Database
from broker.store.schema import CURRENT
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.routes")

LOOK_SECONDS: Final = 0.5
"""How often the journal is asked whether another set is proposed or live."""

MUST_AGREE: Final[frozenset[Role]] = frozenset(("router", "deliver"))
"""The roles that go by routes: their nodes must have loaded a set before it goes live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A set as it is used here."""

    number: int
    files: RouteFiles
    routes: RouteSet
    pipeline: Pipeline


class RoutesInForce:
    """Asked by the router in each commit 2 (`current`), by the lanes (`on_failure`), and by whoever shows the state."""

    def __init__(
        self,
        database: Database,
        configured: Configured,
        clock: Callable[[], datetime],
        roles: frozenset[Role] = EVERY,
    ) -> None:
        """`configured`: what the folder says."""
        self._database, self._folder, self._clock = database, configured, clock
        self._shared, self._node = database.shared, configured.settings.node
        self._roles = roles
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._beforehand: _Held | None = None
        self._refused = 0
        self._fault = ""
        self._answered = ""
        self._beating: Future[None] | None = None
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="routes")

    def start(self) -> None:
        """Takes what is live, or makes the folder live; then looks for changes. Raises `StoreError`."""
        stored = routesets.live(self._database.read()) if self._shared else None
        if stored is None:
            stored = self._database.write(self._adopt).result()
        if stored.files.texts() != self._folder.files.texts():
            log.warning(
                "the folder's routes are not the live ones; `broker apply` makes them live",
                live=f"v{stored.number}",
            )
        self._take(stored)
        self._thread.start()

    def stop(self) -> None:
        """Ends the looks; a node says that it is gone."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
            if self._shared:
                with suppress(StoreError):  # then it is missed after a while, as a dead one is
                    self._database.write(partial(nodes.gone, name=self._node))

    def current(self, tx: Transaction) -> Pipeline | None:
        """The pipeline of the set that is live for the rest of this transaction; None where it cannot be used here.

        Who has the journal to itself goes on by the set before: there is nobody else to route by the new one.
        """
        if self._held is None:
            return None
        number = routesets.hold(tx)
        if number > self._held.number and number != self._refused:
            self._take(routesets.get(tx, number))
        return None if self._shared and self._held.number != number else self._held.pipeline

    @property
    def usable(self) -> bool:
        """Whether the live set can be used here, as far as it was looked."""
        return self._held is not None and not self._fault

    def on_failure(self, route: str) -> OnFailure:
        """What a route wants when it fails; a delivery whose route is gone gets what routes get by default."""
        held = self._held
        routes = self._folder.routes if held is None else held.routes
        try:
            return routes[route].on_failure
        except KeyError:
            return OnFailure()

    @property
    def configured(self) -> Configured:
        """The configuration with the routes in force; with the folder's where none can be used."""
        held = self._held
        return self._folder if held is None else replace(self._folder, files=held.files, routes=held.routes)

    def why_not(self) -> str:
        """What keeps a node that goes by routes from doing so; empty where nothing does."""
        if self._held is not None or self._roles.isdisjoint(MUST_AGREE):
            return ""
        return f"the live routes cannot be used here: {self._fault}"

    def status(self) -> dict[str, Any]:
        """Number and version by which this process goes, and why they are not the live ones."""
        held = self._held
        return {
            "routes": held.number if held is not None else 0,
            "version": held.routes.version if held is not None else "",
            "fault": self._fault,
        }

    def gauges(self) -> Iterable[tuple[str, Mapping[str, str], float]]:
        held = self._held
        yield "broker_routes_live", {}, held.number if held is not None else 0
        yield "broker_routes_fault", {}, float(bool(self._fault))

    def look(self) -> None:
        """One look: takes what has gone live, loads what is proposed. Raises `StoreError`."""
        tx = self._database.read()
        number, identity = routesets.glance(tx)
        if number not in (self._refused, self._held.number if self._held is not None else 0):
            self._take(routesets.get(tx, number))
        if identity and identity != self._answered:
            self._rehearse(tx, identity)

    def _adopt(self, tx: Transaction) -> Stored:
        """What the folder says is live from now on, where it is not yet."""
        routesets.alone(tx)  # before the look: nodes may start at once
        stored = routesets.live(tx)
        version = self._folder.routes.version
        # On one that nodes share, another one may have come first: then its set is the live one.
        if stored is not None and (self._shared or stored.version == version):
            return stored
        reason = "first start" if stored is None else "the folder had changed"
        by = By(who="start", at=self._clock().isoformat(), reason=reason)
        number = routesets.add(tx, self._folder.files, version, by)
        return Stored(number=number, version=version, files=self._folder.files, by=by)

    def _made(self, number: int, files: RouteFiles, routes: RouteSet) -> _Held:
        pipeline = Pipeline(routes, self._folder.renderers)
        return _Held(number=number, files=files, routes=routes, pipeline=pipeline)

    def _loaded(self, number: int, files: RouteFiles) -> tuple[_Held | None, str]:
        """The set as it is used here, or why it cannot be: the first place that is at fault, and how many there are."""
        if files.texts() == self._folder.files.texts():
            return self._made(number, files, self._folder.routes), ""
        try:
            return self._made(number, files, compiled(self._folder.settings, files, self._folder.env)), ""
        except ConfigError as exc:
            more = f" (and {len(exc.faults) - 1} more)" if len(exc.faults) > 1 else ""
            return None, f"{exc.faults[0]}{more}" if exc.faults else str(exc)
        except Exception as exc:  # whatever a set says, this process goes on by the one it has
            log.exception("a route set could not be loaded")
            return None, f"{type(exc).__name__}; the log has the place"

    def _take(self, stored: Stored) -> None:
        """Goes over to a set, or says why this process cannot."""
        with self._lock:
            if self._held is not None and stored.number <= self._held.number:
                return  # by the other thread
            ready, fault = self._beforehand, ""
            if ready is None or ready.files != stored.files:
                ready, fault = self._loaded(stored.number, stored.files)
            self._beforehand, self._fault = None, fault
            if ready is None:
                self._refused = stored.number
                log.error(
                    "the live routes cannot be used here",
                    routes=f"v{stored.number}",
                    fault=fault,
                    stays_on=f"v{self._held.number}"
                    if self._held is not None
                    else "nothing: nothing is routed",
                )
                return
            self._held = replace(ready, number=stored.number)
            log.info("routes live", routes=f"v{stored.number}", version=ready.routes.version)

    def _rehearse(self, tx: Transaction, identity: str) -> None:
        """Loads a proposed set and tells how that went."""
        files = routesets.proposal(tx, identity)
        self._answered = identity
        if files is None:
            return  # it was left behind
        ready, fault = self._loaded(0, files)
        with self._lock:
            self._beforehand = ready
        said = Answer(node=self._node, version=ready.routes.version if ready else "", fault=fault)
        done = self._database.write(partial(routesets.answer, identity=identity, said=said))
        done.add_done_callback(self._told)

    def _told(self, done: Future[None]) -> None:
        if done.exception() is not None:
            self._answered = ""  # once more at the next look

    def _watch(self) -> None:
        beat_in, told = 0.0, dict[str, Any]()
        while not self._stopping.is_set():
            try:
                self.look()
                if self._shared and (beat_in <= 0 or told != self.status()):
                    beat_in, told = nodes.BEAT_SECONDS, self.status()
                    self._beat()
                self._failing = False
            except Exception as exc:  # noqa: BLE001 - whatever it is, this thread must not end; told once
                if not self._failing:
                    log.warning("the journal cannot be asked for routes", error=type(exc).__name__)
                self._failing = True
            self._stopping.wait(LOOK_SECONDS)
            beat_in -= LOOK_SECONDS

    def _beat(self) -> None:
        if self._beating is not None and not self._beating.done():
            return  # the journal hangs; more of them would help nobody
        node = nodes.Node(
            name=self._node, roles=tuple(sorted(self._roles)), software=__version__, **self.status()
        )
        self._beating = self._database.write(partial(nodes.beat, node=node))


def live_configured(settings: Settings, env: Mapping[str, str], tx: Transaction) -> Configured:
    """The configuration with the routes that are live in a journal; with the folder's where none are yet.

    Raises `ConfigError` with every fault.
    """
    stored = routesets.live(tx)
    return configure(settings, env, stored.files if stored is not None else None)


def configured_to_start(settings: Settings, env: Mapping[str, str]) -> Configured:
    """What a process starts with: the folder. Where nodes share a journal that has live routes, a folder that cannot
    be used is only told: the live ones run whatever it says. Raises `ConfigError` with every fault, `StoreError`.
    """
    try:
        return configure(settings, env)
    except ConfigError as exc:
        database = journal_of(settings)
        try:
            if (
                not database.shared
                or database.version() != CURRENT
                or routesets.live(database.read()) is None
            ):
                raise exc from None
            found = live_configured(settings, env, database.read())
        finally:
            database.close()
        log.warning("the folder's routes cannot be used; `broker check` says why", faults=len(exc.faults))
        return found
