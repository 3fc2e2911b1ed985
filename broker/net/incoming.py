"""The file that one object is received into, or the memory for what is no object. What receives it is
`broker.net.accepted` or a C-GET, what becomes of it a service.

A disk that is full, or nearly so, is remembered and not raised: what was written is removed at once, the rest of
the object is read and dropped, and the peer gets an answer.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from broker.errors import RemoteProtocolError, StoreError

PART = ".part"
"""How the name of a file ends that is being received, or waits for its service."""

# On Linux "not needed" begins the writing of what has not been written, and waits for nothing: the sync that follows
# the object's last byte then finds most of it on disk.
_WRITE_OUT: int | None = getattr(os, "POSIX_FADV_DONTNEED", None)

_STRIDE = 1 << 18
"""Bytes that are gathered, after which the disk is looked at again and begins to write them."""


LONGEST_HELD = 1 << 24
"""Bytes of a data set that is held in memory: an identifier or an attribute list has some thousand."""


class Held:
    """A data set in memory."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: memoryview) -> None:
        """Raises `RemoteProtocolError` where it becomes too long."""
        if len(self.content) + len(data) > LONGEST_HELD:
            raise RemoteProtocolError("data set too long for this operation")
        self.content += data


class Incoming:
    """A new file in the spool folder, the given head written; `digest` is made of what follows, while it comes.

    `check_room` is asked again and again, because nobody tells how long an object will be.
    """

    def __init__(
        self, spool: Path, check_room: Callable[[], None], head: bytes, digest: hashlib._Hash
    ) -> None:
        self.path = spool / f"{uuid.uuid4().hex}{PART}"
        self.dataset_offset = len(head)
        self.error: OSError | StoreError | None = None
        self.digest = digest
        self._check_room = check_room
        self._since_look = 0
        self._file: BinaryIO | None = None
        try:
            check_room()
            # Closed by `close`, when the data set is complete.
            self._file = open(self.path, "xb", buffering=_STRIDE, opener=_private)  # noqa: SIM115
            self._file.write(head)
        except (OSError, StoreError) as exc:
            self.error = exc

    def write(self, data: bytes | memoryview) -> None:
        if self._file is None or self.error is not None:
            return
        try:
            self._file.write(data)
            self.digest.update(data)
            self._since_look += len(data)
            if self._since_look >= _STRIDE:
                self._look(self._file)
        except (OSError, StoreError) as exc:
            self.error = exc
            self.remove()  # others may need its room before the peer has sent the rest

    def _look(self, file: BinaryIO) -> None:
        self._check_room()
        self._write_out(file)

    def _write_out(self, file: BinaryIO) -> None:
        if _WRITE_OUT is not None and self._since_look:
            file.flush()
            os.posix_fadvise(file.fileno(), file.tell() - self._since_look, self._since_look, _WRITE_OUT)
        self._since_look = 0

    def close(self) -> None:
        """Completes the file. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            try:
                with file:
                    self._write_out(file)
            except OSError as exc:
                self.error = self.error or exc

    def remove(self) -> None:
        """Closes it, and deletes it unless the service has renamed it away."""
        self.close()
        self.path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
