from __future__ import annotations

from pathlib import Path

from broker.runtime.rebuild import baseline_file, copy_baseline
from broker.store.sqlite import Database


def test_a_rebuild_starts_from_a_copy_of_the_baseline(tmp_path: Path) -> None:
    baseline = Database(baseline_file(tmp_path))
    baseline.open()
    baseline.write(
        lambda tx: tx.execute(
            "INSERT INTO event (seq, id, message, type, body, routed) VALUES (17, 'folded', 0, '', '', '')"
        )
    ).result()
    baseline.close()

    assert copy_baseline(tmp_path, tmp_path / "copy.sqlite") == 17

    copy = Database(tmp_path / "copy.sqlite")
    assert copy.read().one("SELECT seq FROM event") == (17,)
    copy.close()


def test_without_a_baseline_it_starts_from_nothing(tmp_path: Path) -> None:
    assert copy_baseline(tmp_path, tmp_path / "copy.sqlite") == 0
    assert not (tmp_path / "copy.sqlite").exists()
