"""What the EPJ is sent: a source message passed on, or an order's status built from the registers. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from broker.adapter import Rendered, Target
from broker.errors import UnmappableError
from broker.event import Code, Identifier, PersonName
from broker.hl7.edit import Value, Verbatim, build, components, edit, escape
from broker.hl7.er7 import Header
from broker.hl7.forward import as_written, forward
from broker.view import View

STATUS: Final[Mapping[str, str]] = {
    "SCHEDULED": "SC",
    "ARRIVED": "SC",
    "STARTED": "IP",
    "COMPLETED": "CM",
    "DISCONTINUED": "DC",
    "CANCELED": "CA",
    "EXPIRED": "HD",
}
"""A step's status to ORC-5 (table 0038)."""


def render_hl7(view: View, target: Target) -> Rendered:
    """The message as it leaves. Raises `UnmappableError` naming the route's line."""
    if target.send == "source":
        payload = forward(
            view.message, target.set, with_contact=target.purpose == "contact", place=target.place
        )
    else:
        payload = order_status(view, target)
    source = view.message
    header = source.header if source is not None and payload is source.raw else Header.read(payload)
    summary = f"{header.message_type} control id {header.control_id}"
    return Rendered(payload=payload, summary=summary, keys=(("control", header.control_id),))


def order_status(view: View, target: Target) -> bytes:
    """ORM^O01 with ORC-1 SC: where the order's step stands, or an order that ended as a whole (IHE RAD-3)."""
    step, order, patient = view.step, view.order or view.event.data.order, view.patient
    if order is None or patient is None:
        raise UnmappableError(f"{target.place}: a {view.event.type} has no order status to tell")
    status = step.status if step is not None else order.whole
    # The control id is a function of the event and the route: a repeat carries the same (invariant 7).
    seed = f"{view.event.id}|{target.route}|{target.index}|{step.key if step else ''}"
    start = step.start_date + step.start_time if step else ""
    numbers: dict[int | str, Value] = {2: _ei(order.placer_number), 3: _ei(order.filler_number)}
    msh: dict[int | str, Value] = {
        3: "BROKER",
        4: view.event.site,
        5: "EPJ",
        6: view.event.site,
        7: view.event.time.strftime("%Y%m%d%H%M%S%z"),
        9: components("ORM", "O01", "ORM_O01"),
        10: hashlib.sha256(seed.encode()).hexdigest()[:20].upper(),
        11: (view.message.header.processing_id if view.message else "") or "P",
    }
    pid: dict[int | str, Value] = {
        1: "1",
        3: tuple(_cx(identifier) for identifier in patient.identifiers),
        5: _xpn(patient.name),
        7: patient.birth_date or "",
        8: patient.sex or "",
    }
    orc: dict[int | str, Value] = {1: "SC", **numbers, 5: STATUS.get(status or "", ""), "7.4": start}
    segments = [("MSH", msh), ("PID", pid), ("ORC", orc)]
    if step is not None:
        obr: dict[int | str, Value] = {
            1: "1",
            **numbers,
            4: _ce(order.procedure or step.procedure or step.protocol),
            18: step.accession_number,
            19: step.requested_procedure_id,
            20: step.step_id,
            24: step.modality,
            "27.4": start,
        }
        segments += [("OBR", obr), ("ZDS", {1: components(step.study_uid, "", "Application", "DICOM")})]
    message = build(segments, version="2.5")
    changes: dict[str, Value] = {path: as_written(path, value) for path, value in target.set.items()}
    return edit(message, changes, add=True) if changes else message


def _cx(identifier: Identifier) -> str:
    authority = [identifier.namespace, identifier.oid, identifier.oid and (identifier.oid_type or "ISO")]
    written = Verbatim("&".join(escape(part) for part in authority).rstrip("&"))
    return components(identifier.value, "", "", written, identifier.type_code)


def _ei(identifier: Identifier | None) -> str:
    if identifier is None:
        return ""
    return components(identifier.value, identifier.namespace, identifier.oid, identifier.oid_type)


def _xpn(name: PersonName | None) -> str:
    if name is None:
        return ""
    return components(name.family, name.given, name.middle, name.suffix, name.prefix)


def _ce(code: Code | None) -> str:
    return components(code.code, code.text, code.system) if code else ""
