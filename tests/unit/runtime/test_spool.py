from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.runtime import spool
from broker.settings import Settings, load
from tests.support.shared import REPOSITORY

Node = Callable[[str], Settings]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Settings of a node with a data folder of its own on one spool, which is there."""
    (tmp_path / "spool").mkdir()

    def node(name: str) -> Settings:
        env = {"BROKER_DATA": str(tmp_path / name), "BROKER_SPOOL": str(tmp_path / "spool")}
        return load(REPOSITORY / "config" / "broker.yaml", env=env)

    return node


def alone(folder: Path) -> Settings:
    return load(REPOSITORY / "config" / "broker.yaml", env={"BROKER_DATA": str(folder)})


def put(settings: Settings, folder: str, name: str, age: float = 0.0) -> Path:
    """A file that stands in a node's own folder for so many seconds."""
    file = settings.node_folder / folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"half")
    then = time.time() - age
    os.utime(file, (then, then))
    return file


def test_without_a_spool_everything_stands_in_the_data_folder(tmp_path: Path) -> None:
    settings = alone(tmp_path / "data")

    assert settings.spool_folder == settings.node_folder == settings.data_folder == tmp_path / "data"


def test_nodes_share_the_spool_and_each_has_its_own_folder_on_it(node: Node, tmp_path: Path) -> None:
    first, second = node("a"), node("b")

    assert first.spool_folder == second.spool_folder == tmp_path / "spool"
    assert first.node_folder != second.node_folder
    assert first.node_folder == node("a").node_folder, "the same after a restart"
    assert first.node_folder.parent == second.node_folder.parent == tmp_path / "spool" / "nodes"


def test_a_start_empties_what_is_its_own_and_touches_no_other_nodes(node: Node) -> None:
    first, second = node("a"), node("b")
    for settings in (first, second):
        spool.prepare(settings)
    own, others = put(first, spool.WORK, "1.dcm"), put(second, spool.WORK, "2.dcm")
    incoming = put(second, spool.INCOMING, "3.part")
    spool.prepare(first)

    assert not own.exists()
    assert others.exists()
    assert incoming.exists()
    assert (first.node_folder / spool.WORK).is_dir()


def test_what_a_node_left_that_never_came_back_goes_after_a_day(node: Node) -> None:
    first, gone = node("a"), node("gone")
    left = [put(gone, folder, "x", spool.ABANDONED_SECONDS + 60) for folder in (spool.WORK, spool.INCOMING)]
    alive = put(gone, spool.INCOMING, "y", spool.ABANDONED_SECONDS - 600)
    spool.prepare(first)

    assert not [file for file in left if file.exists()]
    assert alive.exists()
    assert (gone.node_folder / spool.WORK).is_dir(), "it may only be idle"


def test_a_data_folder_without_a_spool_has_no_neighbours(tmp_path: Path) -> None:
    """What stands beside it is somebody else's."""
    settings = alone(tmp_path / "data")
    foreign = put(alone(tmp_path / "foreign"), spool.WORK, "x", 2 * spool.ABANDONED_SECONDS)
    spool.prepare(settings)

    assert foreign.exists()


def test_a_spool_that_is_not_mounted_is_not_made(node: Node, tmp_path: Path) -> None:
    (tmp_path / "spool").rmdir()

    with pytest.raises(ConfigError, match="mount it"):
        spool.prepare(node("a"))
    assert not (tmp_path / "spool").exists()


def test_a_spool_in_which_nothing_can_be_made_is_told(node: Node, tmp_path: Path) -> None:
    (tmp_path / "spool" / "nodes").write_bytes(b"a file")

    with pytest.raises(ConfigError, match="cannot be written"):
        spool.prepare(node("a"))


@pytest.mark.parametrize(
    ("store", "shared", "looked_at"),
    [
        ("", False, [("data", True)]),
        ("", True, [("data", True), ("spool", True)]),
        ("postgresql://db/journal", False, [("data", True)]),
        ("postgresql://db/journal", True, [("data", False), ("spool", True)]),
    ],
)
def test_room_is_looked_at_where_journal_and_objects_are_written(
    tmp_path: Path, store: str, shared: bool, looked_at: list[tuple[str, bool]]
) -> None:
    """A full disk keeps messages out only where they, or what is made of them, would be written."""
    env = {"BROKER_DATA": str(tmp_path / "data"), "BROKER_STORE": store}
    if shared:
        env["BROKER_SPOOL"] = str(tmp_path / "spool")
    settings = load(REPOSITORY / "config" / "broker.yaml", env=env)
    found = spool.rooms(settings)
    for room in found:
        room._free = lambda _folder: 0

    assert [(room.folder.name, bool(room.why_not())) for room in found] == looked_at
