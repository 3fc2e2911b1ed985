"""Makes a `RouteSet` of the text of route files, or says everything that is wrong with all of them at once.

Checks what the names mean: destinations and their kinds, events that a destination can take, HL7 paths, DICOM
keywords and literal values, tables, contact data. Opens no connection. What is allowed but hardly meant is `lint.py`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_dict, tag_for_keyword

from broker import contact
from broker.adapter import Kind
from broker.dicom.vr_faults import vr_faults
from broker.errors import ConfigError, Fault, did_you_mean
from broker.event import CLOCK
from broker.hl7.er7 import parse_path
from broker.routing.engine import Route, RouteSet, RouteTarget, SetField
from broker.routing.expression import (
    Expression,
    Scope,
    Template,
    compile_condition,
    compile_template,
    literal_template,
)
from broker.routing.files import is_shared, own_name
from broker.routing.language import (
    Given,
    Hl7Target,
    RouteFile,
    RouteTest,
    WorklistTarget,
    events_of,
    target_of,
)
from broker.routing.shared import Blocks
from broker.routing.syntax import Call, ExpressionError, walk
from broker.routing.tables import Table
from broker.yamlfile.check import validate
from broker.yamlfile.document import Document, NodePath
from broker.yamlfile.reading import loads

_TAKES: Mapping[Kind, tuple[str, ...]] = {"worklist": ("step",), "dicom": ("instance",)}
_SENDS: Mapping[str, tuple[str, ...]] = {"ORM^O01": ("order", "step"), "ORU^R01": ("study",)}
_NO_MESSAGE = ("instance", "study", "commitment", "exception")
"""Events that no HL7 message causes: there is no source message to forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What route files may refer to."""

    destinations: Mapping[str, Kind]
    tables: Mapping[str, Table] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    sources: Collection[str] | None = None
    """Names of the listeners, for tests; None: not checked."""
    takes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What destinations are made of that take something else than their kind does (`OutboundSpec.takes`)."""


def load_files(
    files: Mapping[str, str], site: Site, *, folder: Path | None = None, unread: Sequence[Fault] = ()
) -> RouteSet:
    """Texts of route files and of shared blocks by the name that faults call them, in their order.

    `folder`: where the messages of their tests stand; None: not looked for. `unread`: faults that are known already.
    The set's version is a hash of routes, tables and what environment references stand for, wherever the files stand.

    Raises:
        ConfigError: with every fault of every file.
    """
    routes: list[Route] = []
    faults: list[Fault] = list(unread)
    documents: dict[str, Document] = {}
    for name, text in files.items():
        try:
            documents[name] = loads(text, name, env=site.env)
        except ConfigError as error:
            faults += error.faults
    blocks = Blocks(
        (document for name, document in documents.items() if is_shared(name)),
        complete=not any(is_shared(fault.file) for fault in faults),
    )
    faults += blocks.faults
    digest = hashlib.sha256()
    for table in sorted(site.tables.values(), key=lambda table: table.name):
        digest.update(f"{table.name} {table.digest}\n".encode())
    for name, document in documents.items():
        if is_shared(name):
            continue
        document, wrong = blocks.joined(document)
        faults += wrong
        try:
            spec = validate(document, RouteFile)
        except ConfigError as error:
            faults += error.faults
            continue
        # The values too: an environment reference and a shared block change what the same text means.
        digest.update(f"{own_name(name)}\n{document.source}\n{json.dumps(document.value)}\n".encode())
        reader = _Reader(document, spec, folder, site)
        routes.append(reader.route())
        faults += reader.faults
        first = next((route for route in routes[:-1] if route.name == spec.route), None)
        if first is not None:
            message = f"'{spec.route}' is the name of the route in {first.place}"
            faults.append(document.fault(("route",), message, code="duplicate-name"))
    if faults:
        raise ConfigError(_once(faults))
    return RouteSet(routes, version=digest.hexdigest()[:12], scope=Scope(tables=site.tables))


