"""Commit 2 of one event: folded into the registers, routed, rendered, and its deliveries written, all or nothing.

The same code serves the running broker, `broker explain` and `broker test`; only the database under it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from broker.adapter import Renderer, Target
from broker.delivery import ledger, parked
from broker.delivery.ledger import Cause, Queued
from broker.errors import StoreError, UnmappableError
from broker.event import OPERATOR, Event, Step
from broker.hl7.er7 import Header, Message
from broker.journal import log as journal
from broker.journal.log import Logged
from broker.registers import exceptions, newborns, orderless, patients, protection, worklist
from broker.registers.fold import fold
from broker.registers.views import step_view, unknown_lane
from broker.routing.engine import REFRESH, RouteSet
from broker.store.transaction import Transaction
from broker.view import View

log = structlog.get_logger("broker.router")

_NOT_HL7: Final = (b"{", b"\0")
"""How a decision's JSON and a Part 10 file begin."""


@dataclass(slots=True)
class Routed:
    """What commit 2 opened: to be told to the lanes once it is on disk."""

    queued: list[Queued] = field(default_factory=list)
    joined: list[tuple[str, str]] = field(default_factory=list)
    told: set[tuple[str, int, bytes]] = field(default_factory=set)
    """Of an MPPS: route, target and bytes that have left for one of its steps."""


