from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from broker.errors import BrokerError, ConfigError
from broker.runtime import backup
from broker.runtime.backup import back_up
from broker.store.sqlite import SqliteDatabase, journal_file

OBJECT = "instances/ab/abcd.dcm"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder that is written to, with one object and one that nothing names."""
    folder = tmp_path / "data"
    database = SqliteDatabase(journal_file(folder))
    database.open()
    database.write(
        lambda tx: tx.execute(
            "INSERT INTO instance (sop_instance_uid, study_uid, accession, sha256, path, patient, event)"
            " VALUES ('1.2', '1', '', 'abcd', ?, '', '')",
            (OBJECT,),
        )
    ).result()
    (folder / OBJECT).parent.mkdir(parents=True)
    (folder / OBJECT).write_bytes(b"object")
    (folder / "incoming").mkdir()
    (folder / "incoming" / "half").write_bytes(b"not acknowledged")
    yield folder
    database.close()


def paths(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_the_journal_names_is_copied_and_nothing_else(data: Path, tmp_path: Path) -> None:
    made = back_up(data, tmp_path / "copy")

    assert paths(tmp_path / "copy") == {"journal.sqlite", OBJECT}
    assert (made.messages, made.linked, made.copied, made.missing) == (0, 1, 0, ())
    assert os.path.samefile(data / OBJECT, tmp_path / "copy" / OBJECT)
    with_it = SqliteDatabase(journal_file(tmp_path / "copy"))
    assert with_it.read().one("SELECT path FROM instance") == (OBJECT,)
    with_it.close()


def test_a_baseline_goes_with_it(data: Path, tmp_path: Path) -> None:
    baseline = SqliteDatabase(data / "baseline.sqlite")
    baseline.open()
    baseline.close()

    back_up(data, tmp_path / "copy")

    assert (tmp_path / "copy" / "baseline.sqlite").is_file()


def test_objects_are_copied_where_they_cannot_be_linked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    made = back_up(data, tmp_path / "copy")

    assert (made.linked, made.copied) == (0, 1)
    assert (tmp_path / "copy" / OBJECT).read_bytes() == b"object"
    assert not os.path.samefile(data / OBJECT, tmp_path / "copy" / OBJECT)


def test_a_missing_object_is_named_and_the_rest_is_copied(data: Path, tmp_path: Path) -> None:
    (data / OBJECT).unlink()

    made = back_up(data, tmp_path / "copy")

    assert made.missing == (OBJECT,)
    assert paths(tmp_path / "copy") == {"journal.sqlite"}


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("data", "there", "is there already"),
        ("data", "data/copy", "inside"),
        ("x", "y", "no journal"),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    data: Path, tmp_path: Path, source: str, target: str, why: str
) -> None:
    (tmp_path / "there").mkdir()

    with pytest.raises(ConfigError, match=why):
        back_up(tmp_path / source, tmp_path / target)


def test_a_backup_leaves_the_broker_its_room(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make room"):
        back_up(data, tmp_path / "copy", min_free=1 << 60)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_what_failed_never_has_a_backups_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "the text of the system, with a path")

    monkeypatch.setattr(backup, "sync", full)
    with pytest.raises(BrokerError, match="No space left"):
        back_up(data, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()

    monkeypatch.undo()
    assert back_up(data, tmp_path / "copy").linked == 1, "what the failed one left is in nobody's way"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


def test_a_damaged_journal_gives_no_backup(tmp_path: Path) -> None:
    journal = journal_file(tmp_path / "data")
    database = SqliteDatabase(journal)
    database.open()
    database.close()
    connection = apsw.Connection(str(journal))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size - size // 2))

    with pytest.raises(BrokerError, match=r"damaged|cannot be copied"):
        back_up(tmp_path / "data", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_objects_of_a_spool_of_its_own_stand_beside_the_journal_in_the_copy(
    data: Path, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (data / "instances").rename(spool / "instances")
    made = back_up(data, tmp_path / "copy", spool=spool)

    assert (made.linked + made.copied, made.missing) == (1, ())
    assert paths(tmp_path / "copy") == {"journal.sqlite", OBJECT}
    with pytest.raises(ConfigError, match="inside"):
        back_up(data, spool / "copy", spool=spool)


def test_what_went_with_a_refused_object_is_not_missed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is in the copy as long as it is kept."""
    other = "instances/ab/other.dcm"
    (data / other).write_bytes(b"refused")

    def execute(sql: str) -> None:
        with_it = SqliteDatabase(journal_file(data))
        with_it.open()
        with_it.write(lambda tx: tx.execute(sql)).result()
        with_it.close()

    execute(f"INSERT INTO refused_file VALUES ('{other}', '1.2', 'other', '2026-03-09')")
    assert (back_up(data, tmp_path / "copy").linked, (tmp_path / "copy" / other).is_file()) == (2, True)
    verified = backup._verified

    def meanwhile(copy: Path) -> tuple[int, int, str]:
        execute("DELETE FROM refused_file")
        (data / other).unlink()
        return verified(copy)

    monkeypatch.setattr(backup, "_verified", meanwhile)
    assert back_up(data, tmp_path / "later").missing == ()


def test_what_was_given_up_is_not_missed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up() -> None:
        with_it = SqliteDatabase(journal_file(data))
        with_it.open()
        with_it.write(
            lambda tx: tx.execute(
                "INSERT INTO freed (sop_instance_uid, at) VALUES ('1.2', '2026') ON CONFLICT DO NOTHING"
            )
        ).result()
        with_it.close()
        (data / OBJECT).unlink(missing_ok=True)

    verified = backup._verified

    def meanwhile(copy: Path) -> tuple[int, int, str]:
        give_up()  # behind the journal's copy, before the objects
        return verified(copy)

    monkeypatch.setattr(backup, "_verified", meanwhile)
    assert back_up(data, tmp_path / "copy").missing == ()
    assert back_up(data, tmp_path / "later").missing == ()
