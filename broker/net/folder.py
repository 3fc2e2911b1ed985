"""Folders as a way in and a way out: files that a system drops for us, and files that it fetches.

What a file holds is the adapter's to say: HL7 as it stands, or anything that its `unfold` makes messages of. A file
is taken when it looked the same at two looks, in the order of the names, and goes away only after commit 1. One that
is met again, because the broker was killed between, is a repeat by the control ids of its messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog
from pydantic import Field

from broker.adapter import (
    Delivery,
    InboundContext,
    ListenerPlace,
    Options,
    OutboundContext,
    Receipt,
    Reception,
    Stored,
    Verdict,
)
from broker.errors import Refused, RemoteProtocolError, StoreError, TransientDeliveryError, UnreachableError
from broker.hl7.er7 import is_batch
from broker.ids import message_id
from broker.net.hl7_listener import Hl7Source, tell
from broker.reception import Hl7Reader, refuse
from broker.scalars import Duration, Size, Text

log = structlog.get_logger("broker.folder")

REFUSED: Final = "refused"
"""Folder beside the files for those that were not taken, each with its answers in `<name>.ack`."""

HEAD: Final = 4096
"""Bytes that are kept of a file that is too long."""

Shape = tuple[int, int]
"""What changes of a file while one is being written, or another takes its name: size and time."""

C = TypeVar("C", bound="FolderSource")
Unfold = Callable[[bytes], Sequence[bytes]]
"""A file's bytes to HL7 messages. Pure. Raises `Refused` or `UnmappableError`: then the file is refused, whole."""


class FolderSource(Hl7Source):
    """Options of a folder that a system drops files into."""

    folder: Text = Field(min_length=1, description="The folder; relative to where the broker runs.")
    pattern: Text = Field(
        default="*.hl7", min_length=1, description="Names that are taken; others are left alone."
    )
    poll: Duration = Field(
        default="2s", validate_default=True, description="Pause between two looks at the folder."
    )
    done: Text = Field(
        default="",
        description="Folder for files that were taken; empty: they are removed, the journal has them.",
    )
    max_file: Size = Field(default="64MiB", validate_default=True, description="Longest file.")


