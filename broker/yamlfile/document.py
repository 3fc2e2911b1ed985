"""One YAML file as values that know where they were written, so that a mistake is told at its place.

Does not read or check any file (`reading.py`, `check.py`). Parts of one document may stand in another (`with_part`);
their mistakes are told where they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from broker.errors import Fault

NodePath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a key or a value stands; line and column from 1."""

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
    _values: Mapping[NodePath, Mark] = field(repr=False, default_factory=dict)
    _keys: Mapping[NodePath, Mark] = field(repr=False, default_factory=dict)
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

    def _nearest(self, path: NodePath) -> Mark:
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


def _character(source: str, index: int, style: str) -> tuple[int, bool]:
    """How many source characters one character of the text takes, and whether it is white space."""
    if style == "'" and source.startswith("''", index):
        return 2, False
    if style == '"' and source[index] == "\\":
        escape = source[index + 1 : index + 2]
        return {"x": 4, "u": 6, "U": 10}.get(escape, 2), escape in "tnvfrNLP_ \t\n"
    return 1, source[index].isspace()
