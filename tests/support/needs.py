"""What the machine must have for a test: skipped with the reason at home, failed in CI.

A suite that silently leaves out its real peers proves nothing, so CI never skips for want of a program.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

# Debian keeps servers in /usr/sbin, which an ordinary user's PATH leaves out.
_SERVER_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find_program(name: str) -> str | None:
    """The program's path, never one of this Python environment: pynetdicom has a `findscu` of its own."""
    own = Path(sys.prefix, "bin").resolve()
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_SERVER_FOLDERS]
    others = [folder for folder in folders if folder and Path(folder).resolve() != own]
    return shutil.which(name, path=os.pathsep.join(others))


def needs(name: str) -> str:
    """The program's path; without it the test is skipped, or failed in CI."""
    return find_program(name) or absent(f"{name} is not installed; deploy/test-packages.sh installs it")


def needs_file(path: str) -> str:
    """A file that a package brings; without it the test is skipped, or failed in CI."""
    return path if Path(path).exists() else absent(f"{path} is missing; deploy/test-packages.sh installs it")


def absent(reason: str) -> NoReturn:
    """Skips the test, or fails it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
