"""What a patient query asks: QPD, RCP and DSC to values (IHE ITI-9, ITI-21; HL7 v2.5.1 5.4, 5.5.4 to 5.5.6). Pure.

Searched for: identifier, family and given name, birth date, sex. Address and telephone are neither searched nor
answered, for anyone; what else PID holds, and visits, are not searched either. All of that is refused by name, because
a criterion that is passed over finds the wrong patients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.adapter import NamePart, PatientWanted
from broker.errors import (
    DATA_TYPE_ERROR,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    TABLE_VALUE_NOT_FOUND,
    UNKNOWN_KEY,
    Location,
    Refused,
)
from broker.event import Identifier
from broker.hl7.ack import AckError
from broker.hl7.demographics import SEX
from broker.hl7.er7 import NULL, Message, Repetition, Segment

_PARAMETER: Final = re.compile(r"@?PID\.(\d{1,2})(?:\.(\d{1,2}))?(?:\.(\d{1,2}))?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}(?:\d\d(?:\d\d(?:\d{2,6}(?:\.\d+)?(?:[+-]\d{4})?)?)?)?", re.ASCII)
_CONTACT: Final = frozenset(("9", "11", "12", "13", "14"))
_BEHIND_ALL: Final = "\U0010ffff"


class Unanswerable(Refused):
    """A query that cannot be answered: every fault of it, each with its place."""

    def __init__(self, errors: Sequence[AckError]) -> None:
        first = errors[0]
        super().__init__(first.text, ack_code="AE", error_code=first.code, location=first.location)
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How much a query must say."""

    known: tuple[Identifier, ...]
    """The domains that may be named: issuers, their values empty."""
    min_letters: int = 3
    """Before a wildcard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query that can be answered."""

    tag: str
    """QPD-2."""
    wanted: PatientWanted
    domains: tuple[Identifier, ...] = ()
    """Identifiers of these issuers are answered; none: of all."""
    quantity: int = 0
    """RCP-2: at most so many patients in one answer; 0: as many as the listener gives."""
    pointer: str = ""
    """DSC-1: behind which patient the answer goes on; empty: a new query."""


def read_pdq(message: Message, rules: Rules) -> Query:
    """QBP^Q22 (ITI-21). Raises `Unanswerable`."""
    qpd, faults = _qpd(message), list[AckError]()
    criteria = _Criteria(rules, faults)
    for number, parameter in enumerate(qpd.repetitions(3), 1):
        if parameter.text:
            criteria.take(parameter, Location(segment="QPD", field=3, repetition=number))
    domains = _domains(qpd, 8, rules, faults)
    quantity = _quantity(message, faults)
    wanted = replace(criteria.whole(), issuers=tuple(domain.issuer for domain in domains))
    if not faults and not _enough(wanted):
        where, text = (
            Location(segment="QPD", field=3),
            "say an identifier, a family name or a whole birth date",
        )
        faults.append(AckError(code=REQUIRED_FIELD_MISSING, location=where, text=text))
    if faults:
        raise Unanswerable(faults)
    dsc = message.first("DSC")
    pointer = dsc.get(1) if dsc is not None else ""
    return Query(tag=qpd.get(2), wanted=wanted, domains=domains, quantity=quantity, pointer=pointer)


def read_pix(message: Message, rules: Rules) -> Query:
    """QBP^Q23 (ITI-9). Raises `Unanswerable`."""
    qpd, faults = _qpd(message), list[AckError]()
    here = Location(segment="QPD", field=3, repetition=1, component=1)
    asked, *more = qpd.repetitions(3) or (Repetition(message, ""),)
    value, domain = asked.get(1).strip(), None
    if more:
        text = "QPD-3 holds more than one identifier"
        faults.append(AckError(code=DATA_TYPE_ERROR, location=replace(here, repetition=2), text=text))
    if not value or value == NULL:
        faults.append(AckError(code=REQUIRED_FIELD_MISSING, location=here, text="QPD-3 holds no identifier"))
    else:
        domain = _domain(asked, 4, replace(here, component=4), rules, faults)
    domains = _domains(qpd, 4, rules, faults)
    if faults or domain is None:
        raise Unanswerable(faults)
    wanted = PatientWanted(identifiers=(domain.model_copy(update={"value": value}),))
    return Query(tag=qpd.get(2), wanted=wanted, domains=domains)


