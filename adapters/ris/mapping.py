"""Orders to canonical events (IHE RAD-4, RAD-13): ORM^O01 with or without ZDS, OMG^O19, OMI^O23 with IPC. Pure.

Every ORC, every OBR under it, every IPC or TQ1 under that is one scheduled step. Nothing is invented: what a step
lacks stays empty, and the worklist holds the row. What a status means stands in a table, not here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, cast, get_args

from adapters.ris import step
from broker.errors import (
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    TABLE_VALUE_NOT_FOUND,
    Location,
    UnmappableError,
)
from broker.event import Draft, EventData, EventType, Order, StepStatus
from broker.hl7 import demographics
from broker.hl7.er7 import Message, Segment
from broker.reception import Mapper, Profile

STATUS_TABLE: Final = "order-status"
KEEP: Final = "keep"
STATUSES: Final = (*get_args(StepStatus), KEEP)
"""What a pair of ORC-1 and ORC-5 may mean in the table."""

_STEP_EVENTS: Final[Mapping[str, EventType]] = MappingProxyType(
    {
        "ARRIVED": "step.arrived",
        "STARTED": "step.started",
        "COMPLETED": "step.completed",
        "DISCONTINUED": "step.discontinued",
        "CANCELED": "step.cancelled",
        "EXPIRED": "step.expired",
    }
)
_NEW: Final = frozenset({"NW", "SN", "NA"})  # table 0119: a new order, or the number of one
_ENDED: Final = frozenset({"CANCELED", "DISCONTINUED"})


@dataclass(slots=True)
class Group:
    """One ORC with what stands under it."""

    orc: Segment
    tq1: list[Segment] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    zds: Segment | None = None


@dataclass(slots=True)
class Request:
    """One OBR with its IPC and timing segments."""

    obr: Segment
    tq1: list[Segment] = field(default_factory=list)
    ipc: list[Segment] = field(default_factory=list)
    zds: Segment | None = None


def map_order(message: Message, profile: Profile) -> Sequence[Draft]:
    """Every order of a message: its `order.*` event, then one `step.*` event for each of its steps."""
    pid, pv1 = demographics.only_pid(message), message.first("PV1")
    patient = demographics.patient(pid, profile.issuers)
    encounter = demographics.encounter(pv1, pid, profile.issuers)
    time = demographics.event_time(message)
    unnamed: Counter[str] = Counter()
    return [
        Draft(type=kind, time=time, data=data.model_copy(update={"patient": patient, "encounter": encounter}))
        for group in groups(message)
        for kind, data in _order(group, unnamed, profile)
    ]


def groups(message: Message) -> list[Group]:
    """The orders of a message in its order. Raises `UnmappableError` when there is no ORC."""
    found: list[Group] = []
    for segment in message:
        if segment.name == "ORC":
            found.append(Group(orc=segment))
        elif not found:
            continue
        elif segment.name == "OBR":
            found[-1].requests.append(Request(obr=segment))
        elif segment.name == "TQ1":
            at = found[-1].requests[-1].tq1 if found[-1].requests else found[-1].tq1
            at.append(segment)
        elif segment.name == "IPC" and found[-1].requests:
            found[-1].requests[-1].ipc.append(segment)
        elif segment.name == "ZDS":
            if found[-1].requests:
                found[-1].requests[-1].zds = segment
            else:
                found[-1].zds = segment
    if not found:
        raise UnmappableError(
            "there is no ORC segment", error_code=SEGMENT_SEQUENCE_ERROR, location=Location(segment="ORC")
        )
    _share_zds(found)
    return found


def _share_zds(found: list[Group]) -> None:
    """RAD-4 has one ZDS behind all ORC and OBR of a requested procedure: it counts for each of them."""
    requests = [(group, request) for group in found for request in group.requests]
    if not requests or any(group.zds or request.zds for group, request in requests[:-1]):
        return
    of_last = _requested(*requests[-1])
    for group, request in requests[:-1]:
        if _requested(group, request) == of_last:
            request.zds = requests[-1][1].zds


def _requested(group: Group, request: Request) -> str:
    """What makes requests of one message the same requested procedure: OBR-19, else the order number."""
    return request.obr.get(19) or group.orc.get(3) or group.orc.get(2)


def _order(group: Group, unnamed: Counter[str], profile: Profile) -> Iterator[tuple[EventType, EventData]]:
    orc = group.orc
    status = status_of(orc, profile)
    control = orc.get(1).strip().upper()
    if control in _NEW and not group.requests:
        raise UnmappableError(
            "a new order has no OBR: nothing can be scheduled",
            error_code=SEGMENT_SEQUENCE_ERROR,
            location=orc.location(),
        )
    requests: list[Request | None] = [*group.requests] or [None]
    for request in requests:
        order = _numbers(orc, request, control)
        named = request is not None and step.named(request.obr, request.ipc)
        if status in _ENDED and not named:
            # Cancelled without naming a step: the order ends as a whole.
            whole = order.model_copy(update={"whole": status})
            yield "order.cancelled", EventData(order=whole)
            continue
        data = EventData(order=order)
        yield _order_event(control, status), data
        if request is None:
            continue
        source = step.Source(
            orc=orc, obr=request.obr, tq1=request.tq1 or group.tq1, ipc=request.ipc,
            zds=request.zds or group.zds, unnamed=unnamed,
        )  # fmt: skip
        for found in step.steps(source, order, status, profile):
            yield _step_event(control, status), data.model_copy(update={"step": found})


def status_of(orc: Segment, profile: Profile) -> StepStatus | None:
    """What (ORC-1, ORC-5) means by the status table; None keeps the status. Raises `UnmappableError`."""
    pair = f"{orc.get(1).strip().upper()}|{_status(orc)}"
    found = profile.tables[STATUS_TABLE].get(pair)
    if found is None:
        raise UnmappableError(
            "the pair of ORC-1 and ORC-5 is not in the order status table",
            error_code=TABLE_VALUE_NOT_FOUND,
            location=orc.location(5 if _status(orc) else 1),
        )
    return None if found == KEEP else cast(StepStatus, found)


def _numbers(orc: Segment, request: Request | None, control: str) -> Order:
    obr = request.obr if request else None
    placer, filler = demographics.entity(orc, 2), demographics.entity(orc, 3)
    if obr is not None:
        placer, filler = placer or demographics.entity(obr, 2), filler or demographics.entity(obr, 3)
    if placer is None and filler is None:
        raise UnmappableError(
            "neither ORC-2 nor ORC-3 holds an order number",
            error_code=REQUIRED_FIELD_MISSING,
            location=orc.location(3),
        )
    return Order(
        control=control,
        status=_status(orc),
        placer_number=placer,
        filler_number=filler,
        procedure=demographics.code(obr, 4) if obr else None,
        requester=(demographics.person(obr, 16) if obr else None) or demographics.person(orc, 12),
        reason=demographics.stated(obr.get(31, 2) or obr.get(31)) or "" if obr else "",
    )


def _status(orc: Segment) -> str:
    """ORC-5; empty also where it was cleared (HL7 null)."""
    return (demographics.stated(orc.get(5)) or "").upper()


def _order_event(control: str, status: StepStatus | None) -> EventType:
    if status in _ENDED:
        return "order.cancelled"
    return "order.placed" if control in _NEW else "order.changed"


def _step_event(control: str, status: StepStatus | None) -> EventType:
    if status is None:
        return "step.changed"
    if status == "SCHEDULED":
        return "step.scheduled" if control in _NEW else "step.changed"
    return _STEP_EVENTS[status]


EVENTS: Final[tuple[EventType, ...]] = (
    *("order.placed", "order.changed", "order.cancelled"),
    *("step.scheduled", "step.changed", *_STEP_EVENTS.values()),
)
"""What may come of any of these messages."""

MAPPERS: Final[Mapping[str, Mapper]] = MappingProxyType(
    {"ORM^O01": map_order, "OMG^O19": map_order, "OMI^O23": map_order}
)