class Pipeline:
    """Routes events with one set of routes."""

    def __init__(
        self,
        routes: RouteSet,
        renderers: Mapping[str, Renderer],
        *,
        on_view: Callable[[View], None] | None = None,
        registers_only: bool = False,
    ) -> None:
        """`renderers`: by destination. `on_view` is shown every view that is routed (`broker explain`).

        `registers_only`: nothing is written for destinations, only what the registers hold (a rebuild).
        """
        self.routes = routes
        self._renderers = renderers
        self._on_view = on_view
        self._registers_only = registers_only
        self._read: Message | None = None

    def route(self, tx: Transaction, logged: Logged) -> Routed:
        """Commit 2 of one event. An event that fails is reported and kept, and holds nobody else up."""
        try:
            with tx.attempt():
                routed = self._routed(tx, logged)
                journal.mark_routed(tx, [logged.seq], self.routes.version)
        except StoreError:
            raise  # the disk's failure, not the event's: it waits, whole, until the disk is back
        except Exception as exc:
            routed = Routed()
            log.exception(
                "an event could not be routed", event_id=logged.event.id, event_type=logged.event.type
            )
            reason = f"{logged.event.type}: {type(exc).__name__}; the log has the place"
            exceptions.report(tx, "event-failed", logged.event.id, reason, logged.event)
            journal.mark_routed(tx, [logged.seq], "failed")
        return routed

    def route_all(self, tx: Transaction, batch: Sequence[Logged]) -> list[Routed]:
        """As `route` of each in turn, with one savepoint for all as long as none fails: next to none does.

        What one event read is kept for the next ones: nobody else folds until this transaction ends.
        """
        with tx.keeping():
            try:
                with tx.attempt():
                    routed = [self._routed(tx, logged) for logged in batch]
                    journal.mark_routed(tx, [logged.seq for logged in batch], self.routes.version)
                    return routed
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - whichever it was: `route` finds it again, and tells
                return [self.route(tx, logged) for logged in batch]

    def _routed(self, tx: Transaction, logged: Logged) -> Routed:
        routed, event = Routed(), logged.event
        folded = fold(tx, event, self._message(logged))
        for absorbed, survivor in folded.joined:
            routed.joined += ledger.join(tx, absorbed, survivor)
        for lane, behind in folded.parted:
            ledger.part(tx, lane, behind)
        if event.type.startswith("patient.") and folded.view is not None and not self._registers_only:
            self._recall(tx, event, folded.view.patient_key)
        if folded.view is not None:
            for seen in (folded.view, *folded.others):
                self._deliver(tx, logged, protection.seen(tx, as_it_came(seen, logged)), routed)
        for key in folded.touched:
            view = step_view(tx, event, key)
            if view is not None:
                self._refresh(tx, logged, view)
        return routed

    def _message(self, logged: Logged) -> Message | None:
        """`message_of`, read once for all events of a message, which follow each other in the journal."""
        last = self._read
        if last is None or last.raw != logged.raw or last.charset != logged.charset:
            self._read = last = message_of(logged)
        return last

    def _deliver(self, tx: Transaction, logged: Logged, view: View, routed: Routed) -> None:
        """Every target of an event's own view."""
        if self._on_view is not None:
            self._on_view(view)
        found = self.routes.route(view)
        for target in found.targets:
            if target.kind == "worklist":
                if view.step is not None or view.performed is None:  # an MPPS of no step of ours has no row
                    self._put(tx, logged, view, target)
            elif not self._registers_only:
                self._enqueue(tx, logged, view, target, routed)
        for failure in found.failures:
            self._hold(tx, logged, view, failure.target, failure.error)
        for target in found.withheld if not self._registers_only else ():
            ledger.withhold(tx, _cause(logged), view.patient_key, target)
        # What is told of a study says nothing of its step.
        if view.step is not None and view.event.data.study is None:
            self._withdraw(tx, view.step, {t.destination for t in found.targets if t.kind == "worklist"})
            self._replace(tx, logged, view.step)

    def _recall(self, tx: Transaction, event: Event, key: str) -> None:
        """Takes back what still waits of a patient whose address is protected, and of the children."""
        known = patients.get(tx, key)
        at = event.time.isoformat()
        by = parked.By(who="broker", at=at, reason=ledger.WITHHELD)
        for one in (known, *newborns.children(tx, known.key)):
            if not protection.holds(tx, one, event):
                continue
            for lane in (one.key, *map(unknown_lane, one.patient.identifiers)):
                for number in ledger.withdraw(tx, lane, at):
                    parked.note(tx, "drop", number, by)

    def _refresh(self, tx: Transaction, logged: Logged, view: View) -> None:
        """The rows of a step that looks different now, though no event of its own came."""
        targets = self.routes.worklist_targets(view)
        for target in targets:
            self._put(tx, logged, view, target)
        if view.step is not None:
            self._withdraw(tx, view.step, {target.destination for target in targets})
            self._replace(tx, logged, view.step)

    def _replace(self, tx: Transaction, logged: Logged, step: Step) -> None:
        """The visits' rows that an order's one replaces: they come where it is held, and go where it no longer is."""
        if step.clinic:
            return
        for key in orderless.after_orders(tx, logged.event, [step.key]):
            view = step_view(tx, logged.event, key)
            if view is not None:
                self._refresh(tx, logged, view)

    def _put(self, tx: Transaction, logged: Logged, view: View, target: Target) -> None:
        if view.step is None:
            raise UnmappableError(f"{target.place}: a {view.event.type} has no step for a worklist")
        try:
            rendered = self._renderers[target.destination](view, target)
        except UnmappableError as exc:
            self._hold(tx, logged, view, target, exc)
            return
        detail = worklist.put(tx, view.event, target, rendered, view.step)
        if not self._registers_only:
            ledger.record(tx, _cause(logged), view.patient_key, target, rendered, detail)

    def _enqueue(self, tx: Transaction, logged: Logged, view: View, target: Target, routed: Routed) -> None:
        try:
            rendered = self._renderers[target.destination](view, target)
        except UnmappableError as exc:
            self._hold(tx, logged, view, target, exc)
            return
        if view.performed is not None:
            # Of several steps at once: who is told the same of each (the MPPS itself) is told once.
            leaving = (target.route, target.index, rendered.payload)
            if leaving in routed.told:
                return
            routed.told.add(leaving)
        routed.queued.append(ledger.enqueue(tx, _cause(logged), view.patient_key, target, rendered))

    def _hold(
        self, tx: Transaction, logged: Logged, view: View, target: Target, error: UnmappableError
    ) -> None:
        """An output that cannot be made is kept in sight; the others of the event go on."""
        if self._registers_only:
            return
        number = ledger.hold(tx, _cause(logged), view.patient_key, target, str(error))
        exceptions.report(tx, "delivery-held", f"delivery {number}", str(error), logged.event)

    def _withdraw(self, tx: Transaction, step: Step, kept: set[str]) -> None:
        """A route that put a step on a list and no longer matches it takes it off again."""
        for name, route in worklist.lists_of(tx, step.key):
            if name not in kept and self._follows(route):
                worklist.withdraw(tx, name, step.key)

    def _follows(self, route: str) -> bool:
        return any(r.name == route and r.enabled and REFRESH in r.events for r in self.routes.routes)


def message_of(logged: Logged) -> Message | None:
    """The HL7 message behind an event; None where it is none: DICOM, a decision."""
    if not logged.raw or logged.raw.startswith(_NOT_HL7) or logged.event.source == OPERATOR:
        return None
    return Message(logged.raw, Header.read(logged.raw), logged.charset)


def as_it_came(view: View, logged: Logged) -> View:
    """The view of an MPPS, with the bytes that a destination of MPPS is sent."""
    return view if view.performed is None else replace(view, raw=logged.raw)


def _cause(logged: Logged) -> Cause:
    return Cause.of(logged.seq, logged.event)


def drain(tx: Transaction, pipeline: Pipeline, limit: int) -> list[Routed]:
    """Commit 2 of up to `limit` waiting events, in journal order."""
    return pipeline.route_all(tx, journal.unrouted(tx, limit))
