"""Turns the declaration of the route language into JSON Schema and a documentation page. Loads no routes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from broker.routing.functions import FUNCTIONS, METHODS, Function
from broker.routing.language import (
    WILDCARDS,
    DicomTarget,
    Expect,
    Given,
    Hl7Target,
    OnFailure,
    Part,
    Retry,
    RouteFile,
    RouteTest,
    SharedBlock,
    SharedFile,
    WorklistTarget,
)
from broker.view import catalogue

_PARTS: tuple[type[Part], ...] = (
    RouteFile,
    WorklistTarget,
    Hl7Target,
    DicomTarget,
    OnFailure,
    Retry,
    RouteTest,
    Given,
    Expect,
    SharedBlock,
)


def json_schema(model: type[BaseModel] = RouteFile, title: str = "Route file") -> dict[str, Any]:
    """JSON Schema 2020-12 of a route file."""
    schema = model.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def schema_text() -> str:
    """`config/route.schema.json` as it must stand."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def shared_schema_text() -> str:
    """`config/shared.schema.json` as it must stand."""
    return json.dumps(json_schema(SharedFile, "Shared blocks"), indent=2, ensure_ascii=False) + "\n"


def markdown() -> str:
    """The reference part of `docs/routes.md`: keys, functions, fields."""
    lines = ["## Keys", ""]
    for part in _PARTS:
        lines += _keys(part)
    lines += ["## Events", "", f"Wildcards: {', '.join(f'`{name}`' for name in WILDCARDS)}.", ""]
    lines += ["## Functions", "", "| Call | Can fail | Result | Example |", "| --- | --- | --- | --- |"]
    lines += _functions((*FUNCTIONS.values(), *METHODS.values()))
    lines += ["", "## Fields", "", "| Field | Type |", "| --- | --- |"]
    lines += [f"| `{name}` | {kind} |" for name, kind in catalogue().items()]
    return "\n".join(lines) + "\n"


def _keys(part: type[Part]) -> Iterator[str]:
    yield f"### {part.__name__}"
    yield ""
    yield " ".join((part.__doc__ or "").split())
    yield ""
    yield "| Key | Needed | Meaning |"
    yield "| --- | --- | --- |"
    for name, info in part.model_fields.items():
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        yield f"| `{name}` | {'yes' if info.is_required() else ''} | {meaning} |"
    yield ""


def _functions(functions: Iterable[Function]) -> Iterator[str]:
    for function in functions:
        source, value = function.example
        shown = (
            " ".join(map(str, value))
            if isinstance(value, tuple)
            else json.dumps(value, ensure_ascii=False).strip('"')
        )
        fails = "yes" if function.fails else ""
        yield f"| `{function.signature}` | {fails} | {function.summary} | `{source}`: `{shown}` |"
