"""Reads a YAML file into a `Document`, or tells everything that is wrong with it.

Does not check what a file says (`check.py`), and reads no environment but the mapping it is given. `${env:NAME}` and
`${env:NAME:-default}` may stand for a whole scalar, which then has the value that the text would have if it stood
there plainly (empty: ""). Tags, anchors and aliases are refused, and so is the same key twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from yaml import _yaml

from broker.errors import ConfigError, Fault, did_you_mean
from broker.scalars import plain
from broker.yamlfile.document import Document, Mark, NodePath

MAX_DEPTH = 64
MAX_CHARACTERS = 4_000_000

_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\}", re.DOTALL)


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
        self._values: dict[NodePath, Mark] = {}
        self._keys: dict[NodePath, Mark] = {}
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
        self._values.setdefault((), Mark(0, 1, 1))
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


def _mark(event: yaml.Event) -> Mark:
    mark = cast(yaml.Mark, event.start_mark)
    end = cast(yaml.Mark, event.end_mark)
    flat = isinstance(event, yaml.ScalarEvent) and end.line == mark.line and end.column > mark.column
    return Mark(
        mark.index,
        mark.line + 1,
        mark.column + 1,
        getattr(event, "style", "") or "",
        end.index,
        end.column + 1 if flat else 0,
    )
