"""HL7 data types to canonical payloads: CX, EI, XPN, XCN, CE, TS; PID to Patient; PV1 to Encounter. Pure.

What every HL7 adapter reads alike stands here. Address, telephone and next of kin are not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.errors import REQUIRED_FIELD_MISSING, SEGMENT_SEQUENCE_ERROR, Location, UnmappableError
from broker.event import Code, Encounter, Identifier, Patient, PersonName
from broker.hl7.er7 import NULL, Message, Repetition, Segment
from broker.identity import Rules

SEX: Final = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O"}
"""PID-8 to DICOM CS; anything else, `U` too, is empty (IHE RAD-4)."""

LO: Final = 64  # PS3.5 6.2: VR LO, which Patient ID is

_DIGITS: Final = re.compile(r"\d{8}(?:\d{2}){0,3}", re.ASCII)
_ISO: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
_PART_OF_DATE: Final = re.compile(r"\d{4}(0[1-9]|1[0-2])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuers:
    """The issuers a listener knows. One that is written by name only, or by OID only, becomes the whole one."""

    default: Identifier
    """Issuer of an identifier that names none; its value is empty."""
    known: tuple[Identifier, ...] = ()
    rules: Rules = field(default_factory=Rules)
    """How their identifiers are judged."""

    def complete(self, value: str, namespace: str, oid: str, oid_type: str, type_code: str) -> Identifier:
        """An identifier under its whole issuer."""
        for issuer in (self.default, *self.known):
            named = oid == issuer.oid if oid else namespace in ("", issuer.namespace, issuer.oid)
            if named:  # by nothing at all: the default
                namespace, oid, oid_type = issuer.namespace, issuer.oid, issuer.oid_type
                break
        return Identifier(
            value=value,
            namespace=namespace,
            oid=oid,
            oid_type=oid_type,
            type_code=type_code,
            temporary=self.rules.is_temporary(value, oid or namespace),
        )


def read_issuer(text: str) -> Identifier:
    """`STO&2.999.7001&ISO` as an issuer (HD); raises `ValueError` when it is empty or has more than three parts."""
    parts = text.split("&")
    if not text.strip("&") or len(parts) > 3:
        raise ValueError("an issuer is written namespace&oid&ISO")
    namespace, oid, oid_type = (*parts, "", "")[:3]
    return Identifier(value="", namespace=namespace, oid=oid, oid_type=oid_type)


def identifier(cx: Repetition, issuers: Issuers) -> Identifier | None:
    """CX (2.A.14): value, assigning authority, type. None when the value is empty or null.

    The assigning facility (CX-6) stands in where the authority (CX-4) is empty: some senders use only it.
    """
    value = cx.get(1).strip()
    if not value or value == NULL:
        return None
    namespace, oid, oid_type = (stated(cx.get(4, n)) or "" for n in (1, 2, 3))
    if not namespace and not oid:
        namespace, oid, oid_type = (stated(cx.get(6, n)) or "" for n in (1, 2, 3))
    return issuers.complete(value, namespace, oid, oid_type, stated(cx.get(5)) or "")


def identifiers(segment: Segment, field: int, issuers: Issuers) -> tuple[Identifier, ...]:
    """Every repetition of a CX field, each identifier once."""
    found = {i.key: i for cx in segment.repetitions(field) if (i := identifier(cx, issuers)) is not None}
    return tuple(found.values())


def entity(segment: Segment, field: int) -> Identifier | None:
    """EI (2.A.28), as order numbers are: value, namespace, OID. None when empty."""
    for part in segment.repetitions(field)[:1]:
        value, namespace, oid, oid_type = (stated(part.get(n)) or "" for n in (1, 2, 3, 4))
        if value:
            return Identifier(value=value, namespace=namespace, oid=oid, oid_type=oid_type)
    return None


def name(part: Repetition, *, first: int = 1) -> PersonName:
    """XPN (2.A.88), or XCN with `first=2`: family, given, middle, suffix, prefix. Null parts are empty.

    A line break or another control character in a name is a blank: no name has one, and DICOM cannot hold it.
    """
    family, given, middle, suffix, prefix = (_plain(stated(part.get(first + n)) or "") for n in range(5))
    return PersonName(family=family, given=given, middle=middle, prefix=prefix, suffix=suffix)


def _plain(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def person(segment: Segment, field: int) -> PersonName | None:
    """The first person of an XCN field; a bare name in the place of the id counts as a family name."""
    for part in segment.repetitions(field):
        found = name(part, first=2)
        if found:
            return found
        if (text := part.get(1)) and text != NULL and not any(c.isdigit() for c in text):
            return PersonName(family=text)
    return None


def code(segment: Segment, field: int) -> Code | None:
    """CE or CWE (2.A.10): the first triplet, else the alternate one. None when empty."""
    for part in segment.repetitions(field)[:1]:
        for first in (1, 4):
            identifier, text, system = (stated(part.get(first + n)) or "" for n in range(3))
            if identifier or text:
                return Code(code=identifier, text=text, system=system)
    return None


def stated(text: str) -> str | None:
    """None: not said. Empty: cleared (HL7 null). Else the text."""
    if not text:
        return None
    return "" if text == NULL else text.strip() or None


def date_and_time(text: str) -> tuple[str, str] | None:
    """`YYYYMMDD` and `HHMM` or `HHMMSS` (empty when not given) of a TS, in the sender's local time; None: unreadable.

    The ISO form `2017-04-25 07:31:13` is taken too: some senders write it. Fractions and offset are left out.
    """
    text = text.strip()
    if (iso := _ISO.match(text)) is not None:
        digits = "".join(part or "" for part in iso.groups())
    else:
        digits = re.split(r"[.+-]", text, maxsplit=1)[0]
    if _DIGITS.fullmatch(digits) is None or not _is_date(digits[:8]):
        return None
    clock = digits[8:]
    if clock and not (clock[:2] <= "23" and clock[2:4] <= "59" and clock[4:6] <= "60"):
        return None
    return digits[:8], f"{clock}00" if len(clock) == 2 else clock


def birth_date(segment: Segment, field: int = 7) -> str | None:
    """`YYYYMMDD`, or `YYYYMM`, `YYYY` when the sender knows no more. Raises `UnmappableError`."""
    text = stated(segment.get(field))
    if not text:
        return text
    digits = re.split(r"[.+-]", text.replace("-", "") if _ISO.match(text) else text, maxsplit=1)[0][:8]
    if _PART_OF_DATE.fullmatch(digits) or (_DIGITS.fullmatch(digits) and _is_date(digits)):
        return digits
    raise UnmappableError(f"PID-{field} is no date", location=segment.location(field))


def only_pid(message: Message) -> Segment | None:
    """The PID of a message about one patient. Raises `UnmappableError` when there are several: whose is the rest?"""
    found = message.all("PID")
    if len(found) > 1:
        raise UnmappableError(
            "more than one PID segment stands in a message about one patient",
            error_code=SEGMENT_SEQUENCE_ERROR,
            location=found[1].location(),
        )
    return found[0] if found else None


def patient(pid: Segment | None, issuers: Issuers, *, evn: Segment | None = None) -> Patient:
    """PID to Patient, with EVN-6 as the time where PID-33 gives none.

    Raises `UnmappableError` when there is no PID or it identifies nobody.
    """
    if pid is None:
        raise UnmappableError(
            "there is no PID segment", error_code=SEGMENT_SEQUENCE_ERROR, location=Location(segment="PID")
        )
    found = identifiers(pid, 3, issuers) or identifiers(pid, 2, issuers)
    if not found:
        raise UnmappableError(
            "PID-3 holds no identifier", error_code=REQUIRED_FIELD_MISSING, location=pid.location(3)
        )
    if any(len(i.value) > LO or "\\" in i.value or not i.value.isprintable() for i in found):
        raise UnmappableError(
            f"an identifier in PID-3 is longer than the {LO} characters that DICOM holds, or holds a sign it cannot",
            location=pid.location(3),
        )
    sex = stated(pid.get(8))
    return Patient(
        identifiers=found,
        name=legal_name(pid.repetitions(5)),
        birth_date=birth_date(pid),
        sex=None if sex is None else SEX.get(sex.upper(), ""),
        mother=_mother(pid, issuers),
        multiple_birth=_indicator(pid, 24),
        birth_order=_birth_order(pid),
        deceased=_indicator(pid, 30),
        unknown=_indicator(pid, 31),
        as_of=stated(pid.get(33)) or (stated(evn.get(6)) if evn is not None else None) or None,
    )


def _mother(pid: Segment, issuers: Issuers) -> Identifier | None:
    """PID-21; an identifier with an empty value where it was cleared."""
    found = identifiers(pid, 21, issuers)
    if found:
        return found[0]
    return Identifier(value="") if pid.get(21) == NULL else None


def _indicator(pid: Segment, field: int) -> str | None:
    """`Y` or `N` (HL7 table 0136), empty where it was cleared; what is neither says nothing."""
    said = stated(pid.get(field))
    return said.upper() if said and said.upper() in ("Y", "N") else "" if said == "" else None


def _birth_order(pid: Segment) -> str | None:
    """PID-25, a number (NM); what is none says nothing."""
    said = stated(pid.get(25))
    return said if said == "" or (said is not None and re.fullmatch(r"\d{1,2}", said, re.ASCII)) else None


def legal_name(names: Sequence[Repetition]) -> PersonName | None:
    """The legal name (XPN-7 `L`), else the first that is one; an empty name when it was cleared."""
    found = [(read, part.get(7)) for part in names if (read := name(part))]
    if not found:
        return PersonName() if any(part.get(1) == NULL for part in names) else None
    return next((read for read, kind in found if kind == "L"), found[0][0])


def encounter(pv1: Segment | None, pid: Segment | None, issuers: Issuers) -> Encounter | None:
    """PV1 to Encounter; the account number (PID-18) stands in for a missing visit number (IHE RAD-4)."""
    if pv1 is None:
        return None
    visits = identifiers(pv1, 19, issuers) or (identifiers(pid, 18, issuers) if pid is not None else ())
    admitted, discharged = date_and_time(pv1.get(44)), date_and_time(pv1.get(45))
    return Encounter(
        visit_number=visits[0] if visits else None,
        patient_class=stated(pv1.get(2)),
        location=location(pv1, 3),
        prior_location=location(pv1, 6),
        temporary_location=location(pv1, 11),
        facility=stated(pv1.get(3, 4)),
        service=stated(pv1.get(10)),
        attending=person(pv1, 7),
        referring=person(pv1, 8),
        admitted="".join(admitted) if admitted else None,
        discharged="".join(discharged) if discharged else None,
    )


def location(segment: Segment, field: int) -> str | None:
    """PL (2.A.53): point of care, room and bed joined with `^`."""
    if not segment.text(field):
        return None
    place = "^".join(stated(segment.get(field, n)) or "" for n in (1, 2, 3)).rstrip("^")
    return place or stated(segment.get(field))


def event_time(message: Message) -> str:
    """When it happened as the sender says: EVN-6, else EVN-2, else MSH-7."""
    return stated(message["EVN-6"]) or stated(message["EVN-2"]) or message.header.datetime


def _is_date(digits: str) -> bool:
    month, day = int(digits[4:6]), int(digits[6:8])
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return False
    year = int(digits[:4])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day <= (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
