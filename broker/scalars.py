"""The scalar rules of the broker's YAML files, and the field types that go with them. Parses no YAML.

It is YAML 1.2 with fewer surprises. A plain scalar is an integer (`0`, `-17`), a number (`1.5`), `true`,
`false`, or nothing (`null`, `~`, empty). Everything else is text: `NO`, `2026-01-31`, `1:30`, `1e5`, and the
identity number `01010112345`, whose zero even the core schema of YAML 1.2 takes away. Quoted is always text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema

# At most 18 digits, so that a run of digits is never too much for int(); longer ones stay text.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h|d)")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,8})(B|KiB|MiB|GiB|TiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Int(int):
    """An integer that remembers how it was written (`+5`)."""

    raw: str


class Float(float):
    """A number that remembers how it was written (`1.10`)."""

    raw: str


def plain(text: str) -> str | Int | Float | bool | None:
    """The value of a plain scalar: the scalar rules of this module."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        whole = Int(text)
        whole.raw = text
        return whole
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        number = Float(text)
        number.raw = text
        return number
    return text


def as_written(value: object) -> object:
    """A plain scalar as the text that stood there; anything else unchanged."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.raw if isinstance(value, Int | Float) else value


def _seconds(value: object) -> object:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration such as 5s, 10m or 24h")
    return int(match[1]) * _SECONDS[match[2]]


def _bytes(value: object) -> object:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a size such as 512KiB, 64MiB or 2GiB")
    return int(match[1]) * _BYTES[match[2]]


def moment(value: object) -> datetime:
    """A day (its beginning in UTC) or a time with its offset. Raises `ValueError`."""
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        raise ValueError("must be a day (2026-04-01) or a time with its offset (2026-04-01T06:00+02:00)")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is a day or a time that does not exist") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _switch(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, Int):
        return value != 0
    raise ValueError("must be true or false")


def _secret(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return as_written(value)
    if set(value) != {"file"} or not isinstance(value["file"], str):
        raise ValueError("must be text or {file: path of a file that holds the secret}")
    folder = Path((info.context or {}).get("folder", "."))
    try:
        return (folder / value["file"]).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ValueError("the secret's file cannot be read") from None


def _file(value: str, info: ValidationInfo) -> str:
    if not value:
        return value
    path = Path((info.context or {}).get("folder", "."), value)
    try:
        if not path.is_file():
            raise ValueError("the file is not there")
    except PermissionError:  # as of keys below /etc/ssl/private
        raise ValueError("the user that runs the broker may not look into the file's folder") from None
    return str(path)


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone such as Europe/Oslo") from None
    return value


Text = Annotated[str, BeforeValidator(as_written)]
"""Text as it was written: `version: 1.10` is `"1.10"`, `code: 7` is `"7"`, `flag: true` is `"true"`."""

FileName = Annotated[str, BeforeValidator(as_written), AfterValidator(_file)]
"""A file that is there, relative to the settings file; empty: none."""

Duration = Annotated[
    float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})
]
"""Seconds, written `250ms`, `5s`, `10m`, `24h` or `7d`."""

Size = Annotated[
    int, BeforeValidator(_bytes), WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$"})
]
"""Bytes, written `4096B`, `512KiB`, `64MiB`, `2GiB` or `1TiB`."""

Moment = Annotated[
    datetime, BeforeValidator(moment), WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT.pattern}$"})
]
"""UTC, written `2026-04-01` (its beginning) or `2026-04-01T06:00+02:00`."""

Switch = Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"type": ["boolean", "string"]})]
"""`true` or `false`; a number from an environment reference is on unless it is 0 (`${env:PORT:-false}`)."""

ZoneName = Annotated[str, BeforeValidator(as_written), AfterValidator(_zone)]
"""A time zone of the IANA database: `Europe/Oslo`."""

Secret = Annotated[
    SecretStr,
    BeforeValidator(_secret),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"file": {"type": "string"}},
                    "required": ["file"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""A secret: text, an environment reference, or `{file: /run/secrets/x}`."""
