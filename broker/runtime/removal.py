"""Takes files out of the spool while others write there. Which ones may go, `freeing` and `retention` say.

By its name alone no file can be removed safely: between a look at it and `unlink` the name may have become that of the
same object, received anew. So a file is first taken away by a rename into a folder of this module's own, under a name
that nobody else uses, looked at there, and given back where it is newer than it had to be. What a process that died
left there is given back as well: whoever wanted it removed comes to it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote, unquote
from uuid import uuid4

import structlog

log = structlog.get_logger("broker.spool")

FOLDER: Final = "removing"
"""In the spool, so that a rename gets there."""

SETTLES: Final = timedelta(hours=1)
"""No younger file is removed: a C-STORE that has written it may be about to name it, or to name it in the journal, and
no node's clock is further ahead of another's."""


def place(spool: Path, name: str) -> Path | None:
    """Where a file stands, `name` being relative to the spool; None: the folder of all of them is not there (is it
    mounted?)."""
    return spool / name if (spool / PurePosixPath(name).parts[0]).is_dir() else None


def came_before(path: Path, moment: datetime) -> bool:
    """Whether the file came before; one that is gone by itself did."""
    try:
        return path.stat().st_mtime <= moment.timestamp()
    except FileNotFoundError:
        return True


def remove(spool: Path, due: Mapping[str, datetime]) -> frozenset[str]:
    """Removes each file that came before its moment; the names, relative to the spool, that no file has any more.

    The others are newer, or cannot be removed, which is logged. What is gone is gone after a power cut too.
    """
    _recover(spool)
    gone = frozenset(
        name
        for name, before in due.items()
        if (path := place(spool, name)) is not None and _removed(spool, name, path, before)
    )
    if gone and (spool / FOLDER).is_dir():
        sync(spool / FOLDER)
    return gone


def sync(path: Path) -> None:
    """Makes a file's bytes, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _recover(spool: Path) -> None:
    """Gives back what a process that died had taken away, or another one is looking at: both look again."""
    for taken in sorted((spool / FOLDER).glob("*%2F*.*")):
        try:
            _give_back(taken, spool / unquote(taken.name.rpartition(".")[0]))
        except PermissionError:
            log.warning("a file of the spool cannot be given back; whose is it?", path=taken.name)


def _removed(spool: Path, name: str, path: Path, before: datetime) -> bool:
    if not path.exists():
        return True
    if not came_before(path, before):
        return False
    taken = spool / FOLDER / f"{quote(name, safe='')}.{uuid4().hex}"
    try:
        taken.parent.mkdir(mode=0o700, exist_ok=True)
        path.rename(taken)
        if taken.stat().st_mtime <= before.timestamp():
            taken.unlink()
            return not path.exists()  # else it was given back, or came anew
        _give_back(taken, path)
    except FileNotFoundError:  # somebody else is about it: another leader, or whoever gave it back
        pass
    except PermissionError:
        log.warning("a file of the spool cannot be removed; whose is it?", path=path.name)
    return False


def _give_back(taken: Path, path: Path) -> None:
    """Under its name again, unless the object came once more meanwhile: that one stays."""
    try:
        os.link(taken, path)
    except FileExistsError:
        pass
    except FileNotFoundError:  # somebody else gave it back
        return
    except OSError:  # the file system has no links
        sync(taken)  # what it may replace is
        taken.replace(path)
    sync(path.parent)
    taken.unlink(missing_ok=True)
