"""A step seen through the registers to the attributes of its worklist row (PS3.4 K.6.1.2.2, IHE RAD-5). Pure.

No address, telephone, next of kin or free clinical text for anyone (invariant 11): there is nothing to leave out,
because there is nothing here that would read it.
"""

from __future__ import annotations

from typing import Final, cast

from broker.adapter import Rendered, Target
from broker.dicom import attributes as dicom
from broker.dicom.attributes import Attributes, Value
from broker.dicom.fit import with_short_names
from broker.dicom.vr_faults import vr_faults
from broker.dicom_identity import patient_module
from broker.errors import UnmappableError
from broker.event import Code, Identifier, PersonName, Step
from broker.view import View

SH: Final = 16
LO: Final = 64
LOCAL_SCHEME: Final = "99LOCAL"
"""PS3.3 8.2: a scheme name that begins with 99 is private."""

STEP_KEYWORDS: Final = frozenset(
    {
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledStationName",
        "ScheduledProcedureStepLocation",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledPerformingPhysicianName",
        "ScheduledProcedureStepDescription",
        "ScheduledProtocolCodeSequence",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepStatus",
        "CommentsOnTheScheduledProcedureStep",
        "RequestedContrastAgent",
        "PreMedication",
    }
)
"""What a route's `set` puts into the one item of (0040,0100); everything else stands beside it."""


def render_row(view: View, target: Target) -> Rendered:
    """The row as JSON of `broker.dicom.attributes`. Raises `UnmappableError` naming the attribute."""
    if view.step is None or view.patient is None:
        raise UnmappableError(f"{target.place}: a {view.event.type} has no step to make a worklist row of")
    shortened: list[str] = []
    row: dict[str, Value] = {**patient_module(view.patient), **_request(view, view.step, shortened)}
    item = _step(view.step, shortened)
    if view.step.imported:
        _fill(row, item, dicom.from_json(view.step.imported))
    for keyword, value in target.set.items():
        (item if keyword in STEP_KEYWORDS else row)[keyword] = value
    row["ScheduledProcedureStepSequence"] = (item,)
    # Names stay whole in the row: whoever is answered gets as much of them as it can take.
    broken = vr_faults(with_short_names(row)[0])
    if broken:
        raise UnmappableError(f"{target.place}: {broken[0].keyword}: {broken[0].text}")
    summary = f"worklist row {len(row)} attributes"
    if shortened:
        summary += f"; shortened to fit: {', '.join(shortened)}"
    return Rendered(payload=dicom.to_json(row).encode(), summary=summary)


def _fill(row: dict[str, Value], item: dict[str, Value], imported: Attributes) -> None:
    """What a row that came as one has besides: it fills what is empty, so that PAS and orders go before, and adds the
    further items of a code sequence, of which a step knows the first."""
    steps = imported.get("ScheduledProcedureStepSequence", ())
    for into, other in ((row, imported), (item, cast(tuple[Attributes, ...], steps or ({},))[0])):
        for keyword, value in other.items():
            there = into.get(keyword)
            if keyword != "ScheduledProcedureStepSequence" and (not there or _goes_on(there, value)):
                into[keyword] = value


def _goes_on(there: Value, imported: Value) -> bool:
    """The imported sequence begins with the code that is there, and has more."""
    if len(there) != 1 or len(imported) < 2:
        return False
    ours, first = there[0], imported[0]
    if isinstance(ours, str) or isinstance(first, str):
        return False
    return all(ours.get(key) == first.get(key) for key in ("CodeValue", "LongCodeValue"))


def _issuer(identifier: Identifier) -> Attributes:
    """The HL7v2 Hierarchic Designator macro (PS3.3 10.14.1)."""
    found: dict[str, Value] = {}
    if identifier.namespace:
        found["LocalNamespaceEntityID"] = identifier.namespace
    if identifier.oid:
        found["UniversalEntityID"] = identifier.oid
        found["UniversalEntityIDType"] = identifier.oid_type or "ISO"
    return found


def _request(view: View, step: Step, shortened: list[str]) -> Attributes:
    """Imaging Service Request, Requested Procedure and Visit modules."""
    order, encounter = view.order, view.encounter
    placer = order.placer_number if order else None
    filler = order.filler_number if order else None
    procedure = step.procedure or (order.procedure if order else None)
    found: dict[str, Value] = {
        "AccessionNumber": step.accession_number,
        "StudyInstanceUID": step.study_uid,
        "RequestedProcedureID": step.requested_procedure_id,
        "RequestedProcedureDescription": _fit("RequestedProcedureDescription", _text(procedure), shortened),
        "RequestedProcedurePriority": step.priority,
        "ReferringPhysicianName": "",
        "RequestingPhysician": _name(order.requester if order else None),
        "ReferencedStudySequence": (),
        "ReferencedPatientSequence": (),
        "PlacerOrderNumberImagingServiceRequest": placer.value if placer else "",
        "FillerOrderNumberImagingServiceRequest": filler.value if filler else "",
    }
    if step.accession_issuer:
        found["IssuerOfAccessionNumberSequence"] = ({"LocalNamespaceEntityID": step.accession_issuer},)
    if codes := _codes(procedure, shortened):
        found["RequestedProcedureCodeSequence"] = codes
    if encounter is not None:
        visit = encounter.visit_number
        found["AdmissionID"] = visit.value if visit else ""
        if visit is not None and visit.issuer:
            found["IssuerOfAdmissionIDSequence"] = (_issuer(visit),)
        found["CurrentPatientLocation"] = _fit("CurrentPatientLocation", encounter.location or "", shortened)
        found["ReferringPhysicianName"] = _name(encounter.referring)
    return found


def _step(step: Step, shortened: list[str]) -> dict[str, Value]:
    """The Scheduled Procedure Step module, but for the station, which is the route's to say."""
    item: dict[str, Value] = {
        "Modality": step.modality,
        "ScheduledStationAETitle": step.station_aets,
        "ScheduledStationName": step.station_name,
        "ScheduledProcedureStepLocation": step.location,
        "ScheduledProcedureStepStartDate": step.start_date,
        "ScheduledProcedureStepStartTime": step.start_time,
        "ScheduledPerformingPhysicianName": _name(step.performing_physician),
        "ScheduledProcedureStepDescription": _fit(
            "ScheduledProcedureStepDescription", step.description or _text(step.protocol), shortened
        ),
        "ScheduledProcedureStepID": step.step_id,
        "ScheduledProcedureStepStatus": step.status or "",
    }
    if codes := _codes(step.protocol, shortened):
        item["ScheduledProtocolCodeSequence"] = codes
    return item


def _codes(code: Code | None, shortened: list[str]) -> tuple[Attributes, ...]:
    """A code sequence (PS3.3 8.8); a code above 16 characters stands in Long Code Value."""
    if code is None or not code.code:
        return ()
    value = "CodeValue" if len(code.code) <= SH else "LongCodeValue"
    scheme = code.system if 0 < len(code.system) <= SH else LOCAL_SCHEME
    meaning = _fit("CodeMeaning", _text(code), shortened)
    return ({value: code.code, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning},)


def _text(code: Code | None) -> str:
    return (code.text or code.code) if code else ""


def _fit(keyword: str, text: str, shortened: list[str]) -> str:
    """A description, shortened to what LO holds and noted: it is for reading, not for matching."""
    text = text.replace("\\", "/").replace("\n", " ").strip()
    if len(text) > LO and keyword not in shortened:
        shortened.append(keyword)
    return text[:LO].rstrip()


def _name(name: PersonName | None) -> str:
    return dicom.person_name(name) if name else ""