def _once(faults: Collection[Fault]) -> list[Fault]:
    """In the order of the files; a mistake in a shared block once, however many routes use it."""
    told: dict[tuple[str, int, int, str], Fault] = {}
    for fault in sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column, not fault.note)):
        at = (fault.file, fault.line, fault.column, fault.message)
        if at in told and fault.note and not told[at].note.endswith("others."):
            fault = replace(fault, note=f"{told[at].note.rstrip('.')} and others.")
            told[at] = fault
        told.setdefault(at, fault)
    return list(told.values())


class _Reader:
    """One file: its declaration compiled, its faults collected."""

    def __init__(self, document: Document, spec: RouteFile, folder: Path | None, site: Site) -> None:
        self.faults: list[Fault] = []
        self._document, self._spec, self._folder, self._site = document, spec, folder, site
        self._scope = Scope(tables=site.tables)
        self._events = events_of(spec.on)

    def route(self) -> Route:
        spec = self._spec
        where: NodePath = ("where",)
        return Route(
            name=spec.route,
            file=self._document.file,
            line=self._document.key_mark(("route",))[0],
            document=self._document,
            description=spec.description,
            enabled=spec.enabled,
            events=self._events,
            condition=self._condition(where) if where in self._document else None,
            where=self._document.place(where) if where in self._document else "",
            targets=tuple(self._targets()),
            on_failure=spec.on_failure,
            tests=dict(self._test(n, test) for n, test in enumerate(spec.tests)),
        )

    def _fault(self, code: str, path: NodePath, message: str, hint: str = "", *, key: bool = False) -> None:
        self.faults.append(self._document.fault(path, message, hint, key=key, code=code))

    def _expression_fault(self, path: NodePath, error: ExpressionError) -> None:
        fault = self._document.fault(
            path, error.message, error.hint, offset=error.offset, end=error.end, code="expression"
        )
        self.faults.append(fault)

    def _condition(self, path: NodePath) -> Expression | None:
        try:
            condition = compile_condition(self._spec.where, self._scope)
        except ExpressionError as error:
            self._expression_fault(path, error)
            return None
        if condition.paths and any(isinstance(target, WorklistTarget) for target in self._spec.to):
            self._fault("msg-on-worklist", path, *_NOT_FOR_WORKLISTS)
        return condition

    def _targets(self) -> Iterator[RouteTarget]:
        for index, spec in enumerate(self._spec.to):
            path: NodePath = ("to", index)
            kind, destination = target_of(spec)
            self._destination((*path, kind), kind, destination)
            self._takes(path, kind, destination, getattr(spec, "send", ""))
            hl7 = isinstance(spec, Hl7Target)
            purpose = spec.purpose if isinstance(spec, Hl7Target) else "care"
            lines: dict[str, SetField] = {}
            for name, value in getattr(spec, "set", {}).items():
                at = (*path, "set", name)
                found = len(self.faults)
                self._name(at, name, hl7=hl7, purpose=purpose)
                template = self._value(at, name, value, hl7=hl7, purpose=purpose)
                if len(self.faults) == found and template is not None:
                    lines[name] = SetField(template=template, place=self._document.place(at))
            yield RouteTarget(
                place=self._document.place(path),
                kind=kind,
                destination=destination,
                send=getattr(spec, "send", ""),
                purpose=purpose,
                protected=getattr(spec, "protected", None),
                set=lines,
                index=index,
            )

    def _destination(self, path: NodePath, kind: Kind, name: str) -> None:
        known = self._site.destinations
        if name not in known:
            hint = did_you_mean(name, known) or f"There are {', '.join(sorted(known))}."
            self._fault("unknown-destination", path, f"there is no destination '{name}'", hint)
        elif known[name] != kind:
            hint = f"Write {known[name]}: {name}."
            self._fault("wrong-kind", path, f"'{name}' is of kind {known[name]}", hint, key=True)

    def _takes(self, path: NodePath, kind: Kind, destination: str, send: str) -> None:
        """Faults for events that a target can make nothing of."""
        takes, what = self._site.takes.get(destination) or _TAKES.get(kind), f"a {kind}"
        if send in _SENDS:
            takes, what = _SENDS[send], send
        for event in self._events:
            root = event.partition(".")[0]
            if takes is not None and root not in takes:
                events = " and ".join(f"{name}.*" for name in takes)
                message = f"{what} is made of {events} events, not of {event}"
                self._fault("wrong-events", path, message, key=True)
                return
            if send == "source" and root in _NO_MESSAGE:
                message = f"no HL7 message causes {event}, so none can be forwarded"
                self._fault("wrong-events", (*path, "send"), message)
                return

    def _name(self, path: NodePath, name: str, *, hl7: bool, purpose: str) -> None:
        """Faults of the left side of a `set:` line."""
        if hl7:
            try:
                where = parse_path(name)
            except ValueError as error:
                self._fault("bad-path", path, str(error), key=True)
                return
            if where.segment == "MSH" and where.field in (1, 2, 18):
                message = "MSH-1, MSH-2 and MSH-18 are the destination's to say"
                self._fault("bad-path", path, message, key=True)
            if purpose != "contact" and _is_contact(name):
                self._fault("contact-data", path, *_CONTACT, key=True)
        elif self._keyword(path, name) and name in contact.KEYWORDS:
            message = "contact data never leaves on a worklist or by DICOM"
            self._fault("contact-data", path, message, key=True)

    def _keyword(self, path: NodePath, name: str) -> bool:
        tag = tag_for_keyword(name)
        if tag is None:
            hint = did_you_mean(name, keyword_dict)
            self._fault("unknown-keyword", path, f"there is no DICOM keyword '{name}'", hint, key=True)
        elif dictionary_VR(tag) == "SQ":
            self._fault("unknown-keyword", path, f"'{name}' is a sequence and cannot be set", key=True)
            return False
        return tag is not None

    def _value(
        self, path: NodePath, name: str, value: str | tuple[str, ...], *, hl7: bool, purpose: str
    ) -> Template | tuple[Template, ...] | None:
        """The right side of a `set:` line, compiled; None when it has faults."""
        several = isinstance(value, tuple)
        er7 = hl7 and "." not in name
        texts = [((*path, n), text) for n, text in enumerate(value)] if several else [(path, str(value))]
        templates = [
            t for at, text in texts if (t := self._template(at, text, er7, hl7, purpose)) is not None
        ]
        if len(templates) < len(texts):
            return None
        lists = [at for (at, _), template in zip(texts, templates, strict=True) if template.is_list]
        if hl7 and (several or lists):
            hint = "Write first(…) for the first of a list."
            self._fault("several-values", path, "an HL7 path holds one text", hint)
        elif lists and several:
            hint = "Let the expression stand alone."
            self._fault("several-values", lists[0], "a list cannot hold lists", hint)
        elif not hl7 and (tag := tag_for_keyword(name)) is not None and dictionary_VR(tag) != "SQ":
            if lists and dictionary_VM(tag) == "1":
                hint = "Write first(…) for the first of a list."
                self._fault("several-values", path, f"'{name}' holds one value", hint)
            literals = tuple(t.literal for t in templates if t.literal is not None)
            if literals and len(literals) == len(templates):
                for broken in vr_faults({name: literals if several else literals[0]}):
                    self._fault("vr-rule", path, broken.text)
        return tuple(templates) if several else templates[0]

    def _template(self, path: NodePath, text: str, er7: bool, hl7: bool, purpose: str) -> Template | None:
        if path in self._document.references:  # what the environment says is never an expression
            return literal_template(text, er7=er7)
        try:
            template = compile_template(text, self._scope, er7=er7)
        except ExpressionError as error:
            self._expression_fault(path, error)
            return None
        for node in (n for e in template.expressions for n in walk(e.tree)):
            if isinstance(node, Call) and node.function == "park" and not hl7:
                self._fault("park-on-worklist", path, *_NO_PARKING)
        paths = {at for expression in template.expressions for at in expression.paths}
        if paths and not hl7:
            self._fault("msg-on-worklist", path, *_NOT_FOR_WORKLISTS)
        elif purpose != "contact" and any(_is_contact(at) for at in paths):
            self._fault("contact-data", path, *_CONTACT)
        return template

    def _test(self, number: int, test: RouteTest) -> tuple[str, RouteTest]:
        path: NodePath = ("tests", number)
        given = [((*path, "given"), test.given)]
        given += [((*path, "before", n), message) for n, message in enumerate(test.before)]
        for at, message in given:
            self._given(at, message)
        for name in test.tables:
            if name not in self._site.tables:
                hint = did_you_mean(name, self._site.tables)
                self._fault(
                    "bad-test", (*path, "tables", name), f"there is no table '{name}'", hint, key=True
                )
        for name, outputs in test.expect.outputs.items():
            self._expected((*path, "expect", name), name, outputs)
        if test.expect.none and any(test.expect.outputs.values()):
            said = "nothing and something cannot both be expected"
            self._fault("bad-test", (*path, "expect", "none"), said, key=True)
        return self._document.place(path), test

    def _given(self, path: NodePath, given: Given) -> None:
        said = [name for name in ("file", "hl7", "dicom", "journal") if (*path, name) in self._document]
        of_study = [name for name in ("type", "study") if (*path, name) in self._document]
        if len(said) != (0 if of_study else 1):
            message = "a message is given by one of file, hl7, dicom and journal"
            self._fault("bad-test", path, message, "Or an event by type and study.", key=True)
        elif len(of_study) == 1:
            self._fault("bad-test", path, "an event is given by type and study together", key=True)
        if given.file and self._folder is not None and not (self._folder / given.file).is_file():
            self._fault("bad-test", (*path, "file"), "there is no such file beside the route file")
        for name in given.dicom:
            self._keyword((*path, "dicom", name), name)
        known = self._site.sources
        if given.source == CLOCK and not of_study:
            self._fault("missing-key", path, "'source' is missing", key=True)
        elif known is not None and given.source not in known and given.source != CLOCK:
            hint = did_you_mean(given.source, known) or f"There are {', '.join(sorted(known))}."
            self._fault("bad-test", (*path, "source"), f"there is no listener '{given.source}'", hint)

    def _expected(self, path: NodePath, name: str, outputs: tuple[Mapping[str, object], ...]) -> None:
        own = {destination: kind for kind, destination in map(target_of, self._spec.to)}
        destination = name.partition(".")[2] or name
        if destination not in own or (destination != name and name != f"{own[destination]}.{destination}"):
            known = ("ack", "none", "events", *own, *(f"{kind}.{target}" for target, kind in own.items()))
            hint = did_you_mean(name, known) or f"Known here: {', '.join(known)}."
            self._fault("bad-test", path, f"this route has no destination '{name}'", hint, key=True)
            return
        for number, output in enumerate(outputs):
            for at in output:
                place = (*path, number, at)
                if own[destination] == "hl7":
                    self._name(place, at, hl7=True, purpose="contact")
                else:
                    self._keyword(place, at)


def _is_contact(path: str) -> bool:
    where = parse_path(path)
    return where.segment in contact.SEGMENTS or (where.segment, where.field) in contact.FIELDS


_CONTACT = ("this is contact data (address, telephone, next of kin, employer)", "It needs purpose: contact.")
_NO_PARKING = (
    "park() cannot be used for a worklist, whose rows have no queue",
    "Write default(…, y): a row without a station, a time or a modality is held and reported.",
)
_NOT_FOR_WORKLISTS = (
    "msg() cannot be used for a worklist",
    "Rows are rebuilt when demographics change, without the order's message: use a field of step or order.",
)
