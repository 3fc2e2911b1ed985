"""An instance on its way to the PACS: which file, and what PAS says of its patient. Pure.

An instance whose patient PAS does not know goes unchanged: what is not known cannot be corrected. Of the others the
sender also takes contact data out (`broker.dicom.coerce`).
"""

from __future__ import annotations

import json

from broker.adapter import Rendered, Target
from broker.dicom import attributes as dicom
from broker.dicom.attributes import Attributes, Value
from broker.dicom.uid import KEY_OBJECT_SELECTION
from broker.errors import UnmappableError
from broker.event import Identifier, Patient
from broker.hl7.er7 import Header
from broker.hl7.forward import forward
from broker.view import View


def render_instance(view: View, target: Target) -> Rendered:
    """The delivery as JSON: `path`, and `coerce` where PAS knows the patient. Raises `UnmappableError`."""
    instance, said = view.event.data.instance, view.event.data.patient
    if instance is None:
        raise UnmappableError(f"{target.place}: a {view.event.type} holds no instance to send")
    delivery = {
        "path": instance.path,
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "time": view.event.time.strftime("%Y%m%d%H%M%S.%f%z"),
        "source": view.event.source,
        "coerce": _demographics(view.patient, said) if view.verified and view.patient else None,
    }
    summary = "instance, demographics from PAS" if view.verified else "instance, unverified, unchanged"
    return Rendered(payload=json.dumps(delivery, ensure_ascii=False).encode(), summary=summary)


def repeatable(payload: bytes) -> bool:
    """Whether an archive stays as it is where it gets the object again, after others: it has one for each SOP Instance
    UID (PS3.3 C.12.1). Not of key objects: an image that comes again behind the note that rejects it may be refused, or
    be in use again."""
    try:
        order = json.loads(payload)
    except ValueError:
        return False
    # An older broker did not write down what kind of object it is.
    sop_class = order.get("sop_class_uid") if isinstance(order, dict) else None
    return bool(sop_class) and sop_class != KEY_OBJECT_SELECTION


def render_hl7(view: View, target: Target) -> Rendered:
    """ADT for the PACS's HL7 listener: the source message, without contact data."""
    if target.send != "source":
        raise UnmappableError(f"{target.place}: this destination takes `send: source` only")
    payload = forward(view.message, target.set, with_contact=target.purpose == "contact", place=target.place)
    header = Header.read(payload)
    return Rendered(payload=payload, summary=f"{header.message_type} control id {header.control_id}")


def _demographics(patient: Patient, said: Patient | None) -> Attributes:
    """What PAS says. The object keeps its id where that is one of the patient's; an ended one becomes the first."""
    stated = {i.key for i in said.identifiers} if said else set()
    identifier = next((i for i in patient.identifiers if i.key in stated), patient.identifiers[0])
    found: dict[str, Value] = {"PatientID": identifier.value, **_issuer(identifier)}
    if patient.name is not None:
        found["PatientName"] = dicom.person_name(patient.name)
    if patient.birth_date is not None and len(patient.birth_date) in (0, 8):
        found["PatientBirthDate"] = patient.birth_date
    if patient.sex is not None:
        found["PatientSex"] = patient.sex
    return found


def _issuer(identifier: Identifier) -> dict[str, Value]:
    found: dict[str, Value] = {"IssuerOfPatientID": identifier.namespace}
    if identifier.oid:
        found["IssuerOfPatientIDQualifiersSequence"] = (
            {"UniversalEntityID": identifier.oid, "UniversalEntityIDType": identifier.oid_type or "ISO"},
        )
    return found
