"""docs/adapters.md says what is so: its code runs and has types, its tables name what there is."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
import types
from pathlib import Path

import pytest

from adapters.epj import OUTBOUND as EPJ
from adapters.pas import INBOUND as PAS
from broker import errors
from broker.adapter import API_VERSION, Delivery, Kind
from broker.entries import entry_model
from broker.settings import InboundEntry, OutboundEntry
from broker.testing import conformance
from broker.yamlfile.check import validate
from broker.yamlfile.reading import loads
from tests.support.golden import OPTIONS
from tests.support.packages import passes
from tests.support.shared import REPOSITORY
from tests.unit.test_architecture import ADAPTER_API

TEXT = (REPOSITORY / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PUBLIC = ("broker.adapter", "broker.testing.conformance", "broker.testing.samples")


def blocks(language: str) -> list[str]:
    found = [text for name, text in BLOCKS if name == language]
    assert found, language
    return found


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All Python of the page as one module: later blocks use names of earlier ones."""
    path = tmp_path_factory.mktemp("guide") / "guide.py"
    path.write_text("\n\n".join(blocks("python")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def module(guide: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("guide", guide)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_its_code_has_types(guide: Path, tmp_path: Path) -> None:
    passes(
        *("-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "--cache-dir"),
        *(tmp_path, guide.name),
        folder=guide.parent,
        env={"MYPYPATH": str(REPOSITORY)},
    )


def test_its_code_keeps_what_adapters_promise(module: types.ModuleType, tmp_path: Path) -> None:
    assert len(module.CHECKS) >= 9
    for check in module.CHECKS:
        module.test_conformance(check, tmp_path)
    for check in conformance.outbound(module.OUTBOUND, {"path": str(tmp_path / "nothing")}):
        check(tmp_path)


def test_its_board_is_written_to(module: types.ModuleType, tmp_path: Path) -> None:
    (tmp_path / "board").write_bytes(b"")
    board = module.Board(module.BoardOptions(path=str(tmp_path / "board")), None)
    board.deliver(Delivery(id=1, destination="board", lane="P1", route="r", attempt=1, payload=b"MSH|"))

    assert (tmp_path / "board").read_bytes() == b"MSH|"


def test_its_settings_are_taken(module: types.ModuleType) -> None:
    (text,) = blocks("yaml")
    document = loads(text, "docs/adapters.md", env={})

    for section, common, spec in (
        ("inbound", InboundEntry, module.INBOUND),
        ("outbound", OutboundEntry, module.OUTBOUND),
    ):
        (name,) = document.get((section,))
        validate(document, entry_model(common, spec.config), at=(section, name))


def test_its_entry_points_are_written_as_pyproject_has_them() -> None:
    (text,) = blocks("toml")
    groups = tomllib.loads(text)["project"]["entry-points"]

    assert set(groups) == {"broker.inbound", "broker.outbound"}


def test_its_commands_exist() -> None:
    for line in [line for text in blocks("console") for line in text.splitlines()]:
        match = re.match(r"\$ broker (\w+) (\w+)", line)
        if match:
            assert f"## `broker {match[1]} {match[2]}" in (REPOSITORY / "docs/commands.md").read_text()


def test_every_check_is_listed_and_no_other(tmp_path: Path) -> None:
    nobody = {"host": "127.0.0.1", "port": 1}
    made = [*conformance.inbound(PAS, OPTIONS, folder=tmp_path), *conformance.outbound(EPJ, nobody)]
    listed = re.findall(r"^\| `([a-z, ]+)` \|", TEXT.partition("| check |")[2], re.MULTILINE)

    assert set(listed) == {str(check).partition(": ")[2] for check in made}
    assert f"`SUITE_VERSION` is {conformance.SUITE_VERSION}." in TEXT
    assert f"`broker.adapter.API_VERSION` is {API_VERSION}." in TEXT


def test_every_delivery_error_is_explained() -> None:
    table = TEXT.partition("## Errors")[2].partition("## The conformance")[0]
    known = [name for name in dir(errors) if name.endswith("DeliveryError") and name != "DeliveryError"]

    for name in (*known, "UnreachableError", "AskPersonError", "UnmappableError", "StoreError"):
        assert f"`{name}`" in table
    for kind in Kind.__args__:  # type: ignore[attr-defined]
        assert f"`{kind}`" in TEXT


def test_both_guides_list_what_an_adapter_may_import() -> None:
    """No more and no less than test_architecture.py lets ours import."""
    short = (REPOSITORY / "adapters" / "README.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"`broker\.\{(.*?)\}`", short)
    (public,) = re.findall(r"^Public are (.*?)\. Everything else", TEXT, re.MULTILINE)

    assert set(listed.split(",")) == ADAPTER_API
    assert set(re.findall(r"`broker\.(\w+)`", public)) == ADAPTER_API


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_listed_sorted_and_whole(name: str) -> None:
    """`__all__` is every name without an underscore that the module itself, or a module of the package, makes."""
    path = REPOSITORY.joinpath(*name.split("."))
    sources = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    made: set[str] = set()
    exported: list[str] = []
    for node in [node for source in sources for node in ast.parse(source.read_text(encoding="utf-8")).body]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            made.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            made.add(node.target.id)
        elif isinstance(node, ast.Assign):
            (target,) = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if target == "__all__":
                exported = ast.literal_eval(node.value)
            elif not (isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "TypeVar"):
                made.add(target)

    assert set(exported) == {name for name in made if not name.startswith("_")}
    assert exported == sorted(exported, key=lambda name: (not name.isupper(), name))
