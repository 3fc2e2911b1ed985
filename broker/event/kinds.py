"""What kinds of events there are, and which of them no listener makes."""

from __future__ import annotations

from typing import Literal, get_args

EventType = Literal[
    "patient.registered",
    "patient.updated",
    "patient.merged",
    "patient.id-changed",
    "patient.moved",
    "patient.linked",
    "patient.unlinked",
    "patient.split",
    "encounter.planned",
    "encounter.started",
    "encounter.moved",
    "encounter.changed",
    "encounter.reassigned",
    "encounter.ended",
    "encounter.cancelled",
    "encounter.missed",
    "order.placed",
    "order.changed",
    "order.cancelled",
    "step.scheduled",
    "step.changed",
    "step.arrived",
    "step.started",
    "step.completed",
    "step.discontinued",
    "step.cancelled",
    "step.expired",
    "instance.received",
    "study.completed",
    "study.stored",
    "study.committed",
    "study.rejected",
    "study.restored",
    "study.available",
    "commitment.requested",
    "commitment.reported",
    "result.available",
    "result.withdrawn",
    "observation.recorded",
    "document.received",
    "consent.changed",
    "exception.closed",
]

EVENT_TYPES: tuple[str, ...] = get_args(EventType)

OPERATOR = "operator"
"""Source of what people decide about patients: no listener may have this name."""

CLOCK = "clock"
"""Source of what time brings about: no listener may have this name."""

BY_TIME: tuple[EventType, ...] = ("step.expired", "study.completed", "study.stored", "commitment.reported")
"""Events that the clock makes."""
