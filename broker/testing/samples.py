"""Messages and views that the conformance suite feeds to adapters. Synthetic: nobody in them exists.

Every value that could be a patient's holds `MARK` or `CONTACT`, so that finding one of them where no value may be
is finding a leak.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from broker.event import (
    Code,
    Event,
    EventData,
    EventType,
    Identifier,
    Instance,
    InstanceReference,
    Order,
    Patient,
    PersonName,
    Step,
    Study,
)
from broker.hl7.er7 import Message
from broker.view import View

__all__ = ["CONTACT", "HL7", "MARK", "MESSAGE_ID", "NOW", "views"]

MARK: Final = "QXZPRØVEÁŠ"
CONTACT: Final = "QXZVEIENÅ"
"""An address, a telephone number, a relative."""

NOW: Final = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)
MESSAGE_ID: Final = "01KK8Q7YG0GHJKMNPQRSTVWXYZ"

_MSH: Final = "MSH|^~\\&|SENDER|SITE|BROKER|SITE|20260309080000||{kind}|42|T|2.5.1||||||UNICODE UTF-8\r"
_PID: Final = f"PID|1||7{MARK}^^^SITE^PI||{MARK}^{MARK}||19821030|F|||{CONTACT}^^{CONTACT}||{CONTACT}\r"
_NK1: Final = f"NK1|1|{CONTACT}\r"
_REST: Final = {
    "ADT^A01": f"PV1|1|I|{MARK}^1^2\r",
    "ADT^A40": f"MRG|8{MARK}\r",
    "ORM^O01": f"ORC|NW|P1|F1||SC||^^^20260310093000^^R\rOBR|1|P1|F1|X^{MARK}^L||||||||||||||A1|R1|S1||||CT\r",
    "OMI^O23": f"ORC|NW|P1|F1||SC\rTQ1|1||||||20260310093000\rOBR|1|P1|F1|X^{MARK}^L\rIPC|A1|R1|2.25.7|S1|MR\r",
    "ORU^R01": f"OBR|1|P1|F1|X^{MARK}^L\rOBX|1|ST|X^{MARK}||{MARK}||||||F\r",
    "ACK": "MSA|AA|1\r",
    "ZZZ^Z99": f"ZZZ|{MARK}\r",
}

HL7: Final[tuple[bytes, ...]] = tuple(
    f"{_MSH.format(kind=kind)}{_PID}{_NK1}{rest}".encode() for kind, rest in _REST.items()
)

_PATIENT: Final = Patient(
    identifiers=(
        Identifier(value=f"7{MARK}", namespace="SITE", oid="2.999.1", oid_type="ISO"),
        Identifier(value=f"8{MARK}"),
    ),
    name=PersonName(family=MARK, given=MARK),
    birth_date="19821030",
    sex="F",
)
_ORDER: Final = Order(
    control="NW",
    status="SC",
    filler_number=Identifier(value="F1"),
    procedure=Code(code="X", text="CT", system="L"),
)
_STEP: Final = Step(
    key="SITE|F1|S1",
    status="SCHEDULED",
    step_id="S1",
    accession_number="A1",
    requested_procedure_id="R1",
    study_uid="2.25.7",
    modality="CT",
    station_aets=("CT1",),
    start_date="20260310",
    start_time="093000",
)
_INSTANCE: Final = Instance(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
    sop_instance_uid="2.25.8",
    study_uid="2.25.7",
    series_uid="2.25.9",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    path="instances/00/sample.dcm",
    size=1,
    sha256="00",
    calling_aet="CT1",
)

_STUDY = Study(
    study_uid=_INSTANCE.study_uid,
    archive="there",
    reason=Code(code="113001", text="Rejected for Quality Reasons", system="DCM"),
    number=1,
    instances=(
        InstanceReference(
            sop_class_uid=_INSTANCE.sop_class_uid,
            sop_instance_uid=_INSTANCE.sop_instance_uid,
            series_uid=_INSTANCE.series_uid,
        ),
    ),
)


def views() -> tuple[View, ...]:
    """An event of each kind, seen with everything that can be known, and one of which nothing is known."""
    return (
        _view("patient.updated", EventData(patient=_PATIENT), HL7[0]),
        _view("order.placed", EventData(patient=_PATIENT, order=_ORDER), HL7[2]),
        _view("step.scheduled", EventData(patient=_PATIENT, order=_ORDER, step=_STEP), HL7[2]),
        _view("result.available", EventData(patient=_PATIENT), HL7[4]),
        _view("instance.received", EventData(patient=_PATIENT, instance=_INSTANCE), None),
        _view("study.rejected", EventData(patient=_PATIENT, study=_STUDY), None),
        View(event=_event("consent.changed", EventData())),
    )


def _view(kind: EventType, data: EventData, raw: bytes | None) -> View:
    return View(
        event=_event(kind, data),
        message=Message.parse(raw) if raw else None,
        patient=data.patient,
        patient_key="P1",
        verified=True,
        order=data.order,
        step=data.step,
    )


def _event(kind: EventType, data: EventData) -> Event:
    return Event(
        id=f"{MESSAGE_ID}.0",
        type=kind,
        source="sample",
        site="SITE",
        time=NOW,
        message_id=MESSAGE_ID,
        data=data,
    )
