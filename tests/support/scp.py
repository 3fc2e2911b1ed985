"""A DICOM service in front of a journal on disk, without an association: what it wrote, what it counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from broker.adapter import InboundContext
from broker.errors import StoreError
from broker.event import Event
from broker.journal import log
from broker.journal.intake import JournalIntake
from broker.store.sqlite import SqliteDatabase
from tests.support.golden import NOW

S = TypeVar("S")


class Rig(Generic[S]):
    """`scp` is what `make` makes of its context; `close` when it is done."""

    def __init__(self, folder: Path, name: str, make: Callable[[InboundContext], S]) -> None:
        self.database = SqliteDatabase(folder / "journal.sqlite")
        self.database.open()
        self.counted: list[str] = []
        """Verdicts."""
        self.alerts: list[str] = []
        """What refusals that a person must see were answered."""
        self.room: StoreError | None = None
        """Why nothing may be written now."""
        context: Any = InboundContext(
            name=name,
            site="STO",
            bind="",
            config_folder=folder,
            spool=folder,
            intake=JournalIntake(
                self.database,
                lambda: None,
                alert=lambda _tx, reception: self.alerts.append(reception.answer_code),
                check_room=self._check,
            ),
            worklist=None,
            clock=lambda: NOW,
            register_dicom=lambda _: None,
            known_aets=frozenset(),
            count=lambda _, labels: self.counted.append(labels["verdict"]),
        )  # type: ignore[arg-type]
        self.scp = make(context)

    def close(self) -> None:
        self.database.close()

    @property
    def unrouted(self) -> list[Event]:
        """Events that came of what it took."""
        return [one.event for one in log.unrouted(self.database.read(), 99)]

    @property
    def messages(self) -> list[tuple[Any, ...]]:
        """(type, verdict, answer) of each message in the journal."""
        return self.database.read().rows("SELECT type, verdict, answer_code FROM message ORDER BY seq")

    def _check(self) -> None:
        if self.room is not None:
            raise self.room
