"""Messages and objects that a new route or device is tried with. Synthetic: nobody in them exists.

They name no issuer, so that each listener's own options complete them, and no site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_MSH: Final = "MSH|^~\\&|SENDER||BROKER||20260309101500||{kind}|{control}|T|2.5.1||||||UNICODE UTF-8"
_PID: Final = "PID|1||700123^^^^PI||Sørby^Áile^Lájla||19821030|F"
_PV1: Final = "PV1|1|O|POL^ROM2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One message under test, after those that must have come before it."""

    hl7: str = ""
    """A segment a line."""
    dicom: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    """Messages as `hl7`, for the same listener."""


def order(control: str = "NW", *, modality: str = "CT", station: str = "", number: str = "204") -> str:
    """ORM^O01 for one step; `station` as a RIS names the room or device (OBR-21)."""
    status = {"NW": "SC", "CA": "CA", "XO": "SC"}[control]
    return _message(
        "ORM^O01^ORM_O01",
        f"S{number}{control}",
        _PID,
        f"ORC|{control}|P{number}|F{number}||{status}||^^^20260310093000^^R",
        f"OBR|1|P{number}|F{number}|X1^Examination^L||||||||||||||A{number}|R{number}|S{number}|{station}|||{modality}",
        f"ZDS|2.25.88{number}^^Application^DICOM",
    )


def _message(kind: str, control: str, *segments: str) -> str:
    return "\n".join([_MSH.format(kind=kind, control=control), *segments]) + "\n"


def _adt(trigger: str, structure: str, *segments: str) -> Sample:
    kind = f"ADT^{trigger}^{structure}"
    return Sample(hl7=_message(kind, f"S{trigger}", "EVN||20260309101500", _PID, *(segments or (_PV1,))))


SAMPLES: Final[tuple[Sample, ...]] = (
    _adt("A04", "ADT_A01"),
    _adt("A08", "ADT_A01"),
    _adt("A02", "ADT_A02"),
    _adt("A03", "ADT_A03"),
    _adt("A11", "ADT_A09"),
    _adt("A40", "ADT_A39", "MRG|700999^^^^PI"),
    _adt("A47", "ADT_A30", "MRG|700999^^^^PI"),
    Sample(hl7=order()),
    Sample(hl7=order("XO"), before=(order(),)),
    Sample(hl7=order("CA"), before=(order(),)),
    Sample(
        hl7=_message(
            "ORU^R01^ORU_R01",
            "SR01",
            _PID,
            "ORC|RE|P204|F204",
            "OBR|1|P204|F204|X1^Examination^L|||20260310094500|||||||||||||||20260310105500|||F",
            "OBX|1|TX|18748-4^Diagnostic imaging study^LN||Ingen patologiske funn.||||||F",
        )
    ),
    Sample(
        dicom={
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
            "SOPInstanceUID": "2.25.88204.1",
            "StudyInstanceUID": "2.25.88204",
            "SeriesInstanceUID": "2.25.88204.2",
            "PatientID": "700123",
            "PatientName": "Sørby^Áile^Lájla",
            "Modality": "OT",
        }
    ),
)
"""In this order: the first one that a route makes something of becomes its test."""
