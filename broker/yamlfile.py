"""Reads a YAML file into plain values that know where they stand, and checks them against a pydantic model.

Every mistake comes out as a `Fault` with file, line and column, all of them at once, and never with a value
in it. Does not know what any file means, and reads no environment but the mapping it is given.

Scalars follow `broker.scalars`. `${env:NAME}` and `${env:NAME:-default}` may stand for a whole scalar, which
then has the value that the text would have if it stood there plainly (empty: ""). Tags, anchors and aliases
are refused, and so is the same key twice. Parts of one document may stand in another (`Document.with_part`);
their mistakes are told where they were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel, ValidationError
from yaml import _yaml

from broker.errors import ConfigError, Fault
from broker.scalars import Duration, Float, Int, Secret, Size, Switch, Text, as_written, plain

__all__ = [
    "Document",
    "Duration",
    "Float",
    "Int",
    "NodePath",
    "Secret",
    "Size",
    "Switch",
    "Text",
    "did_you_mean",
    "json_path",
    "load",
    "loads",
    "read_text",
    "validate",
]

MAX_DEPTH = 64
_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"
MAX_CHARACTERS = 4_000_000

_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\}", re.DOTALL)
NodePath = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


# --- the document ---


@dataclass(frozen=True, slots=True)
class _Mark:
    index: int
    line: int
    column: int
    style: str = ""
    end: int = 0
    """Index behind the last character."""
    behind: int = 0
    """The column behind it, where it is a scalar on one line."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where a value was written that stands in another document."""

    document: Document
    path: NodePath
    used: NodePath
    """What asks for it, in the document that it stands in now."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file as values: `dict`, `tuple`, `str`, `Int`, `Float`, `bool`, `None`."""

    file: str
    source: str = field(repr=False)
    value: Any = field(repr=False)
    references: frozenset[NodePath] = frozenset()
    """Where an environment reference stood."""
    _values: Mapping[NodePath, _Mark] = field(repr=False, default_factory=dict)
    _keys: Mapping[NodePath, _Mark] = field(repr=False, default_factory=dict)
    _parts: Mapping[NodePath, Part] = field(repr=False, default_factory=dict)

    def __contains__(self, path: NodePath) -> bool:
        home, inside = self.home(path)
        return inside in home._values

    def home(self, path: NodePath) -> tuple[Document, NodePath]:
        """The document that the value at `path` was written in, and its path there."""
        part = self._part(path)
        return (self, path) if part is None else (part.document, part.path)

    def _part(self, path: NodePath) -> Part | None:
        for length in range(len(path), 0, -1) if self._parts else ():
            if part := self._parts.get(path[:length]):
                return replace(part, path=(*part.path, *path[length:]))
        return None

    def with_part(self, at: NodePath, other: Document, path: NodePath, *, used: NodePath) -> Document:
        """The document with what a mapping of another one says beneath `at`, wherever it says nothing itself.

        Mappings are joined key by key at every depth; anything else is taken whole, or not at all.
        """
        new: dict[NodePath, Part] = {}

        def joined(own: Any, others: Any, steps: NodePath) -> Any:
            if not isinstance(own, dict) or not isinstance(others, dict):
                return own
            result = dict(own)
            for key, value in others.items():
                if key in own:
                    result[key] = joined(own[key], value, (*steps, key))
                else:
                    result[key] = value
                    new[*at, *steps, key] = Part(other, (*path, *steps, key), used)
            return result

        def along(value: Any, steps: NodePath) -> Any:
            step, *rest = steps
            if isinstance(value, tuple):
                return tuple(along(v, tuple(rest)) if n == step else v for n, v in enumerate(value))
            if rest:
                return {**value, step: along(value[step], tuple(rest))}
            if step in value:
                return {**value, step: joined(value[step], other.get(path), ())}
            new[at] = Part(other, path, used)
            return {**value, step: other.get(path)}

        value = along(self.value, at)
        moved = ((*at, *r[len(path) :]) for r in other.references if r[: len(path)] == path)
        taken = {r for r in moved if any(r[: len(p)] == p for p in new)}
        return replace(self, value=value, references=self.references | taken, _parts={**self._parts, **new})

    @property
    def sources(self) -> dict[str, str]:
        """The text of the file, and of every file that a part of it was written in, by name."""
        return {self.file: self.source, **{p.document.file: p.document.source for p in self._parts.values()}}

    def get(self, path: NodePath) -> Any:
        """The value at a path; raises `KeyError` or `IndexError` when there is none."""
        value = self.value
        for step in path:
            value = value[step]
        return value

    def mark(self, path: NodePath = ()) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path`, or of the nearest value above it."""
        mark = self._nearest(path)
        return mark.line, mark.column

    def _nearest(self, path: NodePath) -> _Mark:
        home, path = self.home(path)
        while path and path not in home._values:
            path = path[:-1]
        return home._values[path]

    def span(self, path: NodePath) -> tuple[int, int]:
        """Where in `source` the value at `path` stands: its first character, and the one behind its last."""
        mark = self._values[path]
        return mark.index, mark.end

    def key_mark(self, path: NodePath) -> tuple[int, int]:
        """Line and column, from 1, of the key under which the value at `path` stands."""
        home, inside = self.home(path)
        mark = home._keys.get(inside)
        return (mark.line, mark.column) if mark else self.mark(path)

    def place(self, path: NodePath) -> str:
        """`routes/eye.yaml:7`: file and line of the key under which the value at `path` stands."""
        return f"{self.home(path)[0].file}:{self.key_mark(path)[0]}"

    def mark_inside(self, path: NodePath, offset: int) -> tuple[int, int]:
        """Line and column of the character at `offset` of a text, through quotes, escapes and folded lines.

        Folding only ever changes white space, so what lies between is counted in characters that are not.
        """
        home, inside = self.home(path)
        if home is not self:
            return home.mark_inside(inside, offset)
        mark, text = self._values[path], str(self.get(path))
        if path in self.references:
            return mark.line, mark.column
        index, source = mark.index, self.source
        if mark.style in "|>" and mark.style:
            index = source.find("\n", index) + 1
        elif mark.style:
            index += 1
        left = sum(not c.isspace() for c in text[:offset])
        while index < len(source):
            width, blank = _character(source, index, mark.style)
            if left == 0 and not blank:
                break
            index, left = index + width, left - (not blank)
        line = source.count("\n", 0, index) + 1
        return line, index - (source.rfind("\n", 0, index) + 1) + 1

    def fault(
        self,
        path: NodePath,
        message: str,
        hint: str = "",
        *,
        key: bool = False,
        offset: int | None = None,
        end: int | None = None,
        code: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> Fault:
        """A fault at a value, at its key (`key`), or at the characters from `offset` to `end` of a text."""
        part = self._part(path)
        if part is not None:
            told = part.document.fault(
                part.path, message, hint, key=key, offset=offset, end=end, code=code, severity=severity
            )
            return replace(told, note=f"Used by {self.place(part.used)}.")
        if offset is not None and path in self._values:
            line, column = self.mark_inside(path, offset)
            behind = self._behind(path, line, end)
        else:
            mark = (self._keys.get(path) if key else None) or self._nearest(path)
            line, column, behind = mark.line, mark.column, mark.behind
        where = json_path(path)
        return Fault(
            file=self.file,
            line=line,
            column=column,
            end=behind,
            message=f"{where}: {message.rstrip('.')}.",
            hint=hint,
            path=where,
            code=code,
            severity=severity,
        )

    def _behind(self, path: NodePath, line: int, end: int | None) -> int:
        """The column behind the last character before `end`, where that stands on the line; else 0."""
        if not end or path in self.references:
            return 0
        last, column = self.mark_inside(path, end - 1)
        return column + 1 if last == line else 0


def json_path(path: NodePath) -> str:
    """`$.to[0].set.PatientID`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?`, or nothing when nothing known is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def _character(source: str, index: int, style: str) -> tuple[int, bool]:
    """How many source characters one character of the text takes, and whether it is white space."""
    if style == "'" and source.startswith("''", index):
        return 2, False
    if style == '"' and source[index] == "\\":
        escape = source[index + 1 : index + 2]
        return {"x": 4, "u": 6, "U": 10}.get(escape, 2), escape in "tnvfrNLP_ \t\n"
    return 1, source[index].isspace()


