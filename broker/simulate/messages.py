"""What PAS, RIS and LAB say, as bytes, and what the EPJ must come to hear of each. Pure.

HL7 v2.5.1 chapters 3, 4 and 7; IHE ITI-30, ITI-31, RAD-1, RAD-4. What the EPJ hears follows the shipped routes: every
ADT and result as it was written, and an ORM^O01 for each change of an order's step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from broker.errors import RemoteProtocolError
from broker.hl7.edit import Value, Verbatim, build, components
from broker.hl7.er7 import Header, Message
from broker.simulate.people import NATIONAL, SITE, Person

Flow = Literal["pas", "orders", "results"]

STRUCTURES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("A01", "A04", "A08", "A13"), "ADT_A01"),
    **dict.fromkeys(("A05", "A28", "A31"), "ADT_A05"),
    "A02": "ADT_A02",
    "A03": "ADT_A03",
    "A11": "ADT_A09",
    "A12": "ADT_A12",
    "A40": "ADT_A39",
    "A47": "ADT_A30",
}
"""Trigger to MSH-9.3 (HL7 v2.5.1 3.3)."""

_Fields = dict[int | str, Value]
_Segments = list[tuple[str, _Fields]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message on its way to the broker."""

    flow: Flow
    control_id: str
    raw: bytes = field(repr=False)
    patients: tuple[str, ...]
    """Hospital numbers whose order it stands in: of a merge both."""
    epj: tuple[str, ...] = ()
    """Keys (`key_of`) of what the EPJ must be sent because of it."""
    refused: bool = False
    """It is wrong on purpose: the right answer is no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a message has of its sender and its moment: MSH-7 `YYYYMMDDHHMMSS` and MSH-10."""

    time: str
    control_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One imaging order with its steps; all start at the same time."""

    number: str
    """Makes placer, filler and accession number and the ids of procedure and steps."""
    study_uid: str
    modality: str
    procedure: tuple[str, str]
    station: str
    """Station code of config/stations.csv; empty: any of the modality."""
    steps: int = 1

    @property
    def accession(self) -> str:
        return f"A{self.number}"

    def step(self, number: int) -> str:
        """(0040,0009) of the step, counted from 1."""
        return f"{self.number}-{number}"

    @property
    def placer(self) -> str:
        return f"P{self.number}"


def key_of(raw: bytes) -> tuple[str, str]:
    """(control id, key) of what arrived at the EPJ. Raises `RemoteProtocolError` for what is no message.

    An order status is known by what it says, as its control id is the broker's own; all else by its control id.
    """
    header = Header.read(raw)
    if header.message_code != "ORM":
        return header.control_id, f"control {header.control_id}"
    message = Message.parse(raw)
    orc, obr = message.first("ORC"), message.first("OBR")
    if orc is None:
        raise RemoteProtocolError("an order without ORC")
    step = obr.get(20) if obr is not None else ""
    return header.control_id, status_key(orc.get(2), step, orc.get(5), orc.get(7, 4))


def status_key(placer: str, step: str, status: str, start: str) -> str:
    """The key of an order status: ORC-2, OBR-20, ORC-5, ORC-7.4."""
    return f"status {placer} {step} {status} {start}"


def digest(raw: bytes) -> str:
    """What two receptions of the same bytes have in common."""
    return hashlib.sha256(raw).hexdigest()


def adt(
    trigger: str, stamp: Stamp, person: Person, *, visit: str = "", ward: str = "", prior: str = ""
) -> Said:
    """Any ADT of `STRUCTURES`. `prior` is MRG-1 of A40 and A47; with `visit` there is a PV1."""
    segments: _Segments = [
        ("MSH", _msh(f"ADT^{trigger}^{STRUCTURES[trigger]}", stamp, "PAS")),
        ("EVN", {2: stamp.time}),
        ("PID", _pid(person, contact=trigger not in ("A40", "A47"))),
    ]
    if prior:
        segments.append(("MRG", {1: components(prior, "", "", _hd(SITE), "PI")}))
    elif visit or trigger not in ("A28", "A31"):
        segments.append(("PV1", _pv1(visit, ward)))
    else:
        segments.append(("PV1", {1: "1", 2: "N"}))
    patients = (person.number, prior) if prior else (person.number,)
    return _said("pas", stamp, segments, patients)


def orm(stamp: Stamp, person: Person, order: Order, control: str, status: str, start: str) -> Said:
    """ORM^O01 with ZDS for the order's first step."""
    numbers: _Fields = {2: components(order.placer, "EPJ"), 3: components(f"F{order.number}", "RIS")}
    segments: _Segments = [
        ("MSH", _msh("ORM^O01^ORM_O01", stamp, "RIS")),
        ("PID", _pid(person)),
        ("PV1", {1: "1", 2: "O"}),
        ("ORC", {1: control, **numbers, 5: status, 7: components("", "", "", start, "", "R")}),
        ("OBR", {1: "1", **numbers, 4: _procedure(order), 16: _doctor(), 18: order.accession,
                 19: f"R{order.number}", 20: order.step(1), 21: order.station, 24: order.modality}),
        ("ZDS", {1: components(order.study_uid, "", "Application", "DICOM")}),
    ]  # fmt: skip
    keys = (status_key(order.placer, order.step(1), _heard(control, status), start),)
    return _said("orders", stamp, segments, (person.number,), keys)


