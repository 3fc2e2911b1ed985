"""The house is in order: lock files, entry points, documents and version agree."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import broker
from tests.support.needs import absent

REPOSITORY = Path(__file__).resolve().parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
GROUPS: dict[str, dict[str, str]] = PROJECT["entry-points"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
LOCK_LINE = re.compile(
    r"[a-z0-9-]+==[0-9][a-z0-9.]*( ; [a-z_ <>=!'.0-9A-Z]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
)


def test_the_version_is_one_number_that_the_changelog_knows() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", broker.__version__)
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "broker/__init__.py"
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[?([^\] \n]+)", changelog, re.MULTILINE)
    assert {broker.__version__, "Unreleased"} & set(headings), f"CHANGELOG.md has no {broker.__version__}"


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE", "broker/ARCHITECTURE.md"])
def test_the_document_is_there(name: str) -> None:
    assert (REPOSITORY / name).stat().st_size > 0


def test_what_the_readme_points_at_is_there() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)

    assert [target for target in targets if not (REPOSITORY / target).exists()] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_versions_and_hashes_and_no_index(name: str) -> None:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not LOCK_LINE.fullmatch(line)] == []


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    runtime, dev = (_locked(name) for name in LOCKS)
    needed = [*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"]]

    assert [text for text in needed if not _satisfied(text, runtime)] == [], "run deploy/lock.sh"
    wanted = [*needed, *PROJECT["optional-dependencies"]["dev"]]
    assert [text for text in wanted if not _satisfied(text, dev)] == [], "run deploy/lock.sh"
    assert runtime.items() <= dev.items(), "the locks disagree: run deploy/lock.sh"


def test_every_entry_point_names_something_in_adapters() -> None:
    for group, points in GROUPS.items():
        for name, value in points.items():
            module, _, attribute = value.partition(":")
            path = REPOSITORY.joinpath(*module.split("."), "__init__.py")
            assert path.is_file(), f"pyproject.toml: {group}: {name}: there is no {module}"
            assert attribute in _bound_names(path), (
                f"pyproject.toml: {group}: {name}: {module} has no {attribute}"
            )


def test_every_adapter_has_an_entry_point() -> None:
    folders = {path.parent.name for path in REPOSITORY.glob("adapters/*/__init__.py")}
    named = {value.partition(":")[0].split(".")[1] for points in GROUPS.values() for value in points.values()}

    assert folders == named, "each folder of adapters/ enters through pyproject.toml"


def test_the_installed_package_is_this_one() -> None:
    """Entry points are read from what was installed: a new line in pyproject.toml is invisible until then."""
    try:
        installed = distribution(PROJECT["name"])
    except PackageNotFoundError:
        absent("the broker is not installed. Run: make setup")
    assert installed.version == broker.__version__, "run: make setup"
    for group, points in {"console_scripts": PROJECT["scripts"], **GROUPS}.items():
        found = {point.name: point.value for point in installed.entry_points.select(group=group)}
        assert found == points, (
            f"{group}: the installed package is older than pyproject.toml. Run: make setup"
        )


@pytest.mark.parametrize("folder", ["config", "routes", "deploy"])
def test_no_code_stands_among_the_settings(folder: str) -> None:
    """A .py file there could be imported from the repository's root under a name that is far too general."""
    assert list((REPOSITORY / folder).rglob("*.py")) == []


def test_every_module_says_what_it_does() -> None:
    modules = [*REPOSITORY.glob("broker/**/*.py"), *REPOSITORY.glob("adapters/**/*.py")]
    silent = [path for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]

    assert [str(path.relative_to(REPOSITORY)) for path in silent] == []


def _locked(name: str) -> dict[str, str]:
    """Version by normalised name."""
    return dict(
        re.findall(r"^([a-z0-9-]+)==([^ ]+)", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
    )


def _satisfied(text: str, locked: dict[str, str]) -> bool:
    requirement = Requirement(text)
    version = locked.get(re.sub(r"[-_.]+", "-", requirement.name).lower())
    return version is not None and requirement.specifier.contains(version)


def _bound_names(path: Path) -> set[str]:
    """Names that the module binds at its top level, by assignment or import."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names
