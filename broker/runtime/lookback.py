"""A step of the registers seen again, as if the event that wrote it last had just come. Routes and folds nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from broker.event import Event, EventData
from broker.journal import log
from broker.registers.steps import Held
from broker.registers.views import step_view
from broker.routing.engine import REFRESH
from broker.runtime.pipeline import message_of
from broker.store.transaction import Transaction
from broker.view import View


def seen_again(journal: Transaction, registers: Transaction, held: Held, event: str, until: str = "") -> View:
    """How routes see a step of these registers. `event`: the id of the one that wrote it last.

    `until`: the moment of the registers (ISO 8601, UTC), for an event that the log has no longer; empty: now.
    """
    logged = log.event_named(journal, event)
    cause = logged.event if logged is not None else _nameless(held, until)
    if not cause.type.startswith("step."):
        cause = cause.model_copy(update={"type": REFRESH})
    view = step_view(registers, cause, held.step.key)
    assert view is not None, "the step was read from these registers"
    return view if logged is None else replace(view, message=message_of(logged))


def _nameless(held: Held, until: str) -> Event:
    """Stands for an event that retention has taken: routes see the step through the registers all the same."""
    return Event(
        id="",
        type=REFRESH,
        source=held.source,
        site=held.site,
        time=datetime.fromisoformat(until) if until else datetime.now(UTC),
        message_id="",
        data=EventData(),
    )
