"""Import contracts (invariant 13): who may import whom, read from the source by `ast`.

A name is known as `broker.<room>` by its first two parts: a module or a package of the broker is one room.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# A room imports only from the rows above its own. A new room needs a place here, chosen on purpose.
LAYERS = (
    {"contact", "errors", "ids", "localtime", "nationalid", "scalars", "text"},
    {"event", "yamlfile"},
    {"identity"},
    {"hl7", "dicom", "csvfile"},
    {"view", "statement", "store", "telemetry"},
    {"adapter"},
    {"device", "dicom_identity", "entries", "reception", "registry"},
    {"dicom_request"},
    {"journal", "bus", "registers", "routing", "delivery", "net", "profiles"},
    {"settings", "simulate", "testing"},
    {"runtime"},
    {"conformance", "create", "doctor", "graph", "plan", "tap", "why"},
    {"cli"},
    {"__main__"},
)
DEPTH = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms}

# What messages pass through in turn. Only the runtime knows that there is more than one.
STAGES = {"journal", "bus", "registers", "routing", "delivery", "net"}

# Protocol as values: bytes and values in, values out.
PURE = {"hl7", "dicom"}
IMPURE = {
    *("asyncio", "concurrent", "logging", "multiprocessing", "select", "selectors", "socket", "socketserver"),
    *("ssl", "structlog", "subprocess", "threading", "time"),
}

# The simulated peers see the broker from outside: what both sides of a wire share, nothing of its inside.
PEERS_API = {"dicom", "errors", "hl7", "net", "yamlfile"}

# What an adapter's author may use.
ADAPTER_API = {
    *(
        "adapter",
        "csvfile",
        "device",
        "dicom",
        "dicom_identity",
        "dicom_request",
        "errors",
        "event",
        "hl7",
        "identity",
        "ids",
        "nationalid",
        "net",
    ),
    *("reception", "scalars", "statement", "testing", "text", "view"),
}


def problems(module: str, source: str) -> list[str]:
    """Each import of the module that breaks a contract, as `module:line: what`."""
    found = [(line, _broken(module, name, typing)) for name, line, typing in _imports(module, source)]
    return [f"{module}:{line}: {text}" for line, text in found if text]


def _broken(module: str, name: str, typing: bool) -> str:
    """The contract that this import breaks, or nothing.

    One under `if TYPE_CHECKING` only lends its name to an annotation: it may point upwards.
    """
    package, room = _place(module)
    other_package, other_room = _place(name)
    if other_package == "pynetdicom":
        return "pynetdicom is a client of the tests: the broker has its own association layer"
    if package == "adapters":
        if other_package == "adapters" and other_room != room:
            return f"an adapter never imports another ({name})"
        if other_package == "broker" and other_room not in ADAPTER_API:
            return f"{name} is not part of the adapter author's API"
        return ""
    if other_package == "adapters":
        return f"broker never imports adapters ({name})"
    if room in PURE and other_package in IMPURE:
        return f"protocol code has no I/O ({name})"
    if other_package != "broker" or other_room in ("", room):
        return ""
    if room == "simulate" and other_room not in PEERS_API:
        return f"a simulated peer sees the broker from outside ({name})"
    if unplaced := {room, other_room} - DEPTH.keys():
        return f"no place in LAYERS for {', '.join(sorted(unplaced))}"
    if {room, other_room} <= STAGES:
        return f"no stage imports another ({name})"
    return "" if typing or DEPTH[other_room] < DEPTH[room] else f"imports go one way ({name})"


def _imports(module: str, source: str) -> Iterator[tuple[str, int, bool]]:
    """(absolute name, line, whether for typing only) of every import, wherever in the module it stands."""
    tree = ast.parse(source)
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_type_checking(node.test)]
    for_typing = {child for guard in guards for statement in guard.body for child in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, node in for_typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
            # `from broker import journal` names a room; `from broker.event import Event` does not.
            yield from ((f"{base}.{alias.name}", node.lineno, node in for_typing) for alias in node.names)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _place(name: str) -> tuple[str, str]:
    """(package, room): the first two parts; `__version__` and the like stand in no room."""
    package, _, rest = name.partition(".")
    room = rest.partition(".")[0]
    return package, "" if room.startswith("__") and room != "__main__" else room


def _modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted([*REPOSITORY.glob("broker/**/*.py"), *REPOSITORY.glob("adapters/**/*.py")]):
        # `__init__` stays in the name: relative imports count from it as from any other module of the folder.
        found.append((".".join(path.relative_to(REPOSITORY).with_suffix("").parts), path))
    return found


def test_imports_go_one_way() -> None:
    found = [
        text for module, path in _modules() for text in problems(module, path.read_text(encoding="utf-8"))
    ]

    assert not found, "\n".join(found)


def test_every_room_has_its_place() -> None:
    rooms = {_place(module)[1] for module, _ in _modules() if module.startswith("broker.")} - {""}

    assert rooms <= DEPTH.keys()


@pytest.mark.parametrize(
    ("module", "source", "contract"),
    [
        ("broker.runtime", "import adapters.pas", "broker never imports adapters"),
        ("broker.cli.run", "def run():\n    from adapters import pas", "broker never imports adapters"),
        ("broker.journal.log", "from broker.routing import engine", "no stage imports another"),
        ("broker.net.mllp_server", "from broker import journal", "no stage imports another"),
        ("broker.delivery.lanes", "from ..registers import patients", "no stage imports another"),
        ("broker.event", "from broker.view import View", "imports go one way"),
        ("broker.hl7.er7", "import broker.dicom.uid", "imports go one way"),
        ("broker.store.sqlite", "from broker.runtime import Runtime", "imports go one way"),
        ("broker.hl7.ack", "import socket", "no I/O"),
        ("broker.dicom.matching", "from concurrent.futures import Future", "no I/O"),
        ("broker.net.association", "from pynetdicom import AE", "client of the tests"),
        ("adapters.pacs.inbound", "import pynetdicom.sop_class", "client of the tests"),
        ("adapters.pacs.inbound", "from broker.journal import log", "author's API"),
        ("adapters.pas.mapping", "from adapters.ris import mapping", "never imports another"),
        ("adapters.pas.__init__", "from ..ris import mapping", "never imports another"),
        ("broker.simulate.region", "from broker.journal import log", "from outside"),
        ("broker.journal.log", "from broker.novelty import x", "no place in LAYERS for novelty"),
        ("broker.journal.log", "if TYPE_CHECKING:\n    from broker.net import x", "no stage imports another"),
        ("broker.adapter", "if TYPE_CHECKING:\n    pass\nelse:\n    import broker.net", "imports go one way"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, contract: str) -> None:
    (problem,) = problems(module, source)

    assert contract in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "broker.runtime",
            "from broker import __version__, journal, net\nimport broker.delivery.lanes\nimport socket",
        ),
        ("broker.journal.__init__", "from .log import Log"),
        ("broker.adapter", "if TYPE_CHECKING:\n    from broker.net.association import Service"),
        ("broker.net.association", "import socket\nimport threading"),
        ("broker.hl7.ack", "from broker.errors import Refused\nimport re\nfrom broker.hl7 import er7"),
        (
            "adapters.pas.inbound",
            "from broker.adapter import Inbound\nfrom adapters.pas.mapping import to_events",
        ),
        ("adapters.pas.inbound", "from . import mapping\nimport asyncio\nimport pydicom"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert problems(module, source) == []
