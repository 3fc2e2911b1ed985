"""A new adapter as a distribution of its own: commented, typed, tested, installable. Writes files, installs nothing.

The templates stand beside this module as the files that they become; only names are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Final, Literal

from broker import __version__

Direction = Literal["inbound", "outbound", "both"]
Protocol = Literal["mllp", "file"]

_TEMPLATES: Final = files("broker.create") / "templates" / "adapter"
_NAME: Final = re.compile(r"(?=.{1,24}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*")

_ROWS: Final[Mapping[str, str]] = {
    "mapping.py": "what came in → canonical events, pure",
    "inbound.py": "options, reader, listener",
    "render.py": "an event seen through the registers → what leaves, pure",
    "outbound.py": "options, sending, what a failure means",
}
_OPTIONS: Final[Mapping[tuple[str, Protocol], tuple[str, str]]] = {
    ("inbound", "mllp"): ("port: 2580", '"port": 0'),
    ("inbound", "file"): ("folder: /srv/$name/in", '"folder": str(HERE / "samples"), "pattern": "*.none"'),
    ("outbound", "mllp"): ("host: 127.0.0.1\n    port: 6670", '"host": "127.0.0.1", "port": 1'),
    ("outbound", "file"): ("folder: /srv/$name/out", '"folder": "/there/is/no/such/folder"'),
}
"""Direction and protocol to what `config/broker.yaml` needs, and to what the tests use."""


def check_name(name: str) -> str:
    """The name, if an adapter may have it. Raises `ValueError` saying what is allowed."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("a name has up to 24 small letters, digits and single hyphens, a letter first")
    return name


def distribution(name: str) -> str:
    """`broker-spiro`: what pip calls it. Its package is `broker_spiro`: never anything under `adapters.`."""
    return f"broker-{name}"


def package(name: str) -> str:
    """`broker_spiro`."""
    return distribution(name).replace("-", "_")


def settings_lines(name: str, direction: Direction, protocol: Protocol) -> str:
    """What goes into `config/broker.yaml`, under `inbound:` and `outbound:`."""
    lines = ""
    for way in _ways(direction):
        options = Template(_OPTIONS[way, protocol][0]).substitute(name=name)
        issuer = (
            "\n    issuer: SITE&2.999.1&ISO      # of an identifier that names none"
            if way == "inbound"
            else ""
        )
        lines += f"{way}:\n  {name}:\n    adapter: {name}\n    {options}{issuer}\n"
    return lines


def adapter_files(name: str, direction: Direction, protocol: Protocol) -> Mapping[str, str]:
    """Every file of the distribution by its path, relative to the distribution's folder."""
    check_name(name)
    home, ways = package(name), _ways(direction)
    names = {
        "name": name,
        "distribution": distribution(name),
        "package": home,
        "version": __version__,
        "title": "".join(part.capitalize() for part in name.split("-")),
        "receiver": name.upper().replace("-", ""),
        "what": f"HL7 {' and '.join(ways)} ({protocol})",
        "entry_points": "".join(_entry_point(name, way) for way in ways),
        "settings": settings_lines(name, direction, protocol),
        "rows": "".join(f"| `{home}/{file}` | {job} |\n" for file, job in _ROWS.items() if _has(ways, file)),
        "inbound_options": _OPTIONS["inbound", protocol][1],
        "outbound_options": _OPTIONS["outbound", protocol][1],
    }
    found = {
        "pyproject.toml": _filled("pyproject.toml", names),
        "README.md": _filled("README.md", names),
        f"{home}/__init__.py": _init(home, name, ways),
        f"{home}/py.typed": "",
    }
    if "inbound" in ways:
        found[f"{home}/mapping.py"] = _filled("mapping.py", names)
        found[f"{home}/inbound.py"] = _filled(f"inbound_{protocol}.py", names)
        found["tests/test_inbound.py"] = _filled("test_inbound.py", names)
        found["tests/samples/oru_r01.hl7"] = (_TEMPLATES / "oru_r01.hl7").read_text(encoding="utf-8")
    if "outbound" in ways:
        found[f"{home}/render.py"] = _filled("render.py", names)
        found[f"{home}/outbound.py"] = _filled(f"outbound_{protocol}.py", names)
        found["tests/test_outbound.py"] = _filled("test_outbound.py", names)
    return found


def _ways(direction: Direction) -> tuple[str, ...]:
    return ("inbound", "outbound") if direction == "both" else (direction,)


def _has(ways: tuple[str, ...], file: str) -> bool:
    return ("inbound" if file in ("mapping.py", "inbound.py") else "outbound") in ways


def _filled(file: str, names: Mapping[str, str]) -> str:
    return Template((_TEMPLATES / f"{file}.txt").read_text(encoding="utf-8")).substitute(names)


def _entry_point(name: str, way: str) -> str:
    return f'[project.entry-points."broker.{way}"]\n{name} = "{package(name)}:{way.upper()}"\n\n'


def _init(home: str, name: str, ways: tuple[str, ...]) -> str:
    """The package's door: the names that the entry points load."""
    imports = "".join(f"from {home}.{way} import {way.upper()}\n" for way in ways)
    exported = ", ".join(f'"{way.upper()}"' for way in ways)
    says = f'"""Adapter `{name}`: what the entry points of pyproject.toml load."""'
    return f"{says}\n\n{imports}\n__all__ = [{exported}]\n"