class FolderListener(Generic[C]):
    """A watched folder (`broker.adapter.Inbound`); `read` is the adapter's `reader`."""

    def __init__(
        self,
        config: C,
        context: InboundContext,
        read: Callable[[C, ListenerPlace], Hl7Reader],
        unfold: Unfold | None = None,
    ) -> None:
        self._config, self._context, self._unfold = config, context, unfold
        self._reader = read(config, context.place)
        self._folder = Path(config.folder).resolve()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._quiet = False

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self._folder.as_uri(),)

    async def start(self) -> None:
        """Raises `OSError` where a folder is not there, so that a share that is not mounted is noticed."""
        for folder in (self._folder, *self._done()):
            os.scandir(folder).close()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Finishes the file in hand."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    def _done(self) -> tuple[Path, ...]:
        return (Path(self._config.done).resolve(),) if self._config.done else ()

    async def _watch(self) -> None:
        seen: dict[Path, Shape] = {}
        while not self._stopping.is_set():
            try:
                found = await asyncio.to_thread(self._listing)
                for path, shape in [one for one in found.items() if seen.get(one[0]) == one[1]]:
                    if self._stopping.is_set():
                        return
                    await self._take(path, shape)
                seen, self._quiet = found, False
            except Exception as exc:  # noqa: BLE001 - whatever it is, this task must not end
                self._stalled(exc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._config.poll)

    def _stalled(self, error: Exception) -> None:
        """Files wait where they are. Said once, not at every look."""
        if not self._quiet and not isinstance(error, OSError | StoreError):
            log.error("a file cannot be taken", listener=self._context.name, exc_info=error)
        elif not self._quiet:
            # An OSError's own text would name the file, and a sender may have named it after a patient.
            why = error.strerror if isinstance(error, OSError) else str(error)
            log.warning("files wait in their folder", listener=self._context.name, reason=why)
        self._quiet = True

    def _listing(self) -> dict[Path, Shape]:
        """Files by name, with their shapes.

        Raises `OSError` too where files could be read but not put away: they would be read for ever.
        """
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "files cannot be moved out of the folder")
        files = sorted(p for p in self._folder.glob(self._config.pattern) if not p.name.startswith("."))
        return {path: _shape(path.stat()) for path in files if path.is_file()}

    async def _take(self, path: Path, shape: Shape) -> None:
        """Commit 1, then the file goes away; the other way round a power cut could lose it.

        Nothing of this is done with one that has another shape by now: a sender uses its name again, and what is there
        waits for a later look.
        """
        receptions = await asyncio.to_thread(self._judged, path, shape)
        if receptions is None:
            return
        stored = await self._context.intake.accept_all(receptions)
        for reception, said in zip(receptions, stored, strict=True):
            tell(self._context, reception, said)
        if _shape(await asyncio.to_thread(path.stat)) == shape:
            await asyncio.to_thread(self._put_away, path, receptions, stored)

    def _judged(self, path: Path, shape: Shape) -> list[Reception] | None:
        now, peer = self._context.clock(), self._context.name
        profile = self._reader.profile
        with path.open("rb") as file:
            raw = file.read(self._config.max_file + 1)
            if _shape(os.fstat(file.fileno())) != shape:
                return None
        try:
            if len(raw) > self._config.max_file:
                raw = raw[:HEAD]
                raise Refused(f"the file is longer than the {self._config.max_file} bytes that are taken")
            if self._unfold is None and is_batch(raw):
                batch = self._reader.receive_batch(raw, new_id=lambda: message_id(now), now=now, peer=peer)
                return list(batch.receptions)
            messages = self._unfold(raw) if self._unfold is not None else (raw,)
        except RemoteProtocolError as exc:
            error = Refused(str(exc), ack_code=exc.ack_code, error_code=exc.error_code, location=exc.location)
            return [refuse(raw, error, profile, message_id=message_id(now), now=now, peer=peer)]
        return [
            self._reader.receive(message, message_id=message_id(now), now=now, peer=peer)
            for message in messages
        ]

    def _put_away(self, path: Path, receptions: Sequence[Reception], stored: Sequence[Stored]) -> None:
        final = [said.refused or reception for reception, said in zip(receptions, stored, strict=True)]
        if any(reception.verdict is Verdict.REJECTED for reception in final):
            folder = self._folder / REFUSED
            folder.mkdir(exist_ok=True)
            target = _free(folder / path.name)
            target.with_name(f"{target.name}.ack").write_bytes(
                b"".join(answer for said in stored for answer in said.answers)
            )
            path.replace(target)
        elif self._config.done:
            path.replace(_free(self._done()[0] / path.name))
        else:
            path.unlink()


def _shape(stat: os.stat_result) -> Shape:
    return stat.st_size, stat.st_mtime_ns


def _free(path: Path) -> Path:
    """This name, or the first of `name.1`, `name.2` … that nobody has."""
    candidate, number = path, 0
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate


class FolderDestination(Options):
    """Options of a folder that a system fetches files from."""

    folder: Text = Field(
        min_length=1, description="The folder, on one file system; relative to where the broker runs."
    )
    suffix: Text = Field(default=".hl7", description="How the files' names end.")


class FolderSender:
    """Writes each delivery as a file of its own (`broker.adapter.Outbound`).

    Its name is the delivery's number: they sort in the order of each patient, and a repeat has the same name and the
    same bytes. It appears whole, by a rename, and only after it is on disk.
    """

    def __init__(self, config: FolderDestination, _context: OutboundContext) -> None:
        self._folder, self._suffix = Path(config.folder).resolve(), config.suffix

    def deliver(self, delivery: Delivery) -> Receipt:
        """A folder that is not there is a destination that is not there; any other failure passes by itself."""
        name = f"{delivery.id:012d}{self._suffix}"
        part = self._folder / f".{name}.part"
        try:
            with part.open("wb") as file:
                file.write(delivery.payload)
                file.flush()
                os.fsync(file.fileno())
            delivery.confirm()
            part.replace(self._folder / name)
            _sync(self._folder)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise UnreachableError("the folder is not there: is it mounted?") from exc
        except OSError as exc:
            raise TransientDeliveryError(f"the file cannot be written: {exc.strerror}") from exc
        return Receipt(detail=f"file {name}")

    def close(self) -> None:
        """Nothing is open between two deliveries."""


def _sync(folder: Path) -> None:
    """The rename too must outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
