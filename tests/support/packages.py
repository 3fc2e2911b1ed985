"""Packages of somebody else, installed through pip into a folder of the test's own; nothing is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.needs import absent
from tests.support.shared import REPOSITORY

THIRDPARTY = REPOSITORY / "tests" / "thirdparty"


def install(package: Path, target: Path) -> dict[str, str]:
    """Installs a package; the variables under which a Python finds it, and this repository's broker."""
    made = run(
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"),
        *("--no-build-isolation", "--target", target, package),
    )
    if "No module named pip" in made.stderr:
        absent("pip is not installed in this environment")
    assert made.returncode == 0, made.stderr
    return {"PYTHONPATH": os.pathsep.join([str(target), str(REPOSITORY)])}


def run(
    *arguments: str | Path, folder: Path = REPOSITORY, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """This Python with these arguments; any exit code."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def passes(*arguments: str | Path, folder: Path = REPOSITORY, env: dict[str, str] | None = None) -> str:
    """What it prints; fails on any exit code but 0."""
    done = run(*arguments, folder=folder, env=env)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout
