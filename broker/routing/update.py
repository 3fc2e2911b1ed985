"""Writes the values that a route test expects anew, in the text of its file: nothing else in it changes.

Only what stands there as one scalar or one `[ … ]` can be rewritten. Reads and writes no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from broker.errors import BrokerError, ConfigError
from broker.scalars import as_written, plain
from broker.yamlfile.document import Document, NodePath, json_path
from broker.yamlfile.reading import loads

Value = str | tuple[str, ...]

_PLAIN = re.compile(r"\w[\w^.+/()*-]*(?: [\w^.+/()*-]+)*")
"""Texts that mean themselves wherever a scalar may stand; everything else is put in quotes."""


class UpdateError(BrokerError):
    """A value cannot be rewritten where it stands; the text says where and why."""


def rewritten(text: str, changes: Mapping[NodePath, Value], env: Mapping[str, str]) -> str:
    """The file with these values at these paths; comments, layout and quotes stay. Raises `UpdateError`."""
    lines = "\r\n" if "\r\n" in text else "\n"
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    document = loads(text, env=env)
    source = document.source
    # From the end on, so that the places before stay where they are.
    for path in sorted(changes, key=lambda path: document.span(path), reverse=True):
        start, end = document.span(path)
        source = source[:start] + _written(document, path, changes[path]) + source[end:]
    try:
        said = _texts(loads(source, env=env).value)
    except ConfigError:
        said = None  # a value that YAML cannot hold, or that is read as an environment reference
    if said != _texts(_with(document.value, (), changes)):
        raise UpdateError("the file would say something else afterwards; write the values by hand")
    return mark + source.replace("\n", lines)


def _written(document: Document, path: NodePath, value: Value) -> str:
    start, end = document.span(path)
    there = document.source[start:end]
    if path in document.references:
        raise _refusal(document, path, "it is taken from the environment")
    if isinstance(document.get(path), dict) or (
        there[:1] not in "[" and isinstance(document.get(path), tuple)
    ):
        raise _refusal(document, path, "it is no scalar and no list in [ ]")
    if there[:1] in ("|", ">"):
        raise _refusal(document, path, "it is a block text")
    quote = there[:1] if there[:1] in ("'", '"') else ""
    if isinstance(value, str):
        return _scalar(value, quote)
    return f"[{', '.join(_scalar(one, quote) for one in value)}]"


def _refusal(document: Document, path: NodePath, why: str) -> UpdateError:
    return UpdateError(f"line {document.mark(path)[0]}: {json_path(path)} cannot be rewritten: {why}")


def _scalar(text: str, quote: str) -> str:
    """The text as a scalar that stands for it, in the quotes that stood there where there were any."""
    if not quote and _PLAIN.fullmatch(text) and as_written(plain(text)) == text:
        return text
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _with(value: Any, path: NodePath, changes: Mapping[NodePath, Value]) -> Any:
    """The document's value with the changes made."""
    if path in changes:
        return changes[path]
    if isinstance(value, dict):
        return {key: _with(inner, (*path, key), changes) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_with(inner, (*path, number), changes) for number, inner in enumerate(value))
    return value


def _texts(value: Any) -> Any:
    """The value with every scalar as it is written: what a rewriting must keep."""
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_texts(inner) for inner in value)
    return "" if value is None else as_written(value)
