"""Whether what a target sets can stand where it is set: value representation, length, character set, issuer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from broker.dicom import attributes
from broker.dicom import vr as vr_rules
from broker.hl7.er7 import parse_path
from broker.routing.domain import Domain
from broker.routing.engine import RouteTarget, SetField
from broker.routing.expression import Expression, Template
from broker.routing.syntax import Call, Chain, Choice, Constant, Items, Name, Node
from broker.text import encodable

IDENTIFIERS = (("PID", 3), ("PID", 2), ("MRG", 1))
"""HL7 fields of type CX that say who the patient is: the issuer is component 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A value that does not fit, and the part of the expression that gives it; None: the text itself does."""

    code: str
    message: str
    expression: Expression | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """A constant that an expression can be as a whole, and whose it is."""

    node: Node
    value: str
    place: str = ""
    """The table row, where it is one."""


def values(template: Template, keyword: str, charsets: Mapping[str, str], domain: Domain) -> Iterator[Misfit]:
    """What does not fit of one text. `keyword`: of a DICOM attribute, else empty; `charsets`: term to codec."""
    whole = len(template.parts) == 1
    vr = attributes.vr_of(keyword) if keyword else ""
    broken = False
    for part in template.parts:
        if isinstance(part, str):
            if (not vr or vr in vr_rules.TEXT) and (unknown := _unshowable(part, charsets)):
                yield Misfit(code="charset", message=unknown)
            continue
        told: set[int] = set()
        for outcome in _outcomes(part.tree, domain):
            if outcome.node.start in told:
                continue  # of a table, the first row is enough
            code, message = _broken(outcome, keyword if whole else "", vr, charsets)
            if code:
                told.add(outcome.node.start)
                broken = broken or code == "constant-breaks-vr"
                yield Misfit(code=code, message=message, expression=part, node=outcome.node)
    limit = vr_rules.longest(vr) if vr else None
    if limit is not None and not broken and template.literal is None:
        yield from _too_long(template, limit, f"{keyword} ({vr})", domain)


def _broken(outcome: _Outcome, keyword: str, vr: str, charsets: Mapping[str, str]) -> tuple[str, str]:
    """Code and message of what is wrong with a constant; two empty texts where nothing is."""
    said = f"what stands in {outcome.place}" if outcome.place else "this constant"
    rule = vr_rules.broken_rule(vr, outcome.value) if keyword and outcome.value else ""
    if rule:
        return "constant-breaks-vr", f"{said} breaks a rule of {keyword}: {rule}"
    unknown = _unshowable(outcome.value, charsets) if not vr or vr in vr_rules.TEXT else ""
    return ("charset", f"{said}: {unknown}") if unknown else ("", "")


def _unshowable(text: str, charsets: Mapping[str, str]) -> str:
    """Which character none of the sets can show; nothing where the destination declares none."""
    if not charsets or any(encodable(text, codec) for codec in charsets.values()):
        return ""
    sign = next((c for c in text if not any(encodable(c, codec) for codec in charsets.values())), "")
    shown = f"'{sign}'" if sign else "all of it at once"
    return f"{shown} cannot be shown in {' or '.join(charsets)}, what the destination can read"


def _too_long(template: Template, limit: int, where: str, domain: Domain) -> Iterator[Misfit]:
    bounds = [
        (len(part), len(part)) if isinstance(part, str) else _length(part.tree, domain)
        for part in template.parts
    ]
    least = sum(low for low, _ in bounds)
    tops = [high for _, high in bounds]
    most = None if None in tops else sum(high or 0 for high in tops)
    found = ""
    if least > limit:
        found = f"this is at least {least} characters long, and {where} holds {limit}"
    elif most is not None and most > limit:
        found = f"this can be {most} characters long, and {where} holds {limit}"
    if found:
        alone = template.parts[0] if len(template.parts) == 1 else None
        whole = alone if isinstance(alone, Expression) else None
        yield Misfit(code="too-long", message=found, expression=whole, node=whole.tree if whole else None)


def _outcomes(node: Node, domain: Domain) -> Iterator[_Outcome]:
    match node:
        case Constant(value=value):
            yield _Outcome(node=node, value=str(value))
        case Items(items=items):
            for item in items:
                yield from _outcomes(item, domain)
        case Choice(then=then, otherwise=otherwise):
            yield from _outcomes(then, domain)
            yield from _outcomes(otherwise, domain)
        case Call(function="default", arguments=arguments, method=False):
            for argument in arguments:
                yield from _outcomes(argument, domain)
        case Call(function="first" | "skip" | "park", arguments=(inner,), method=False):
            yield from _outcomes(inner, domain)
        case Call(function="lookup", arguments=(_, _, *default), method=False):
            for value, place in domain.rows_of(node):
                yield _Outcome(node=node, value=value, place=place)
            for other in default:
                yield from _outcomes(other, domain)


def _length(node: Node, domain: Domain) -> tuple[int, int | None]:
    """The fewest and the most characters of one text; None: nobody knows."""
    match node:
        case Constant(value=value):
            return len(str(value)), len(str(value))
        case Name(name=name):
            return 0, domain.longest(name)
        case Chain(operands=operands):
            both = [_length(operand, domain) for operand in operands]
            highs = [high for _, high in both]
            return sum(low for low, _ in both), None if None in highs else sum(h or 0 for h in highs)
        case Choice(then=then, otherwise=otherwise):
            return _either(_length(then, domain), _length(otherwise, domain))
        case Call(function="skip" | "park", arguments=(inner,), method=False):
            return _length(inner, domain)
        case Call(function="default", arguments=(one, other), method=False):
            low, high = _either(_length(one, domain), _length(other, domain))
            return min(low, _length(other, domain)[0]), high
    return 0, None


def _either(one: tuple[int, int | None], other: tuple[int, int | None]) -> tuple[int, int | None]:
    most = None if one[1] is None or other[1] is None else max(one[1], other[1])
    return min(one[0], other[0]), most


def identifiers(target: RouteTarget) -> Iterator[tuple[str, str]]:
    """Lines that set a patient's identifier without its issuer, and the line that is missing."""
    if target.kind == "worklist":
        line = target.set.get("PatientID")
        if line is not None and "IssuerOfPatientID" not in target.set and not _same_patient(line):
            yield "PatientID", "IssuerOfPatientID"
        return
    for name, line in target.set.items() if target.kind == "hl7" else ():
        where = parse_path(name)
        if (where.segment, where.field) not in IDENTIFIERS or where.component not in (None, 1):
            continue
        if where.component is None:
            literal = line.template.literal if isinstance(line.template, Template) else None
            if literal and literal.count("^") < 3:
                yield name, f"its component 4, as in {literal.rstrip('^')}^^^ISSUER"
            continue
        field = name.rpartition(".")[0] if "." in name else name
        if not any(other.startswith(f"{field}.4") for other in target.set) and not _same_patient(line):
            yield name, f"{field}.4"


def _same_patient(line: SetField) -> bool:
    """The patient's own identifier, whose issuer stands there already."""
    template = line.template
    if not isinstance(template, Template):
        return False
    trees = [expression.tree for expression in template.expressions]
    return (
        len(trees) == len(template.parts) == 1
        and isinstance(trees[0], Name)
        and trees[0].name == "patient.id"
    )
