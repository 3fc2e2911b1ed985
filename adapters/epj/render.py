"""What the EPJ is sent: a source message passed on, or one that is built: an order's status, a rejection. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from broker.adapter import Rendered, Target
from broker.dicom import key_object
from broker.errors import UnmappableError
from broker.event import Code, Identifier, Order, Patient, PersonName, Step
from broker.hl7.edit import Value, Verbatim, build, components, edit, escape
from broker.hl7.er7 import Header
from broker.hl7.forward import as_written, forward
from broker.view import View

Fields = dict[int | str, Value]
"""A segment: field number, or number and component, to value."""

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
    elif target.send in BUILT:
        payload = BUILT[target.send](view, target)
    else:
        raise UnmappableError(f"{target.place}: nothing here builds '{target.send}'")
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
    start = step.start_date + step.start_time if step else ""
    orc: Fields = {1: "SC", **_numbers(order), 5: STATUS.get(status or "", ""), "7.4": start}
    segments = [("MSH", _msh(view, target, "O01")), ("PID", _pid(patient)), ("ORC", orc)]
    if step is not None:
        segments += [("OBR", _obr(order, step, {"27.4": start})), ("ZDS", _zds(step.study_uid))]
    return _written(segments, target)


def rejection(view: View, target: Target) -> bytes:
    """ORU^R01 with what a rejection note took out of use, or what one gave back (IHE IOCM): numbers, no images.

    OBR-25 (table 0123): X where nothing of the study stays in use, else C. OBX-11 (table 0085): W for a wrong worklist
    entry, D for other reasons, where nothing stays; C where something does; F of what is back.
    """
    study, patient = view.event.data.study, view.patient
    if study is None or patient is None or view.event.type not in ("study.rejected", "study.restored"):
        raise UnmappableError(f"{target.place}: a {view.event.type} rejects nothing and takes nothing back")
    title = study.reason or Code()
    if view.event.type == "study.restored":
        state = "F"
    elif study.number:
        state = "C"
    else:
        state = "W" if title.code == key_object.WRONG_ENTRY else "D"
    step = view.step
    obr = _obr(view.order, step, {18: study.accession_number or (step.accession_number if step else "")})
    obr[25] = "C" if study.number else "X"
    observations: Sequence[tuple[str, str, Value]] = (
        ("ST", components("110180", "Study Instance UID", "DCM"), study.study_uid),
        ("CE", components("121144", "Document Title", "DCM"), _ce(title)),
        ("NM", components("AFFECTED", "Instances that this is about", "L"), str(len(study.instances))),
        ("NM", components("REMAINING", "Instances that stay in use", "L"), str(study.number)),
    )
    segments: list[tuple[str, Fields]] = [
        ("MSH", _msh(view, target, "R01")),
        ("PID", _pid(patient)),
        ("OBR", obr),
    ]
    segments += [
        ("OBX", {1: str(number), 2: kind, 3: code, 5: value, 11: state})
        for number, (kind, code, value) in enumerate(observations, 1)
    ]
    return _written(segments, target)


def _msh(view: View, target: Target, trigger: str) -> Fields:
    # The control id is a function of the event and the route: a repeat carries the same (invariant 7).
    seed = f"{view.event.id}|{target.route}|{target.index}|{view.step.key if view.step else ''}"
    kind = "ORM" if trigger == "O01" else "ORU"
    return {
        3: "BROKER",
        4: view.event.site,
        5: "EPJ",
        6: view.event.site,
        7: view.event.time.strftime("%Y%m%d%H%M%S%z"),
        9: components(kind, trigger, f"{kind}_{trigger}"),
        10: hashlib.sha256(seed.encode()).hexdigest()[:20].upper(),
        11: (view.message.header.processing_id if view.message else "") or "P",
    }


def _pid(patient: Patient) -> Fields:
    return {
        1: "1",
        3: tuple(_cx(identifier) for identifier in patient.identifiers),
        5: _xpn(patient.name),
        7: patient.birth_date or "",
        8: patient.sex or "",
    }


def _obr(order: Order | None, step: Step | None, more: Fields) -> Fields:
    obr: Fields = {1: "1", **(_numbers(order) if order else {})}
    if step is not None:
        obr |= {
            4: _ce((order.procedure if order else None) or step.procedure or step.protocol),
            18: step.accession_number,
            19: step.requested_procedure_id,
            20: step.step_id,
            24: step.modality,
        }
    return {**obr, **more}


def _numbers(order: Order) -> Fields:
    return {2: _ei(order.placer_number), 3: _ei(order.filler_number)}


def _zds(study_uid: str) -> Fields:
    return {1: components(study_uid, "", "Application", "DICOM")}


def _written(segments: Sequence[tuple[str, Fields]], target: Target) -> bytes:
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


BUILT: Final[Mapping[str, Callable[[View, Target], bytes]]] = {
    "ORM^O01": order_status,
    "ORU^R01": rejection,
}
"""What `send` may name beside `source`."""
