"""Values made fit for a pull request: their shape, or the code itself where the routes' authors wrote it. Pure.

Nothing of a patient passes: letters become `A` or `a`, digits `9`. A value is shown in clear only where it is a word of
the route files or code tables and stands in a place that does not say who somebody is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from broker.adapter import Kind
from broker.routing.engine import RouteSet
from broker.routing.syntax import Constant, walk

LONGEST: Final = 40
"""Characters of a shape; the length is told of a longer one."""

OPEN_SEGMENTS: Final = frozenset(("MSH", "EVN", "ORC", "OBR", "TQ1", "IPC"))
"""Segments whose codes may be shown: they say what is asked for and by which system, not for whom."""

_SIGNS: Final = frozenset(" ^~&\\|.,:;+-_/()")


def shape(value: str) -> str:
    """`Aaaaa^Aaaa` of a name, `99999999999` of a number."""
    found = "".join(map(_sign, value[:LONGEST]))
    return f"{found}… ({len(value)})" if len(value) > LONGEST else found


def _sign(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character if character in _SIGNS else "?"


def words(*sets: RouteSet) -> frozenset[str]:
    """Everything that the authors of these sets wrote as a value: literals of routes, codes and values of tables."""
    return frozenset(word for routes in sets for word in _words(routes) if word)


def _words(routes: RouteSet) -> Iterator[str]:
    for table in routes.tables.values():
        for code, rows in table.rows.items():
            yield code
            yield from (value for row in rows for value in row.values)
    for route in routes.routes:
        for line in (line for target in route.targets for line in target.set.values()):
            for template in line.template if isinstance(line.template, tuple) else (line.template,):
                yield template.literal or ""
                for expression in template.expressions:
                    for node in walk(expression.tree):
                        if isinstance(node, Constant) and isinstance(node.value, str):
                            yield node.value


def names_somebody(kind: Kind, place: str) -> bool:
    """Whether a place may say who somebody is. `place`: `PID-5.1`, or a DICOM keyword."""
    if kind == "hl7":
        return place[:3] not in OPEN_SEGMENTS
    tag = tag_for_keyword(place)
    return tag is None or tag >> 16 == 0x0010 or dictionary_VR(tag) == "PN"


def shown(value: str | tuple[str, ...] | None, kind: Kind, place: str, known: frozenset[str]) -> str:
    """A value as it may be shown: `CT3_STO` for a word of the routes, else its shape; `nothing`."""
    values = (value,) if isinstance(value, str) else value or ()
    clear = not names_somebody(kind, place)
    texts = [one if clear and one in known else shape(one) for one in values if one]
    return " | ".join(texts) or "nothing"
