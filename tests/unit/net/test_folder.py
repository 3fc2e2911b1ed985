"""Drop folders on a real disk, with an intake that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.adapter import Delivery, InboundContext, OutboundContext, Reception, Stored, Verdict
from broker.errors import StoreError, TransientDeliveryError, UnmappableError, UnreachableError
from broker.event import Draft, EventData
from broker.net.folder import FolderDestination, FolderListener, FolderSender, FolderSource
from broker.net.hl7_listener import profile
from broker.reception import Hl7Reader
from broker.store.lease import LostLeaseError

NOW = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)
ADT = b"MSH|^~\\&|PAS|STO|||2026||ADT^A01|%s|P|2.5\rPID|1||7\r"


class Intake:
    """Keeps receptions, in order; `broken` is raised instead."""

    def __init__(self) -> None:
        self.kept: list[Reception] = []
        self.transactions: list[int] = []
        self.broken: Exception | None = None

    async def accept(self, reception: Reception) -> Stored:
        (stored,) = await self.accept_all([reception])
        return stored

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        if self.broken is not None:
            raise self.broken
        self.kept += receptions
        self.transactions.append(len(receptions))
        return [Stored(answers=r.answers, answer_code=r.answer_code) for r in receptions]

    def accept_blocking(self, reception: Reception) -> Stored:
        raise AssertionError("an asyncio listener does not block")

    @property
    def control_ids(self) -> list[str]:
        return [reception.control_id for reception in self.kept]


def listener(
    folder: Path, intake: Intake, unfold: Callable[[bytes], Sequence[bytes]] | None = None, **options: Any
) -> FolderListener[FolderSource]:
    config = FolderSource.model_validate(
        {"folder": str(folder), "poll": "1ms", "issuer": "STO&2.999.7001&ISO", **options}
    )
    context = InboundContext(
        name="files",
        site="STO",
        bind="",
        config_folder=folder,
        spool=folder,
        intake=intake,
        worklist=None,  # type: ignore[arg-type]
        clock=lambda: NOW,
        register_dicom=lambda _: None,
        known_aets=frozenset(),
        count=lambda *_: None,
    )
    mappers = {"ADT^A01": lambda *_: [Draft(type="patient.updated", data=EventData())]}
    return FolderListener(
        config,
        context,
        lambda config, place: Hl7Reader(profile=profile(config, place), mappers=mappers),
        unfold,
    )


def while_it_runs(watched: FolderListener[FolderSource], until: Callable[[], bool]) -> None:
    """Runs the listener until the condition holds."""

    async def live() -> None:
        await watched.start()
        try:
            await asyncio.wait_for(_holds(until), 20)
        finally:
            await watched.stop()
            await watched.stop()

    asyncio.run(live())


async def _holds(until: Callable[[], bool]) -> None:
    while not until():
        await asyncio.sleep(0.001)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_taken_in_the_order_of_their_names_and_removed(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        (tmp_path / f"{number}.hl7").write_bytes(ADT % str(number).encode())
    (tmp_path / "4.txt").write_bytes(ADT % b"4")
    (tmp_path / ".5.hl7").write_bytes(ADT % b"5")
    intake = Intake()

    while_it_runs(listener(tmp_path, intake), lambda: names(tmp_path) == [".5.hl7", "4.txt"])

    assert intake.control_ids == ["1", "2", "3"]
    assert all(reception.verdict is Verdict.ACCEPTED for reception in intake.kept)


def test_taken_files_may_be_kept(tmp_path: Path) -> None:
    box, done = tmp_path / "in", tmp_path / "done"
    for folder in (box, done):
        folder.mkdir()
        (folder / "a.hl7").write_bytes(ADT % b"1")
    intake = Intake()

    while_it_runs(listener(box, intake, done=str(done)), lambda: not names(box))

    assert names(done) == ["a.hl7", "a.hl7.1"]


def test_a_file_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    """It is longer at each of the first looks: whoever writes it has not finished."""
    intake, path = Intake(), tmp_path / "a.hl7"
    watched = listener(tmp_path, intake)
    looks = iter(range(5))
    look = watched._listing

    def growing() -> dict[Path, tuple[int, int]]:
        if (number := next(looks, None)) is not None:
            path.write_bytes((ADT % b"1") + b"NTE|%d\r" % number * (number + 1))
        return look()

    watched._listing = growing  # type: ignore[method-assign]
    while_it_runs(watched, lambda: intake.kept != [])

    assert [reception.raw.count(b"NTE") for reception in intake.kept] == [5]


def test_a_file_that_is_written_anew_as_it_is_read_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    intake, path = Intake(), tmp_path / "a.hl7"
    whole = ADT % b"1"
    path.write_bytes(whole)
    watched = listener(tmp_path, intake)
    looks = iter(range(4))
    look = watched._listing

    def written_after(number: int) -> dict[Path, tuple[int, int]]:
        found = look()
        if number == 1:
            path.write_bytes(whole[:20])
        elif number == 2:
            path.write_bytes(whole)
        return found

    watched._listing = lambda: written_after(next(looks, 9))  # type: ignore[method-assign]
    while_it_runs(watched, lambda: not names(tmp_path))

    assert [reception.raw for reception in intake.kept] == [whole]


def test_a_file_that_takes_the_name_of_one_in_hand_is_taken_too(tmp_path: Path) -> None:
    """Its sender uses one name again and again, and does not look whether the last one was fetched."""
    path = tmp_path / "a.hl7"

    class Slow(Intake):
        async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
            if not self.kept:
                path.write_bytes(ADT % b"22")
            return await super().accept_all(receptions)

    intake = Slow()
    path.write_bytes(ADT % b"1")
    while_it_runs(listener(tmp_path, intake), lambda: not names(tmp_path))

    assert intake.control_ids == ["1", "22"]


def test_a_refused_file_stands_aside_with_its_answer(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(ADT.replace(b"A01", b"A99") % b"1")
    intake = Intake()

    while_it_runs(listener(tmp_path, intake), lambda: names(tmp_path) == ["refused"])

    assert names(tmp_path / "refused") == ["a.hl7", "a.hl7.ack"]
    assert b"MSA|AR|1" in (tmp_path / "refused" / "a.hl7.ack").read_bytes()


def test_a_batch_is_one_transaction(tmp_path: Path) -> None:
    batch = b"BHS|^~\\&|PAS\r" + ADT % b"1" + ADT % b"2" + b"BTS|2\r"
    (tmp_path / "a.hl7").write_bytes(batch)
    intake = Intake()

    while_it_runs(listener(tmp_path, intake), lambda: not names(tmp_path))

    assert intake.transactions == [3]
    assert intake.control_ids[1:] == ["1", "2"]


def test_any_format_may_be_unfolded(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(b"1,2")
    intake = Intake()

    def unfold(raw: bytes) -> list[bytes]:
        return [ADT % number for number in raw.split(b",")]

    while_it_runs(listener(tmp_path, intake, unfold), lambda: not names(tmp_path))

    assert intake.control_ids == ["1", "2"]
    assert intake.transactions == [2]


def test_a_file_that_cannot_be_unfolded_is_refused_whole(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(b"nothing")
    intake = Intake()

    def unfold(raw: bytes) -> list[bytes]:
        raise UnmappableError("line 2 is short")

    while_it_runs(listener(tmp_path, intake, unfold), lambda: names(tmp_path) == ["refused"])

    (reception,) = intake.kept
    assert (reception.verdict, reception.answer_code) == (Verdict.REJECTED, "AE")
    assert reception.reason == "line 2 is short"
    assert reception.raw == b"nothing"


def test_a_file_that_is_too_long_is_refused_and_only_its_beginning_kept(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(ADT % b"1" + b"x" * 10_000)
    intake = Intake()

    while_it_runs(listener(tmp_path, intake, max_file="5000B"), lambda: names(tmp_path) == ["refused"])

    (reception,) = intake.kept
    assert len(reception.raw) == 4096
    assert "longer than the 5000 bytes" in reception.reason


def test_files_wait_while_the_journal_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(ADT % b"1")
    intake = Intake()
    intake.broken = StoreError("full")
    watched = listener(tmp_path, intake)
    looks: list[int] = []
    look = watched._listing

    def seen() -> dict[Path, tuple[int, int]]:
        looks.append(1)
        if len(looks) == 6:
            assert names(tmp_path) == ["a.hl7"]
            intake.broken = None
        return look()

    watched._listing = seen  # type: ignore[method-assign]
    while_it_runs(watched, lambda: not names(tmp_path))

    assert intake.control_ids == ["1"]


def test_files_wait_while_our_own_code_fails_and_are_looked_for_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(b"7")
    intake, failing = Intake(), iter(range(3))

    def unfold(raw: bytes) -> list[bytes]:
        if next(failing, None) is not None:
            raise KeyError("column")
        return [ADT % raw]

    with capture_logs() as logs:
        while_it_runs(listener(tmp_path, intake, unfold), lambda: not names(tmp_path))

    assert intake.control_ids == ["7"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["a file cannot be taken"]


def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        while_it_runs(listener(tmp_path / "nowhere", Intake()), lambda: True)
    with pytest.raises(FileNotFoundError):
        while_it_runs(listener(tmp_path, Intake(), done=str(tmp_path / "nowhere")), lambda: True)


def test_it_says_where_it_looks(tmp_path: Path) -> None:
    assert listener(tmp_path, Intake()).addresses == (tmp_path.as_uri(),)


def sender(folder: Path) -> FolderSender:
    context = OutboundContext(name="there", spool=folder, work=folder, clock=lambda: NOW)
    return FolderSender(FolderDestination(folder=str(folder)), context)


def delivery(number: int, payload: bytes = b"MSH|") -> Delivery:
    return Delivery(id=number, destination="there", lane="P1", route="a-route", attempt=1, payload=payload)


def test_each_delivery_is_a_file_and_a_repeat_is_the_same_file(tmp_path: Path) -> None:
    out = sender(tmp_path)

    for number in (2, 10, 2):
        receipt = out.deliver(delivery(number, b"MSH|%d" % number))

    assert receipt.detail == "file 000000000002.hl7"
    assert names(tmp_path) == ["000000000002.hl7", "000000000010.hl7"]
    assert (tmp_path / "000000000010.hl7").read_bytes() == b"MSH|10"
    out.close()


def test_a_file_whose_lease_ran_out_does_not_appear(tmp_path: Path) -> None:
    def lost() -> None:
        raise LostLeaseError("way there 0")

    with pytest.raises(LostLeaseError):
        sender(tmp_path).deliver(replace(delivery(1), confirm=lost))
    assert not (tmp_path / "000000000001.hl7").exists()


def test_a_folder_that_is_not_there_is_a_destination_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UnreachableError, match="is it mounted"):
            sender(folder).deliver(delivery(1))


def test_any_other_failure_passes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TransientDeliveryError, match=r"^the file cannot be written: No space left"):
        sender(tmp_path).deliver(delivery(1))
    assert not (tmp_path / "000000000001.hl7").exists()
