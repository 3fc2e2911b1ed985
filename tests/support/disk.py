"""A small disk of its own (tmpfs) that a test can fill, and give room again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from tests.support.needs import needs


class CannotMountError(Exception):
    """It takes root, and in a container the right to mount too."""


class SmallDisk:
    """A file system of `size` bytes, mounted at `folder`. Raises `CannotMountError`."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [needs("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotMountError(f"a small disk cannot be mounted here: {done.stderr.strip()}")

    @property
    def free(self) -> int:
        """Bytes that may still be written."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def leave(self, free: int) -> None:
        """Fills it with ballast until no more than so many bytes are free, whoever else writes meanwhile."""
        self.relieve()
        size = 0
        with self._ballast.open("wb") as file:
            for piece in (1 << 20, 4096):
                with contextlib.suppress(OSError):  # somebody was faster
                    while self.free >= free + piece:
                        os.posix_fallocate(file.fileno(), size, piece)
                        size += piece

    def relieve(self) -> None:
        """Throws the ballast away."""
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Also under a program that still runs on it: it goes when that ends."""
        subprocess.run([needs("umount"), "--lazy", str(self.folder)], check=True)
