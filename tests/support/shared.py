"""Real input that other projects and vendors wrote, read in place and never copied into this repository."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.needs import absent

REPOSITORY = Path(__file__).resolve().parents[2]
_FOLDER = REPOSITORY.parent / "shared" / "data"


def shared_folder() -> Path:
    """`../shared/data` beside the repository; without it the test is skipped, or failed in CI."""
    return _FOLDER if _FOLDER.is_dir() else absent("../shared/data is not beside the repository")


def shared_files(pattern: str) -> list[Path]:
    """Files under `../shared/data`, sorted: for `parametrize`, which skips the test when there are none."""
    if not _FOLDER.is_dir() and os.environ.get("CI"):
        raise FileNotFoundError("../shared/data is not beside the repository")
    return sorted(path for path in _FOLDER.glob(pattern) if path.is_file())
