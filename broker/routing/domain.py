"""What a field or a call can say while a route looks at an event: known words, table rows, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from broker.dicom import vr as vr_rules
from broker.event import StepStatus
from broker.routing.logic import Demand, Scalar
from broker.routing.surroundings import Surroundings
from broker.routing.syntax import Call, Constant, Items, Name, Node, Relation
from broker.routing.tables import Table
from broker.view import catalogue

PARTS: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "study"),
    "instance": ("instance",),
    "study": ("study", "commitment"),
    "result": ("result",),
    "order": ("order", "step", "result", "study"),
}
"""Which events fill a part of the facts; parts that are not listed may stand in any."""

WORDS: Mapping[str, frozenset[Scalar]] = {
    "step.status": frozenset(("", *get_args(StepStatus))),
    "order.whole": frozenset(("", *get_args(StepStatus))),
    "patient.sex": frozenset(("", "M", "F", "O")),
    "step.priority": frozenset(("", "STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW")),
    "study.basis": frozenset(("", "mpps", "quiet")),
    "study.availability": frozenset(("", "ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE")),
}
"""Fields that hold one of a few words (`broker.event`)."""

VRS: Mapping[str, str] = {
    "step.study_uid": "UI",
    "instance.sop_class_uid": "UI",
    "instance.sop_instance_uid": "UI",
    "instance.study_uid": "UI",
    "instance.series_uid": "UI",
    "instance.transfer_syntax_uid": "UI",
    "instance.calling_aet": "AE",
    "study.study_uid": "UI",
    "study.transaction_uid": "UI",
    "study.note": "UI",
    "study.requester": "AE",
    "study.retrieve_aet": "AE",
}
"""Fields that come from DICOM, or keep its rules."""

_EMPTY: Mapping[str, Scalar] = {"string": "", "bool": False, "int": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The events that are looked at, and what is known around them."""

    events: tuple[str, ...]
    tables: Mapping[str, Table]
    around: Surroundings

    def at(self, event: str) -> Domain:
        """While the event is this one."""
        return replace(self, events=(event,))

    def is_empty(self, name: str) -> bool:
        """Whether no event fills the field."""
        filled_by = PARTS.get(name.partition(".")[0])
        return filled_by is not None and not any(e.partition(".")[0] in filled_by for e in self.events)

    def narrowed(self, demand: Demand) -> Demand:
        """The demand, of what its subject can be."""
        subject = demand.subject
        values = self.values(subject)
        if values is not None:
            return demand.within(values)
        if demand.allowed is not None and isinstance(subject, Name) and (vr := VRS.get(subject.name)):
            kept = (v for v in demand.allowed if not v or not vr_rules.broken_rule(vr, str(v)))
            return demand.within(frozenset(kept))
        if isinstance(subject, Call) and subject.function == "size":
            return replace(demand, orders=(*demand.orders, (">=", 0)))
        return demand

    def values(self, node: Node) -> frozenset[Scalar] | None:
        """Everything that a part of an expression can be; None: anything."""
        if isinstance(node, Constant):
            return frozenset((node.value,))
        if isinstance(node, Name):
            return self._field(node.name)
        if isinstance(node, Call) and node.function == "first":
            rows = self._rows(node.arguments[0])
            return None if rows is None else frozenset(row[0] if row else "" for row in rows)
        if isinstance(node, Relation) and node.sign == "in" and isinstance(node.left, Constant):
            rows = self._rows(node.right)
            if rows is not None and not any(node.left.value in row for row in rows):
                return frozenset((False,))
        return None

    def keys(self, node: Node) -> frozenset[str] | None:
        """Every code that a lookup of this can ask for; None: any."""
        if isinstance(node, Items):
            rows = self._rows(node)
            return frozenset(rows[0]) if rows else None
        values = self.values(node) if isinstance(node, Constant | Name) else None
        return None if values is None else frozenset(map(str, values))

    def longest(self, name: str) -> int | None:
        """The most characters that a field can have; None: unknown."""
        values = self.values(Name(start=0, end=0, name=name))
        if values is not None:
            return max(len(str(value)) for value in values)
        return vr_rules.longest(VRS[name]) if name in VRS else None

    def rows_of(self, node: Node) -> list[tuple[str, str]]:
        """Every value in the rows of a lookup's table, with the place of its row."""
        if not isinstance(node, Call) or node.function != "lookup":
            return []
        name = node.arguments[0]
        table = self.tables[str(name.value)] if isinstance(name, Constant) else None
        if table is None:
            return []
        rows = (row for rows in table.rows.values() for row in rows)
        return [(value, table.place_of(row)) for row in rows for value in row.values]

    def _field(self, name: str) -> frozenset[Scalar] | None:
        kind = catalogue().get(name, "")
        if self.is_empty(name):
            return frozenset((_EMPTY[kind],)) if kind in _EMPTY else None
        if name == "type":
            return frozenset(self.events)
        if name in ("source", "site"):
            sources = self.around.sources_of(self.events)
            if not sources:
                return None
            return frozenset(s if name == "source" else self.around.sources[s].site for s in sources)
        return frozenset((True, False)) if kind == "bool" else WORDS.get(name)

    def _rows(self, node: Node) -> list[tuple[str, ...]] | None:
        """Every list that a lookup, or a list of constants, can give; None: anything."""
        if isinstance(node, Items):
            constants = [item.value for item in node.items if isinstance(item, Constant)]
            return [tuple(map(str, constants))] if len(constants) == len(node.items) else None
        if not isinstance(node, Call) or node.function != "lookup":
            return None
        name, _, *default = node.arguments
        table = self.tables.get(str(name.value)) if isinstance(name, Constant) else None
        if table is None:
            return None
        rows = [row.values for rows in table.rows.values() for row in rows]
        for node in default:
            if isinstance(node, Constant):
                rows.append((str(node.value),) if node.value else ())
            else:
                more = self._rows(node)
                if more is None:
                    return None
                rows += more
        return rows
