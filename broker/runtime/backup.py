"""A whole copy of a data folder while the broker runs: journal, baseline and received objects, synced and verified.

It restores nothing: a backup is itself a data folder, and copying it back while no broker runs is the restore
(docs/operations.md). Settings and routes are not in it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from broker.errors import BrokerError, ConfigError
from broker.runtime.rebuild import BASELINE
from broker.runtime.removal import sync
from broker.store.room import free_bytes
from broker.store.sqlite import SqliteDatabase, journal_file

_GIVEN_UP: Final = "SELECT path FROM instance JOIN freed ON freed.sop_instance_uid=instance.sop_instance_uid"
"""Those that were given up: archives keep their objects."""

_OBJECTS: Final = (
    "SELECT blob FROM message WHERE blob<>'' AND verdict<>'rejected' UNION SELECT path FROM refused_file"
    f" UNION SELECT path FROM instance EXCEPT {_GIVEN_UP} ORDER BY 1"
)
"""The files that a journal names and that should be there, relative to the spool."""

_CANNOT_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)
"""Another file system or mount, or one without hard links: the object is copied."""

_TOLD_EVERY: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What stands in the copy. Everything acknowledged up to `last` (reception time, UTC) is in it."""

    folder: Path
    schema: int
    messages: int
    last: str
    journal_bytes: int
    linked: int
    copied: int
    missing: tuple[str, ...]
    """Objects that the journal names and the spool has no longer: `broker reconcile` tells of them too."""


def back_up(
    data: Path,
    target: Path,
    *,
    spool: Path | None = None,
    min_free: int = 0,
    progress: Callable[[int], None] = lambda _objects: None,
) -> Backup:
    """Copies the data folder to `target`, which must not exist; it has that name only once it is whole.

    `spool`: where the objects stand, if not there; in the copy they stand beside the journal either way.
    The journal first: what it names was on disk before it, and what the baseline took from it is only ever older.
    Raises `ConfigError` when there is nothing to copy or no place for it, `BrokerError` when the copy failed.
    """
    journal = journal_file(data)
    if not journal.is_file():
        raise ConfigError(f"{journal}: there is no journal to back up; check BROKER_DATA")
    if target.exists():
        raise ConfigError(f"{target}: is there already; give --to a folder that is not")
    for whole in (data, spool or data):
        if target.resolve().is_relative_to(whole.resolve()):
            raise ConfigError(f"{target}: is inside {whole}; give --to a folder beside it")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a backup that was killed
        unfinished.mkdir(parents=True, mode=0o700)
        _check_room(journal, unfinished, min_free)
        copy = journal_file(unfinished)
        _copy_database(journal, copy)
        if _baseline(data).is_file():
            _copy_database(_baseline(data), _baseline(unfinished))
        schema, messages, last = _verified(copy)
        linked, copied, missing = _take_objects(spool or data, unfinished, copy, progress)
        missing = _still_named(journal, missing)
        for folder, _, _ in os.walk(unfinished, topdown=False):
            sync(Path(folder))
        size = copy.stat().st_size
        unfinished.rename(target)
        sync(target.parent)
    except apsw.Error as exc:
        raise BrokerError(f"{target}: the journal cannot be copied: {type(exc).__name__}") from exc
    except OSError as exc:
        raise BrokerError(f"{target}: the backup cannot be written: {os.strerror(exc.errno or 0)}") from exc
    return Backup(
        folder=target,
        schema=schema,
        messages=messages,
        last=last,
        journal_bytes=size,
        linked=linked,
        copied=copied,
        missing=tuple(missing),
    )


def _baseline(data: Path) -> Path:
    """Where retention keeps what it took from the log, beside the journal."""
    return SqliteDatabase(journal_file(data)).beside(BASELINE).path


def _check_room(journal: Path, target: Path, min_free: int) -> None:
    """A backup must not take the room that the broker needs to go on."""
    wal = journal.with_name(f"{journal.name}-wal")
    needed = journal.stat().st_size + (wal.stat().st_size if wal.is_file() else 0) + min_free
    if (free := free_bytes(target)) < needed:
        target.rmdir()
        raise ConfigError(
            f"{target.parent}: has {free} bytes free and {needed} are needed, limits.min_free among them;"
            " make room, or give --to a folder on another disk"
        )


def _copy_database(source: Path, target: Path) -> None:
    """One moment of an SQLite file, page by page (its backup API), while others read and write it."""
    reader, writer = apsw.Connection(str(source)), apsw.Connection(str(target))
    try:
        reader.set_busy_timeout(10_000)
        with writer.backup("main", reader, "main") as run:
            while not run.done:
                run.step()  # all pages in one step: between steps a writer would make it begin anew
    finally:
        writer.close()
        reader.close()


def _verified(copy: Path) -> tuple[int, int, str]:
    """Opens the copy, has SQLite check it, and syncs it: (schema, messages, when the last one came)."""
    connection = apsw.Connection(str(copy))
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchall()
        if found != [("ok",)]:
            raise BrokerError(
                f"{copy}: the copy is damaged, and so probably is the journal; keep the last good backup and look at"
                " the disk"
            )
        schema = int(connection.pragma("user_version"))
        ((messages, last),) = connection.execute("SELECT count(*), coalesce(max(received), '') FROM message")
    finally:
        connection.close()
    for file in sorted(copy.parent.glob("*.sqlite")):
        sync(file)
    return schema, int(messages), str(last)


def _take_objects(
    spool: Path, target: Path, copy: Path, progress: Callable[[int], None]
) -> tuple[int, int, list[str]]:
    """Links, or copies and syncs, every object that the copied journal names: (linked, copied, missing)."""
    linked = copied = 0
    missing: list[str] = []
    connection = apsw.Connection(str(copy))
    try:
        for (name,) in connection.execute(_OBJECTS):
            source, place = spool / name, target / name
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                os.link(source, place)
                linked += 1
            except FileNotFoundError:
                missing.append(name)
            except OSError as exc:
                if exc.errno not in _CANNOT_LINK:
                    raise
                shutil.copy2(source, place)
                sync(place)
                copied += 1
            if (linked + copied) % _TOLD_EVERY == 0:
                progress(linked + copied)
    finally:
        connection.close()
    return linked, copied, missing


def _still_named(journal: Path, missing: list[str]) -> list[str]:
    """Those that nobody gave up or removed while the others were copied."""
    if not missing:
        return []
    connection = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return sorted({path for (path,) in connection.execute(_OBJECTS)} & set(missing))
    finally:
        connection.close()
