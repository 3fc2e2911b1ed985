"""Answers to patient queries as bytes: RSP^K22 and RSP^K23 (IHE ITI-21 3.21.4.2, ITI-9 3.9.4.2). Pure.

PID holds who the patient is: identifiers, name, birth date, sex, and what tells twins apart. Never an address, a
telephone number or next of kin, for anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker.event import Identifier, Patient, PersonName
from broker.hl7.ack import AckError
from broker.hl7.edit import Verbatim, components, escape
from broker.hl7.er7 import Header, Message, Separators
from broker.hl7.response import Segment, build_response

Outcome = Literal["OK", "NF", "AE"]
"""QAK-2 (table 0208): found, nobody found, not answered."""

RESPONSES: Final = {"Q22": ("RSP", "K22", "RSP_K21"), "Q23": ("RSP", "K23", "RSP_K23")}
"""Trigger of the query to MSH-9 of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The patients of one answer, and how many there are in all."""

    patients: tuple[Patient, ...] = ()
    total: int = 0
    remaining: int = 0
    pointer: str = ""
    """DSC-1; empty: nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What an answer has of its own."""

    control_id: str
    now: datetime
    charset: str
    """MSH-18 where the asker names none."""


def demographics(
    message: Message, page: Page, domains: Sequence[Identifier], stamp: Stamp
) -> tuple[bytes, int]:
    """RSP^K22: each patient a PID, with the identifiers of these issuers (none: of all)."""
    signs = message.header.separators
    wanted = {domain.issuer for domain in domains}
    segments = [_pid(number, patient, wanted, signs) for number, patient in enumerate(page.patients, 1)]
    if page.pointer:
        segments.append(("DSC", {1: page.pointer, 2: "I"}))
    return _response(message, "OK" if page.patients else "NF", stamp, segments=segments, page=page)


def cross_references(message: Message, identifiers: Iterable[Identifier], stamp: Stamp) -> tuple[bytes, int]:
    """RSP^K23: one PID with the other identifiers; its name is the empty one that ITI-9 asks for."""
    signs = message.header.separators
    written = [_cx(identifier, signs) for identifier in identifiers]
    if not written:
        return _response(message, "NF", stamp)
    name = Verbatim(signs.repetition + signs.component * 6 + "S")
    segments: list[Segment] = [("PID", {3: _repeated(written, signs), 5: name})]
    return _response(message, "OK", stamp, segments=segments)


def refusal(message: Message, errors: Sequence[AckError], stamp: Stamp) -> tuple[bytes, int]:
    """The answer AE: an ERR for each fault."""
    return _response(message, "AE", stamp, errors=errors)


def _response(
    message: Message,
    outcome: Outcome,
    stamp: Stamp,
    *,
    errors: Sequence[AckError] = (),
    segments: Sequence[Segment] = (),
    page: Page | None = None,
) -> tuple[bytes, int]:
    header, qpd = message.header, message.first("QPD")
    qak: dict[int, str] = {2: outcome}
    if qpd is not None:
        qak |= {1: qpd.get(2), 3: Verbatim(qpd.text(1))}
    if page is not None:
        qak |= {4: str(page.total), 5: str(len(page.patients)), 6: str(page.remaining)}
    echoed: list[Segment] = [("QAK", qak)]
    if qpd is not None:
        echoed.append(("QPD", {number: Verbatim(text) for number, text in enumerate(qpd.fields) if number}))
    return build_response(
        header,
        message_type=RESPONSES[header.trigger.upper()],
        code="AE" if outcome == "AE" else "AA",
        control_id=stamp.control_id,
        timestamp=f"{stamp.now:%Y%m%d%H%M%S}+0000",
        errors=errors,
        segments=[*echoed, *segments],
        charset=stamp.charset,
    )


def _pid(number: int, patient: Patient, issuers: set[str], signs: Separators) -> Segment:
    shown = [i for i in patient.identifiers if not issuers or i.issuer in issuers]
    fields: dict[int, str] = {
        1: str(number),
        3: _repeated([_cx(identifier, signs) for identifier in shown], signs),
        5: _xpn(patient.name or PersonName(), signs),
        7: patient.birth_date or "",
        8: patient.sex or "U",
        24: patient.multiple_birth or "",
        25: patient.birth_order or "",
        30: patient.deceased or "",
    }
    return "PID", fields


def _cx(identifier: Identifier, signs: Separators) -> Verbatim:
    parts = [identifier.namespace, identifier.oid, identifier.oid_type]
    if signs.subcomponent:
        issuer = signs.subcomponent.join(escape(part, signs) for part in parts).rstrip(signs.subcomponent)
    else:
        issuer = escape(identifier.namespace or identifier.oid, signs)
    return components(identifier.value, "", "", Verbatim(issuer), identifier.type_code, separators=signs)


def _xpn(name: PersonName, signs: Separators) -> Verbatim:
    parts = (name.family, name.given, name.middle, name.suffix, name.prefix)
    return components(*parts, "", "L" if name else "U", separators=signs)


def _repeated(parts: Sequence[str], signs: Separators) -> Verbatim:
    """Repetitions of a field; the first alone where the asker's message has no sign for more."""
    return Verbatim(signs.repetition.join(parts) if signs.repetition else parts[0])


def of_header(header: Header) -> str:
    """Who asks: MSH-3 and MSH-4 joined with `|`."""
    return f"{header.sending_application}|{header.sending_facility}"