def searched() -> tuple[str, ...]:
    """Parameters of QPD-3 that a demographics query is answered by: found by trying each."""
    message, where = Message.parse(b"MSH|^~\\&\r"), Location(segment="QPD", field=3)
    found = []
    for field in range(1, 40):
        for part in ("", ".1", ".2", ".3", ".4", ".4.1", ".4.2", ".4.3", ".5"):
            faults: list[AckError] = []
            parameter = f"@PID.{field}{part}"
            _Criteria(Rules(known=()), faults).take(Repetition(message, f"{parameter}^"), where)
            if not any(fault.code == TABLE_VALUE_NOT_FOUND for fault in faults):
                found.append(parameter)
    return tuple(found)


def unknown_identifier() -> Unanswerable:
    """What a PIX query is answered whose identifier nobody has."""
    where = Location(segment="QPD", field=3, repetition=1, component=1)
    return Unanswerable([AckError(code=UNKNOWN_KEY, location=where, text="nobody has this identifier")])


def unknown_pointer() -> Unanswerable:
    """What a continuation is answered that goes on behind nobody who is found."""
    text = "DSC-1 is no place in what this query finds; ask anew without it"
    return Unanswerable([AckError(code=UNKNOWN_KEY, location=Location(segment="DSC", field=1), text=text)])


def too_many(most: int) -> Unanswerable:
    """What a query is answered that finds more patients than the listener tells of."""
    where = Location(segment="QPD", field=3)
    return Unanswerable(
        [AckError(location=where, text=f"more than {most} patients are found; say more of the patient")]
    )


class _Criteria:
    """QPD-3, taken one parameter after the other."""

    def __init__(self, rules: Rules, faults: list[AckError]) -> None:
        self._rules, self._faults = rules, faults
        self._identifiers: list[_Named] = []
        self._wanted: dict[str, Any] = {}
        """The rest of a `PatientWanted` by its field."""

    def take(self, parameter: Repetition, where: Location) -> None:
        """`@PID.5.1^HANSEN*`: its name in the first component, its value in the second (QIP, 2.A.59)."""
        match = _PARAMETER.fullmatch(parameter.get(1).strip())
        value = parameter.get(2).strip()
        if match is None:
            self._fault(
                "the name of a parameter is not @PID.field.component", where, 1, TABLE_VALUE_NOT_FOUND
            )
        elif match[1] in _CONTACT:
            text = "address, telephone and names other than the legal one are not searched or answered"
            self._fault(text, where, 1, TABLE_VALUE_NOT_FOUND)
        elif value == NULL:
            self._fault("a parameter cannot be null", where, 2)
        elif not self._put(match, value, parameter, where):
            self._fault("there is no search by this parameter", where, 1, TABLE_VALUE_NOT_FOUND)

    def whole(self) -> PatientWanted:
        """Everything that was said."""
        identifiers = [found for named in self._identifiers if (found := self._identifier(named))]
        return PatientWanted(identifiers=tuple(identifiers), **self._wanted)

    def _put(self, named: re.Match[str], value: str, parameter: Repetition, where: Location) -> bool:
        """Whether it is a parameter that is searched by."""
        match named.groups(""):
            case ("3", "" | "1", ""):
                self._identifiers.append(_Named(where, self._plain(value, where)))
            case ("3", "4", "" | "1" | "2" | "3"):
                sub, whole = named[3], [value, parameter.get(2, 2), parameter.get(2, 3)]
                if not self._identifiers:
                    self._identifiers.append(_Named(where, ""))
                domain = self._identifiers[-1].domain
                if sub:
                    domain[int(sub) - 1] = value
                else:
                    domain[:] = whole
            case ("5", "" | "1", "" | "1"):
                self._once("family", self._name(value, where), where)
            case ("5", "2", ""):
                self._once("given", self._name(value, where), where)
            case ("7", "" | "1", ""):
                self._once("birth_date", self._date(value, where), where)
            case ("8", "", ""):
                self._once("sex", self._sex(value, where), where)
            case _:
                return False
        return True

    def _once(self, name: str, value: NamePart | tuple[str, str] | str | None, where: Location) -> None:
        """Takes what may stand there once: two of it would have to be true together."""
        if name in self._wanted:
            self._fault("this parameter stands there twice", where, 1)
        self._wanted[name] = value

    def _identifier(self, named: _Named) -> Identifier | None:
        if not named.value:
            if any(named.domain):
                self._fault("a domain without an identifier", named.where, 1, REQUIRED_FIELD_MISSING)
            return None
        if not any(named.domain):
            return Identifier(value=named.value)
        domain = _known(named.domain[0], named.domain[1], self._rules)
        if domain is None:
            self._fault("the domain is not known", named.where, 2, UNKNOWN_KEY)
            return None
        return domain.model_copy(update={"value": named.value})

    def _name(self, value: str, where: Location) -> NamePart | None:
        text, star, rest = value.partition("*")
        if rest.strip("*"):
            self._fault("a wildcard stands at the end of a name only", where, 2)
        if star and sum(map(str.isalnum, text)) < self._rules.min_letters:
            self._fault(f"a wildcard needs {self._rules.min_letters} letters before it", where, 2)
        return NamePart(text=text.strip(), prefix=bool(star)) if value else None

    def _date(self, value: str, where: Location) -> tuple[str, str] | None:
        if not value:
            return None
        if _DATE.fullmatch(value) is None:
            self._fault("the birth date is not YYYYMMDD", where, 2)
        return value[:8], value[:8] + ("" if len(value) >= 8 else _BEHIND_ALL)

    def _sex(self, value: str, where: Location) -> str:
        if value and value.upper() not in SEX:
            self._fault("the sex is not M, F or O", where, 2, TABLE_VALUE_NOT_FOUND)
        return SEX.get(value.upper(), "")

    def _plain(self, value: str, where: Location) -> str:
        if "*" in value:
            self._fault("an identifier takes no wildcard", where, 2)
        return value

    def _fault(self, text: str, where: Location, component: int, code: str = DATA_TYPE_ERROR) -> None:
        self._faults.append(AckError(code=code, location=replace(where, component=component), text=text))


