"""Adapters are found by entry point, and the rules of that hold: each is one test here or in `test_house.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

import pytest

from broker import registry
from broker.adapter import API_VERSION, InboundSpec, OutboundSpec
from broker.errors import ConfigError
from tests.support.packages import passes, run
from tests.support.shared import REPOSITORY

MODULE = """
from dataclasses import dataclass, replace
from broker.adapter import InboundSpec, Options
GOOD = InboundSpec(name="good", summary="", config=Options, factory=lambda config, context: None)
OLD = InboundSpec(name="old", summary="", config=Options, factory=lambda config, context: None, api_version=0)
WRONG = "a text"
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[dict[str, EntryPoint]]:
    """Two installed distributions of somebody else, with adapters of every kind of mistake."""
    (tmp_path / "foreign_adapter.py").write_text(MODULE)
    (tmp_path / "broken_adapter.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "exiting_adapter.py").write_text("raise ValueError('at import')\n")
    for name, points in {
        "foreign": "good = foreign_adapter:GOOD\nold = foreign_adapter:OLD\nwrong = foreign_adapter:WRONG\n"
        "broken = broken_adapter:X\nraising = exiting_adapter:X\nmissing = foreign_adapter:NOTHING\n",
        "rival": "good = rival_adapter:GOOD\nold = foreign_adapter:OLD\n",
    }.items():
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[broker.inbound]\n{points}")
    sys.path.insert(0, str(tmp_path))
    found: list[Distribution] = list(distributions(path=[str(tmp_path)]))
    yield {f"{point.dist.name}:{point.name}": point for d in found for point in d.entry_points if point.dist}
    sys.path.remove(str(tmp_path))
    for module in ("foreign_adapter", "broken_adapter", "exiting_adapter"):
        sys.modules.pop(module, None)


def test_our_own_adapters_are_found_and_load() -> None:
    inbound, outbound = registry.installed("broker.inbound"), registry.installed("broker.outbound")

    assert {"pas", "ris", "lab", "modality", "pacs"} <= set(inbound)
    assert {"epj", "modality", "pacs", "pacs-hl7"} <= set(outbound)
    for name, point in inbound.items():
        spec = registry.load_inbound(point)
        assert isinstance(spec, InboundSpec)
        assert spec.name == name
    for name, point in outbound.items():
        made = registry.load_outbound(point)
        assert isinstance(made, OutboundSpec)
        assert made.name == name


def test_listing_imports_nothing(foreign: dict[str, EntryPoint]) -> None:
    found = registry.by_name(
        "broker.inbound", [p for key, p in foreign.items() if key.startswith("foreign:")]
    )

    assert set(found) == {"good", "old", "wrong", "broken", "raising", "missing"}
    assert not {"foreign_adapter", "broken_adapter"} & set(sys.modules)


def test_somebody_elses_adapter_comes_by_the_same_door(foreign: dict[str, EntryPoint]) -> None:
    assert registry.load_inbound(foreign["foreign:good"]).name == "good"


def test_a_name_that_two_claim_is_refused_naming_both(foreign: dict[str, EntryPoint]) -> None:
    with pytest.raises(ConfigError) as error:
        registry.by_name("broker.inbound", [foreign["foreign:good"], foreign["rival:good"]])

    said = "broker.inbound: two adapters are called 'good' (foreign 1.2 and rival 1.2): uninstall one"
    assert str(error.value) == said


def test_the_same_thing_found_twice_is_one(foreign: dict[str, EntryPoint]) -> None:
    """An editable install and its wheel can both be seen."""
    found = registry.by_name("broker.inbound", [foreign["foreign:old"], foreign["rival:old"]])

    assert set(found) == {"old"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "cannot be loaded: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raising", "cannot be loaded: ValueError: at import"),
        ("missing", "cannot be loaded: AttributeError"),
        ("old", f"is made for API 0, this broker has {API_VERSION}"),
        ("wrong", f"is made for API None, this broker has {API_VERSION}"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_named_with_its_distribution(
    foreign: dict[str, EntryPoint], name: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        registry.load_inbound(foreign[f"foreign:{name}"])

    assert str(error.value).startswith(f"adapter '{name}' (foreign 1.2) {said}")


def test_an_adapter_in_the_wrong_group_is_refused(foreign: dict[str, EntryPoint]) -> None:
    with pytest.raises(ConfigError, match=r"foreign_adapter:GOOD is no OutboundSpec"):
        registry.load_outbound(foreign["foreign:good"])
    with pytest.raises(ConfigError, match="is no InboundSpec"):
        registry.load_inbound(registry.installed("broker.outbound")["epj"])


# The rules of the registry that only a process of its own can show.


def fresh(program: str, *paths: Path, folder: Path = REPOSITORY) -> str:
    """What a new Python prints, with these folders installed beside ours."""
    env = {"PYTHONPATH": os.pathsep.join(map(str, (*paths, REPOSITORY)))}
    return passes("-c", program, folder=folder, env=env)


def test_the_command_that_lists_adapters_imports_none(foreign: dict[str, EntryPoint], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom broker.cli import broker\n"
        "said = CliRunner().invoke(broker, ['adapters', 'list']).output\n"
        "assert 'pas ' in said and 'broken' in said, said\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('adapters', 'foreign_adapter')))"
    )

    # Only the first of the two: together they claim one name, which is refused before anything is listed.
    for part in ("rival-1.2.dist-info/entry_points.txt", "rival-1.2.dist-info/METADATA"):
        (tmp_path / part).unlink()
    assert fresh(program, tmp_path).strip() == "[]"


def test_only_what_the_settings_name_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "broker.yaml").write_text(
        "site: STO\ndicom: { port: 0 }\nhttp: { port: 0 }\n"
        "inbound: { pas: { adapter: pas, port: 0, issuer: STO&2.999&ISO } }\noutbound: {}\n"
    )
    program = (
        "import sys, pathlib\nfrom broker import settings\n"
        f"settings.load(pathlib.Path({str(tmp_path / 'broker.yaml')!r}), env={{}})\n"
        "print(sorted({m.split('.')[1] for m in sys.modules if m.startswith('adapters.')}))"
    )

    assert fresh(program).strip() == "['pas']"


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("broken", "adapter 'broken' (foreign 1.2) cannot be loaded: ModuleNotFoundError: No module named"),
        ("old", f"adapter 'old' (foreign 1.2) is made for API 0, this broker has {API_VERSION}"),
        ("brokn", "no inbound adapter 'brokn' is installed"),
    ],
)
def test_a_start_stops_where_an_adapter_in_use_cannot_be_had(
    foreign: dict[str, EntryPoint], tmp_path: Path, adapter: str, said: str
) -> None:
    (tmp_path / "rival-1.2.dist-info" / "entry_points.txt").unlink()
    (tmp_path / "broker.yaml").write_text(
        "site: STO\ndicom: { port: 0 }\nhttp: { port: 0 }\n"
        f"inbound: {{ x: {{ adapter: {adapter} }} }}\noutbound: {{}}\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]), "BROKER_DATA": str(tmp_path)}

    for command in ("check", "run"):
        done = run("-m", "broker", command, "--config", tmp_path / "broker.yaml", folder=tmp_path, env=env)
        assert done.returncode in (1, 2)
        assert said in done.stdout + done.stderr


def test_every_folder_of_adapters_is_documented_and_tested() -> None:
    """That it is registered, and installed as pyproject.toml says, `test_house.py` holds."""
    settings = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    for group in ("broker.inbound", "broker.outbound"):
        for name in registry.installed(group):  # type: ignore[arg-type]
            assert f"### `adapter: {name}`" in settings, "run: python -m broker docs"
    for path in REPOSITORY.glob("adapters/*/__init__.py"):
        tests = REPOSITORY / "tests" / "unit" / "adapters" / path.parent.name
        assert list(tests.glob("test_*.py")), f"{path.parent.name} has no tests of its own: {tests} is empty"