def load(path: Path, *, env: Mapping[str, str] | None = None, name: str | None = None) -> Document:
    """Reads a file; `name` is what faults call it (default: the path as given).

    Raises:
        ConfigError: not readable, not UTF-8, not YAML, or against the rules above.
    """
    name = name or path.as_posix()
    return loads(read_text(path, name), name, env=env)


def read_text(path: Path, name: str) -> str:
    """The text of a file as it stands. Raises `ConfigError` where it cannot be read or is not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            [Fault(file=name, line=1, column=1, message=f"cannot be read: {error.strerror}.", code="syntax")]
        ) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        raise ConfigError([_fault_at(name, before, len(before), "this is not UTF-8")]) from None


def loads(text: str, file: str = "<text>", *, env: Mapping[str, str] | None = None) -> Document:
    """Reads a text; see `load`."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            [
                Fault(
                    file=file,
                    line=1,
                    column=1,
                    message=f"longer than {MAX_CHARACTERS} characters.",
                    code="syntax",
                )
            ]
        )
    return _Builder(text, file, env or {}).build()


def _fault_at(file: str, text: str, index: int, message: str, hint: str = "", code: str = "syntax") -> Fault:
    line = text.count("\n", 0, index) + 1
    column = index - (text.rfind("\n", 0, index) + 1) + 1
    return Fault(file=file, line=line, column=column, message=f"{message}.", hint=hint, code=code)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    path: NodePath
    mapping: dict[str, Any] | None
    items: list[Any]
    key: str | None = None


