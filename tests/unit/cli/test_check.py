"""`broker check` as it is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.cli import check
from tests.support.shared import REPOSITORY

ROUTES = len(list((REPOSITORY / "routes").glob("*.yaml")))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped configuration, in the current folder."""
    for folder in ("config", "routes"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return Path("config/broker.yaml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(check.command, arguments)


def warn(path: Path = Path("routes/results-to-epj.yaml"), comment: str = "") -> None:
    """A route with an idle condition."""
    text = path.read_text(encoding="utf-8")
    assert "\nto:\n" in text
    path.write_text(text.replace("\nto:\n", f"\nwhere: site == 'OSL'{comment}\nto:\n", 1), encoding="utf-8")


def test_the_shipped_configuration_is_clean(config: Path) -> None:
    found = run("--deny-warnings")

    assert (found.exit_code, found.output) == (
        0,
        f"{ROUTES} routes, 0 errors, 0 warnings: ready for `broker test`\n",
    )


def test_a_warning_fails_only_where_told(config: Path) -> None:
    warn()

    assert run().exit_code == 0
    denied = run("--deny-warnings")
    assert denied.exit_code == 1
    assert "warning[never-true]: $.where: this condition can never hold: site is never that." in denied.output
    assert "^^^^^^^^^^^^^\n  = Did you mean 'STO'?" not in denied.output
    assert "  = It is one of STO.\n" in denied.output
    assert denied.output.endswith(f"{ROUTES} routes, 0 errors, 1 warnings: ready for `broker test`\n")


def test_a_silenced_warning_is_counted(config: Path) -> None:
    warn(comment="  # lint: allow never-true Oslo joins in May")

    found = run("--deny-warnings")
    assert (found.exit_code, found.output) == (
        0,
        f"{ROUTES} routes, 0 errors, 0 warnings, 1 allowed: ready for `broker test`\n",
    )


def test_for_programs(config: Path) -> None:
    warn()

    found = json.loads(run("--format", "json").stdout)
    assert {key: found[key] for key in ("routes", "errors", "warnings", "allowed")} == {
        "routes": ROUTES, "errors": 0, "warnings": 1, "allowed": 0,
    }  # fmt: skip
    assert [(fault["code"], fault["file"]) for fault in found["faults"]] == [
        ("never-true", "routes/results-to-epj.yaml")
    ]


def test_for_a_pull_request(config: Path) -> None:
    warn()

    first = run("--format", "github").output.splitlines()[0]
    assert first.startswith("::warning file=routes/results-to-epj.yaml,line=")
    assert ",title=never-true::" in first


def test_errors_exit_with_1_and_no_settings_with_2(config: Path) -> None:
    config.write_text(config.read_text(encoding="utf-8").replace("ae_title:", "ae_titel:"), encoding="utf-8")

    broken = run()
    assert broken.exit_code == 1
    assert "error[unknown-key]" in broken.output
    assert "Did you mean 'ae_title'?" in broken.output
    assert run("--format", "xml").exit_code == 2


def test_explain() -> None:
    known, unknown = run("--explain", "same-row"), run("--explain", "same-rwo")

    assert known.exit_code == 0
    assert known.output.startswith("warning[same-row]: Two routes write the same worklist")
    assert unknown.exit_code == 2
    assert "Did you mean 'same-row'?" in unknown.output


def test_watch_says_again_what_it_finds(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once_more(files: Any) -> Any:
        assert Path("routes/tests/orm_ct.hl7").resolve() in {path.resolve() for path in files()}
        yield
        warn()
        yield

    monkeypatch.setattr(check, "changes", once_more)

    found = run("--watch")
    assert found.exit_code == 0
    clean, _, after = found.output.partition("\n")
    assert clean == f"{ROUTES} routes, 0 errors, 0 warnings: ready for `broker test`"
    assert "warning[never-true]" in after


def test_what_is_watched_while_the_settings_are_broken(config: Path) -> None:
    config.write_text("a: [", encoding="utf-8")

    assert config in check.watched(config)
