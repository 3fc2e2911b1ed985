"""Checks a document against a pydantic model: every mistake at its place, in words that say what to write instead.

Does not read files (`reading.py`) and knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from broker.errors import ConfigError, Fault, did_you_mean
from broker.scalars import as_written
from broker.yamlfile.document import Document, NodePath

M = TypeVar("M", bound=BaseModel)

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
