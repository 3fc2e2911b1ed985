"""The folder of received objects at a start: this node's own corner of it is emptied, the other nodes' are not.

What stands in `instances/` is every node's. What is on its way in or out stands in a folder of each node's own, on the
same file system, so that an object that is complete gets there by a rename. Not here: objects (the adapter's).
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.settings import Settings
from broker.store.room import Room

INCOMING: Final = "incoming"
"""Objects that are being received, in a node's own folder."""

WORK: Final = "tmp"
"""What lives only while a delivery is sent, in a node's own folder."""

ABANDONED_SECONDS: Final = 86_400.0
"""Nobody who lives leaves a file of those untouched for so long: an association ends after a minute of silence."""


def prepare(settings: Settings) -> None:
    """Empties this node's work folder, and removes what nodes that never came back left in theirs.

    `incoming` is emptied by the association server. A spool of its own is never made: an empty folder where a share
    should be mounted would take objects that no other node sees. Raises `ConfigError`.
    """
    shared, own = settings.spool_folder, settings.node_folder
    apart = shared != settings.data_folder
    if apart and not shared.is_dir():
        raise ConfigError(
            f"{shared}: the spool is not there; mount it, or make the folder once, inside the mount"
        )
    # Copies that a killed sender left: what they were made of is in the spool, and their deliveries are queued.
    shutil.rmtree(own / WORK, ignore_errors=True)
    try:
        (own / WORK).mkdir(mode=0o700, parents=True, exist_ok=True)
        if apart:
            _remove_abandoned(own)
    except OSError as exc:
        raise ConfigError(
            f"{own}: cannot be written ({exc.strerror}); run every node as the same user"
        ) from exc


def rooms(settings: Settings) -> tuple[Room, ...]:
    """What must have room: the first for any message, all of them for an object."""
    min_free = settings.broker.limits.min_free
    if settings.spool_folder == settings.data_folder:
        return (Room(settings.data_folder, min_free),)
    on_server = bool(settings.broker.store.get_secret_value())  # then nothing that grows stands in `data`
    return Room(settings.data_folder, 0 if on_server else min_free), Room(settings.spool_folder, min_free)


def _remove_abandoned(own: Path) -> None:
    """A container that is made anew has another name. Only files: the folder of a node that is idle stays whole.

    `own` stands among the folders of all nodes.
    """
    before = time.time() - ABANDONED_SECONDS
    for folder in (INCOMING, WORK):
        for file in own.parent.glob(f"*/{folder}/*"):
            with contextlib.suppress(FileNotFoundError):  # its node has just removed it
                if file.parent.parent != own and file.stat().st_mtime < before:
                    file.unlink()