class _Builder:
    """Builds values from parser events with its own stack: no recursion, so no nesting can exhaust one."""

    def __init__(self, text: str, file: str, env: Mapping[str, str]) -> None:
        self._text, self._file, self._env = text, file, env
        self._values: dict[NodePath, _Mark] = {}
        self._keys: dict[NodePath, _Mark] = {}
        self._references: set[NodePath] = set()
        self._faults: list[Fault] = []
        self._stack: list[_Open] = []
        self._root: Any = None
        self._documents = 0

    def build(self) -> Document:
        try:
            parser = _yaml.CParser(self._text)
            while (event := parser.get_event()) is not None and self._take(event):
                pass
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except yaml.reader.ReaderError as error:
            self._faults.append(
                _fault_at(self._file, self._text, error.position, "a control character stands here")
            )
        if self._faults:
            raise ConfigError(self._faults)
        self._values.setdefault((), _Mark(0, 1, 1))
        return Document(
            self._file, self._text, self._root, frozenset(self._references), self._values, self._keys
        )

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        index = mark.index if mark else 0
        line = self._text[self._text.rfind("\n", 0, index) + 1 :].split("\n", 1)[0]
        opened = re.search(r"[\[{]", line)
        unquoted = opened is not None and "${" in line[opened.end() :]
        hint = "Inside [ ] and { } put quotes around ${ … }." if unquoted else ""
        if "nesting depth" in str(
            error.problem or error.context
        ):  # libyaml has a limit of its own, far above ours
            self._faults.append(_fault_at(self._file, self._text, index, _TOO_DEEP))
            return
        context = f" ({error.context})" if error.context else ""
        self._faults.append(
            _fault_at(self._file, self._text, index, f"not YAML: {error.problem}{context}", hint)
        )

    def _fault(self, event: yaml.Event, message: str, hint: str = "", code: str = "syntax") -> None:
        self._faults.append(_fault_at(self._file, self._text, _mark(event).index, message, hint, code))

    def _take(self, event: yaml.Event) -> bool:
        """False: enough seen, stop."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fault(event, "a second document starts here; one file holds one")
                return False
        elif isinstance(event, yaml.AliasEvent):
            self._fault(event, "aliases are not part of this language")
            self._add(event, None)
        elif isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                self._fault(event, "anchors are not part of this language")
            return self._node(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            end = cast(yaml.Mark, event.end_mark).index
            self._values[done.path] = replace(self._values[done.path], end=end)
            self._put(done.mapping if done.mapping is not None else tuple(done.items))
        return True

    def _node(self, event: yaml.NodeEvent) -> bool:
        if getattr(event, "tag", None) is not None:
            self._fault(event, "tags are not part of this language", "Text that begins with ! needs quotes.")
        if isinstance(event, yaml.ScalarEvent):
            self._add(event, event)
            return True
        if len(self._stack) >= MAX_DEPTH:
            self._fault(event, _TOO_DEEP)
            return False
        path = self._place(event)
        if path is None:
            self._fault(event, "a key must be text")
            return False
        mapping: dict[str, Any] | None = {} if isinstance(event, yaml.MappingStartEvent) else None
        self._stack.append(_Open(path, mapping, []))
        return True

    def _add(self, event: yaml.Event, scalar: yaml.ScalarEvent | None) -> None:
        """A scalar (None: something refused in its place): a key, or a value."""
        top = self._stack[-1] if self._stack else None
        if top is not None and top.mapping is not None and top.key is None:
            top.key = scalar.value if scalar else ""
            path = (*top.path, top.key)
            if path in self._keys:
                first = self._keys[path].line
                message = f"the key '{top.key}' stands here twice; first in line {first}"
                self._fault(event, message, code="duplicate-key")
            else:
                self._keys[path] = _mark(event)
            return
        path = cast(NodePath, self._place(event))
        self._put(self._scalar(path, scalar) if scalar else None)

    def _place(self, event: yaml.Event) -> NodePath | None:
        """Path of the value that starts here, its mark noted; None where a key should stand."""
        path: NodePath = ()
        if self._stack:
            top = self._stack[-1]
            if top.mapping is None:
                path = (*top.path, len(top.items))
            elif top.key is None:
                return None
            else:
                path = (*top.path, top.key)
        self._values.setdefault(path, _mark(event))
        return path

    def _put(self, value: Any) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if top.mapping is None:
            top.items.append(value)
        else:
            top.mapping.setdefault(cast(str, top.key), value)
            top.key = None

    def _scalar(self, path: NodePath, event: yaml.ScalarEvent) -> Any:
        reference = _REFERENCE.fullmatch(event.value)
        if reference is None:
            return plain(event.value) if not event.style else event.value
        self._references.add(path)
        name, default = reference[1], reference[2]
        value = self._env.get(name) or default
        if value is None:
            hint = did_you_mean(name, sorted(k for k in self._env if k.startswith("BROKER_")))
            message = f"the environment variable {name} is not set and has no default"
            self._fault(event, message, hint, code="unset-variable")
        return plain(value) if value else ""


def _mark(event: yaml.Event) -> _Mark:
    mark = cast(yaml.Mark, event.start_mark)
    end = cast(yaml.Mark, event.end_mark)
    flat = isinstance(event, yaml.ScalarEvent) and end.line == mark.line and end.column > mark.column
    return _Mark(
        mark.index,
        mark.line + 1,
        mark.column + 1,
        getattr(event, "style", "") or "",
        end.index,
        end.column + 1 if flat else 0,
    )


# --- the check ---

_MESSAGES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "has too few items",
    "union_tag_invalid": "is none of the kinds that may stand here",
    "union_tag_not_found": "is none of the kinds that may stand here",
}


def validate(document: Document, model: type[M], *, at: NodePath = ()) -> M:
    """The document, or the part of it at `at`, as a model; relative secret files are sought beside the file.

    Raises:
        ConfigError: with every fault, in the order of the file.
    """
    try:
        return model.model_validate(document.get(at), context={"folder": Path(document.file).parent})
    except ValidationError as error:
        found = cast("list[dict[str, Any]]", error.errors(include_input=False, include_url=False))
        # A list is also called too short when only its items are at fault: those are told already.
        short = [e for e in found if e["type"] == "too_short" and document.get((*at, *e["loc"]))]
        faults = {_fault(document, model, at, e): None for e in found if e not in short}
        raise ConfigError(sorted(faults, key=lambda f: (f.line, f.column))) from None


def _fault(document: Document, model: type[BaseModel], at: NodePath, error: Mapping[str, Any]) -> Fault:
    kind, loc = error["type"], error["loc"]
    path = at
    for step in loc:
        if (*path, step) in document:  # anything else is the tag of a union, or a key that is missing
            path = (*path, step)
    if kind == "missing":
        return document.fault(path, f"'{loc[-1]}' is missing", key=True, code="missing-key")
    if kind == "extra_forbidden":
        known = _known_keys(model, path[len(at) : -1], document.get(path[:-1]))
        hint = did_you_mean(str(loc[-1]), known) or f"Known here: {', '.join(known)}."
        return document.fault(path, f"unknown key '{loc[-1]}'", hint=hint, key=True, code="unknown-key")
    context = error.get("ctx", {})
    if kind == "literal_error":
        hint = did_you_mean(
            str(as_written(document.get(path))), re.findall(r"'([^']*)'", context["expected"])
        )
        return document.fault(path, f"must be {context['expected']}", hint=hint, code="wrong-value")
    if kind == "union_tag_invalid" and context["discriminator"].startswith("'"):
        path = (*path, context["discriminator"].strip("'"))
        hint = did_you_mean(str(context["tag"]), re.findall(r"'([^']*)'", context["expected_tags"]))
        message = f"must be one of {context['expected_tags']}"
        return document.fault(path, message, hint=hint, code="wrong-value")
    if kind == "value_error":
        message, _, hint = str(context["error"]).partition("\n")
        return document.fault(path, message, hint=hint, key=loc[-1:] == ("[key]",), code="wrong-value")
    if kind == "string_pattern_mismatch":
        return document.fault(path, f"is not written as {context['pattern']} asks", code="wrong-value")
    message = _MESSAGES.get(kind) or error["msg"][:1].lower() + error["msg"][1:]
    hint = 'Write "" for an empty text.' if kind == "string_type" and document.get(path) is None else ""
    return document.fault(path, message, hint=hint, key=loc[-1:] == ("[key]",), code="wrong-value")


def _known_keys(model: type[BaseModel], path: NodePath, value: Any) -> tuple[str, ...]:
    """The keys that may stand at `path`: those of the model nearest to what stands there."""
    kinds: list[Any] = [model]
    for step in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, step)]
    models = [k for kind in kinds for k in _members(kind) if isinstance(k, type) and issubclass(k, BaseModel)]
    keys = [tuple(info.alias or name for name, info in m.model_fields.items()) for m in models]
    common = [(len(set(names) & set(value)), _fits(m, value)) for m, names in zip(models, keys, strict=True)]
    return keys[common.index(max(common))] if keys else ()


def _fits(model: type[BaseModel], value: Mapping[str, Any]) -> bool:
    """Whether no fixed value of the model (the tag of a union) speaks against it."""
    fixed = {
        n: get_args(i.annotation)
        for n, i in model.model_fields.items()
        if get_origin(i.annotation) is Literal
    }
    return all(value[name] in allowed for name, allowed in fixed.items() if name in value)


def _members(kind: Any) -> list[Any]:
    """The types that an annotation stands for, without Annotated and Union around them."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, type(int | str)):
        return [inner for member in get_args(kind) for inner in _members(member)]
    if isinstance(kind, type) and issubclass(kind, RootModel):
        return _members(kind.model_fields["root"].annotation)
    return [kind]


def _inside(kind: Any, step: str | int) -> list[Any]:
    """What stands at `step` of a value of this type."""
    found: list[Any] = []
    for member in _members(kind):
        if isinstance(member, type) and issubclass(member, BaseModel):
            found += [i.annotation for n, i in member.model_fields.items() if (i.alias or n) == step]
        elif get_args(member):
            found.append(get_args(member)[0 if isinstance(step, int) else -1])
    return found
