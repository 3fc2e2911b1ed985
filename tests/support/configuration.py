"""The shipped configuration in a folder of the test's own, with a few lines changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.shared import REPOSITORY


def changed(
    folder: Path, settings: Mapping[str, str], routes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Variables for a broker with the shipped configuration, this text of it replaced by that.

    `settings`: in the settings file, each there once; `routes`: in the route files, each there somewhere.
    """
    for name in ("config", "routes"):
        shutil.copytree(REPOSITORY / name, folder / name)
    file = folder / "config" / "broker.yaml"
    for text, other in settings.items():
        assert _replace([file], text, other) == 1, text
    for text, other in (routes or {}).items():
        assert _replace(folder.glob("routes/*.yaml"), text, other), text
    return {"BROKER_CONFIG": str(file)}


def _replace(files: Iterable[Path], text: str, other: str) -> int:
    """How often it was there."""
    count = 0
    for file in files:
        content = file.read_text(encoding="utf-8")
        count += content.count(text)
        file.write_text(content.replace(text, other), encoding="utf-8")
    return count
