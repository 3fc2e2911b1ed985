"""A site: the shipped configuration in a folder of the test's own, which is the current one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker import settings
from broker.runtime.configured import configure
from broker.runtime.trial import Trial
from broker.settings import Settings
from tests.support.configuration import changed


class Site:
    """Settings that are read anew whenever they are asked for, because files change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def settings(self) -> Settings:
        return settings.load(self.folder / "config" / "broker.yaml", env={})

    @staticmethod
    def clock() -> datetime:
        return datetime(2026, 3, 9, 7, 0, tzinfo=UTC)

    def text(self, file: str) -> str:
        return (self.folder / file).read_text(encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        text = self.text(file)
        assert old in text
        (self.folder / file).write_text(text.replace(old, new), encoding="utf-8")

    def failures(self) -> list[str]:
        """What `broker check` and `broker test` would say; raises where they could not even begin."""
        results = Trial(configured=configure(self.settings, {}), clock=self.clock).results()
        return [f"{r.route}: {r.name}: {d}" for r in results for d in r.differences]

    def tests_of(self, route: str) -> list[str]:
        results = Trial(configured=configure(self.settings, {}), clock=self.clock).results()
        return [result.name for result in results if result.route == route]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    changed(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path)