class _Named:
    """An identifier of QPD-3 while its parts come in: @PID.3.1, @PID.3.4.1, @PID.3.4.2 …"""

    def __init__(self, where: Location, value: str) -> None:
        self.where, self.value = where, value
        self.domain = ["", "", ""]
        """Namespace, OID, its type."""


def _enough(wanted: PatientWanted) -> bool:
    whole_date = wanted.birth_date is not None and len(wanted.birth_date[1]) == 8
    return bool(wanted.identifiers or wanted.family or whole_date)


def _qpd(message: Message) -> Segment:
    qpd = message.first("QPD")
    if qpd is None:
        where = Location(segment="QPD")
        raise Unanswerable(
            [AckError(code=SEGMENT_SEQUENCE_ERROR, location=where, text="there is no QPD segment")]
        )
    if not qpd.get(2):
        raise Unanswerable(
            [AckError(code=REQUIRED_FIELD_MISSING, location=qpd.location(2), text="QPD-2 is empty")]
        )
    return qpd


def _domains(qpd: Segment, field: int, rules: Rules, faults: list[AckError]) -> tuple[Identifier, ...]:
    """The issuers that a CX field names, each once; those that are not known are faults."""

    def read() -> Iterator[Identifier]:
        for number, cx in enumerate(qpd.repetitions(field), 1):
            where = Location(segment="QPD", field=field, repetition=number)
            if cx.text and (found := _domain(cx, 4, where, rules, faults)) is not None:
                yield found

    return tuple({domain.key: domain for domain in read()}.values())


def _domain(
    cx: Repetition, component: int, where: Location, rules: Rules, faults: list[AckError]
) -> Identifier | None:
    found = _known(cx.get(component, 1).strip(), cx.get(component, 2).strip(), rules)
    if found is None:
        faults.append(AckError(code=UNKNOWN_KEY, location=where, text="the domain is not known"))
    return found


def _known(namespace: str, oid: str, rules: Rules) -> Identifier | None:
    """The issuer of this name or OID: by the OID where both are given."""
    for issuer in rules.known:
        if oid == issuer.oid if oid else namespace and namespace in (issuer.namespace, issuer.oid):
            return issuer
    return None


def _quantity(message: Message, faults: list[AckError]) -> int:
    """RCP-2, in records. RCP-1: answers are immediate."""
    rcp = message.first("RCP")
    if rcp is None:
        return 0
    if rcp.get(1) not in ("", "I"):
        text = "RCP-1 is not I: answers are immediate"
        faults.append(AckError(code=TABLE_VALUE_NOT_FOUND, location=rcp.location(1), text=text))
    quantity, units = rcp.get(2).strip(), rcp.get(2, 2)
    if units not in ("", "RD"):
        text = "RCP-2 is not in records (RD)"
        faults.append(AckError(code=TABLE_VALUE_NOT_FOUND, location=rcp.location(2, 2), text=text))
    if not quantity:
        return 0
    if not (quantity.isascii() and quantity.isdigit() and int(quantity[:9]) > 0):
        faults.append(
            AckError(code=DATA_TYPE_ERROR, location=rcp.location(2, 1), text="RCP-2 is no number above 0")
        )
        return 0
    return int(quantity[:9])
