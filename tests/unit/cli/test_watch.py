"""`--watch`: at first, and whenever something changed; no time passes here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broker.cli.watch import changes


def looks(files: Callable[[], list[Path]], *meanwhile: Callable[[], object]) -> list[int]:
    """After which of the pauses it looked again; in each pause, one of `meanwhile` happens."""
    waiting, seen, passed = iter(meanwhile), [], 0

    def pause() -> None:
        nonlocal passed
        happens = next(waiting, None)
        if happens is None:
            raise KeyboardInterrupt
        happens()
        passed += 1

    for _ in changes(files, pause):
        seen.append(passed)
    return seen


def test_it_looks_when_a_file_changes_comes_or_goes(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text("a", encoding="utf-8")

    def nothing() -> None:
        pass

    found = looks(
        lambda: sorted(tmp_path.iterdir()),
        nothing,
        lambda: one.write_text("longer", encoding="utf-8"),
        nothing,
        lambda: two.write_text("b", encoding="utf-8"),
        lambda: two.unlink(),
    )

    assert found == [0, 2, 4, 5]


def test_a_file_that_is_gone_is_a_change_and_no_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.write_text("a", encoding="utf-8")

    assert looks(lambda: [gone], gone.unlink) == [0, 1]
