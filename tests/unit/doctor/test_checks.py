from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from broker import settings
from broker.doctor import checks
from broker.doctor.checks import Scene
from broker.doctor.finding import Finding
from broker.store.sqlite import SqliteDatabase, journal_file
from tests.support.shared import REPOSITORY

SETTINGS = REPOSITORY / "config" / "broker.yaml"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """The shipped settings on a data folder that is empty."""
    env = {"BROKER_DATA": str(tmp_path)}
    return Scene(settings=settings.load(SETTINGS, env=env), env=env, now=datetime.now(UTC))


def journal(scene: Scene) -> Path:
    path = journal_file(scene.data)
    database = SqliteDatabase(path)
    database.open()
    database.close()
    return path


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_the_shipped_settings_have_nothing_to_find(scene: Scene) -> None:
    for check in (checks.settings_and_routes, checks.python, checks.certificates, checks.ae_titles):
        assert only(list(check(scene))).state == "ok"


def test_a_journal_of_this_version_is_well(scene: Scene) -> None:
    assert "no journal yet" in only(list(checks.schema(scene))).found
    journal(scene)
    assert only(list(checks.schema(scene))).state == "ok"
    assert only(list(checks.clock(scene))).state == "ok"


def test_a_journal_of_a_newer_version_is_a_fault(scene: Scene) -> None:
    connection = apsw.Connection(str(journal(scene)))
    connection.execute("PRAGMA user_version=999")
    connection.close()

    assert only(list(checks.schema(scene))).state == "fault"


def test_a_check_that_cannot_be_made_does_not_hide_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_file(scene.data).write_bytes(b"no database, and longer than a header of one" * 99)
    monkeypatch.setattr(checks, "CHECKS", (checks.schema, checks.python))

    first, second = checks.examine(scene)

    assert (first.check, first.state, second.state) == ("schema", "fault", "ok")
    assert "NotADBError" in first.found


def test_a_spool_of_its_own_is_looked_at_and_one_that_is_not_mounted_is_a_fault(tmp_path: Path) -> None:
    def looked_at(**env: str) -> list[Finding]:
        env = {"BROKER_DATA": str(tmp_path / "data"), **env}
        found = Scene(settings=settings.load(SETTINGS, env=env), env=env, now=datetime.now(UTC))
        return list(checks.spool(found))

    assert looked_at() == [], "it is the data folder"
    missing = only(looked_at(BROKER_SPOOL=str(tmp_path / "share")))
    (tmp_path / "share").mkdir()
    there = looked_at(BROKER_SPOOL=str(tmp_path / "share"))

    assert (missing.check, missing.state) == ("spool", "fault")
    assert (there[0].check, there[0].state) == ("spool", "ok")
    assert {"spool room", "spool fsync"} <= {finding.check for finding in there}