def omi(stamp: Stamp, person: Person, order: Order, control: str, status: str, start: str) -> Said:
    """OMI^O23 with an IPC for each of the order's steps."""
    numbers: _Fields = {2: components(order.placer, "EPJ"), 3: components(f"F{order.number}", "RIS")}
    segments: _Segments = [
        ("MSH", _msh("OMI^O23^OMI_O23", stamp, "RIS")),
        ("PID", _pid(person)),
        ("PV1", {1: "1", 2: "I"}),
        ("ORC", {1: control, **numbers, 5: status}),
        ("TQ1", {1: "1", 7: start, 9: "R"}),
        ("OBR", {1: "1", **numbers, 4: _procedure(order), 16: _doctor()}),
    ]
    for number in range(1, order.steps + 1):
        ipc: _Fields = {1: order.accession, 2: f"R{order.number}", 3: order.study_uid, 4: order.step(number)}
        segments.append(("IPC", {**ipc, 5: order.modality, 7: order.station}))
    heard = _heard(control, status)
    keys = tuple(status_key(order.placer, order.step(n), heard, start) for n in range(1, order.steps + 1))
    return _said("orders", stamp, segments, (person.number,), keys)


def cancel(stamp: Stamp, person: Person, order: Order) -> Said:
    """ORM^O01 that cancels an order as a whole: it names no step."""
    numbers: _Fields = {2: components(order.placer, "EPJ"), 3: components(f"F{order.number}", "RIS")}
    segments: _Segments = [
        ("MSH", _msh("ORM^O01^ORM_O01", stamp, "RIS")),
        ("PID", _pid(person)),
        ("ORC", {1: "CA", **numbers, 5: "CA"}),
    ]
    return _said("orders", stamp, segments, (person.number,), (status_key(order.placer, "", "CA", ""),))


def report(stamp: Stamp, person: Person, order: Order, status: str) -> Said:
    """ORU^R01: a radiology report, OBR-25 `P` or `F`."""
    numbers: _Fields = {2: components(order.placer, "EPJ"), 3: components(f"F{order.number}", "RIS")}
    segments: _Segments = [
        ("MSH", _msh("ORU^R01^ORU_R01", stamp, "RIS")),
        ("PID", _pid(person)),
        ("ORC", {1: "RE", **numbers}),
        ("OBR", {1: "1", **numbers, 4: _procedure(order), 7: stamp.time, 22: stamp.time, 24: "RAD", 25: status}),
        ("OBX", {1: "1", 2: "TX", 3: components("18748-4", "Diagnostic imaging study", "LN"),
                 5: "Ingen patologiske funn. Øvrige merknader: ingen.", 11: status, 14: stamp.time}),
    ]  # fmt: skip
    return _said("results", stamp, segments, (person.number,))


def laboratory(stamp: Stamp, person: Person, value: str) -> Said:
    """ORU^R01 of the laboratory: one haemoglobin in g/dL."""
    segments: _Segments = [
        ("MSH", _msh("ORU^R01^ORU_R01", stamp, "LAB")),
        ("PID", _pid(person)),
        ("OBR", {1: "1", 3: components(stamp.control_id, "LAB"), 4: components("NPU02319", "Hb", "NPU"),
                         7: stamp.time, 25: "F"}),
        ("OBX", {1: "1", 2: "NM", 3: components("NPU02319", "B-Hemoglobin", "NPU"), 5: value, 6: "g/dL", 11: "F"}),
    ]  # fmt: skip
    return _said("results", stamp, segments, (person.number,))


def lying(said: Said, control_id: str) -> Said:
    """The message in ISO 8859-1 under an MSH-18 that says UTF-8: a name with æøå cannot be read so."""
    text = said.raw.decode().replace(f"|{said.control_id}|", f"|{control_id}|", 1)
    raw = text.replace("PID|1||", "PID|1|æøå|", 1).encode("iso8859-1", "replace")
    return replace(said, control_id=control_id, raw=raw, epj=(), refused=True)


def _said(
    flow: Flow,
    stamp: Stamp,
    segments: _Segments,
    patients: tuple[str, ...],
    epj: tuple[str, ...] = (),
) -> Said:
    keys = epj or (f"control {stamp.control_id}",)
    return Said(flow=flow, control_id=stamp.control_id, raw=build(segments), patients=patients, epj=keys)


def _msh(kind: str, stamp: Stamp, sender: str) -> _Fields:
    return {
        3: sender,
        4: "STO",
        5: "BROKER",
        6: "STO",
        7: stamp.time,
        9: components(*kind.split("^")),
        10: stamp.control_id,
        11: "T",
    }


def _pid(person: Person, *, contact: bool = False) -> _Fields:
    local = components(person.number, "", "", _hd(SITE), "PI")
    national = components(person.national, "", "", _hd(NATIONAL), "NNNOR")
    fields: _Fields = {
        1: "1",
        3: (national, local) if person.national else local,
        5: components(person.family, person.given, person.middle),
        7: person.birth_date,
        8: person.sex,
    }
    if contact and person.street:
        fields[11] = components(person.street, "", "Trondheim", "", "7013", "NO", "H")
        fields[13] = components("", "PRN", "PH", "", "47", person.phone)
    return fields


def _hd(text: str) -> Verbatim:
    """An assigning authority, whose `&` are separators."""
    return Verbatim(text)


def _pv1(visit: str, ward: str) -> _Fields:
    fields: _Fields = {1: "1", 2: "I" if ward.startswith("MED") else "O", 3: components(*ward.split("^"))}
    if visit:
        fields[19] = components(visit, "", "", _hd(SITE))
    return fields


def _procedure(order: Order) -> Value:
    return components(*order.procedure, "NCRP")


def _doctor() -> Value:
    return components("12345", "Lege", "Kari")


def _heard(control: str, status: str) -> str:
    """ORC-5 of the status that the EPJ hears (config/order-status.csv, HL7 table 0038)."""
    if control in ("CA", "OC", "DC"):
        return "CA" if control != "DC" else "DC"
    return {"CM": "CM", "CA": "CA", "DC": "DC"}.get(status, "SC")
