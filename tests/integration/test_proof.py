"""The proof itself, in short: that its disk forgets what was not synced, that it finds what was planted, and that it
finds nothing in this broker. `make proof` is the long run; BROKER_TEST_SEED repeats one of these."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof.disk import LYING, Disk
from tests.proof.episode import Tally, play
from tests.proof.faults import KINDS
from tests.proof.stage import set_up, why_no_small_disk
from tests.support.broker import Broker
from tests.support.needs import absent
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KEEP = """
folder = os.open(root, os.O_RDONLY)
file = os.open(root + "/part", os.O_WRONLY | os.O_CREAT)
os.write(file, b"new"){sync_file}
os.rename(root + "/part", root + "/kept"){sync_folder}
"""
SYNC_FILE, SYNC_FOLDER = "; os.fsync(file)", "; os.fsync(folder)"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    for name in ("data", "work"):
        (tmp_path / name).mkdir()
    return Disk(tmp_path / "data", tmp_path / "work")


def run(disk: Disk, program: str, **environment: str) -> str:
    """Runs the program, which knows `root`, and kills it with -9 at its end; what it printed."""
    end = "sys.stdout.flush()\nos.kill(os.getpid(), signal.SIGKILL)"
    text = f"import os, signal, sys\nroot = {str(disk.root)!r}\n{program}\n{end}"
    command = [sys.executable, "-c", text]
    finished = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **disk.environment, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )
    assert finished.returncode == -9, finished.stderr
    return finished.stdout


def left(disk: Disk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in disk.root.iterdir()}


# the disk


def test_what_was_synced_is_there_after_every_power_cut(disk: Disk) -> None:
    run(disk, KEEP.format(sync_file=SYNC_FILE, sync_folder=SYNC_FOLDER))
    for seed in range(10):
        disk.cut_power(random.Random(seed))
        assert left(disk) == {"kept": b"new"}


def test_a_file_with_two_names_is_one_file(disk: Disk) -> None:
    program = KEEP.replace("os.rename", "os.link")
    run(disk, program.format(sync_file=SYNC_FILE, sync_folder=SYNC_FOLDER) + 'os.unlink(root + "/part")')
    for seed in range(10):
        disk.cut_power(random.Random(seed))
        assert left(disk) in ({"part": b"new", "kept": b"new"}, {"kept": b"new"})
        assert disk.absorb() == []


@pytest.mark.parametrize(
    ("sync_file", "sync_folder", "may_be_left"),
    [
        ("", SYNC_FOLDER, [{"kept": b""}, {"kept": b"new"}]),
        (SYNC_FILE, "", [{}, {"kept": b"new"}]),
        ("", "", [{}, {"kept": b""}, {"kept": b"new"}]),
    ],
)
def test_a_program_that_forgets_a_sync_loses_its_data(
    tmp_path: Path, sync_file: str, sync_folder: str, may_be_left: list[dict[str, bytes]]
) -> None:
    found = []
    for seed in range(10):
        for name in ("data", "work"):
            (tmp_path / str(seed) / name).mkdir(parents=True)
        disk = Disk(tmp_path / str(seed) / "data", tmp_path / str(seed) / "work")
        run(disk, KEEP.format(sync_file=sync_file, sync_folder=sync_folder))
        disk.cut_power(random.Random(seed))
        assert left(disk) in may_be_left
        found.append(left(disk))
    assert may_be_left[0] in found, "nothing was ever lost"


def test_the_record_has_every_change_of_the_files_that_a_broker_uses(disk: Disk) -> None:
    run(
        disk,
        """
import apsw, pathlib, shutil
connection = apsw.Connection(root + "/a.sqlite")
connection.execute("PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(9000))")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES (1)")
deep = pathlib.Path(root, "a", "b")
deep.mkdir(parents=True)
with open(deep / "x", "w+b") as file:
    file.write(b"0123456789")
    file.truncate(5)
with open(deep / "x", "ab") as file:
    file.write(b"more")
(deep / "x").replace(deep / "y")
os.link(deep / "y", deep / "linked")
(deep / "z").write_bytes(b"z")
(deep / "z").unlink()
shutil.rmtree(deep)
(deep.parent / "last").write_text("last")
""",
    )
    assert disk.absorb() == []


def test_writes_and_syncs_fail_as_told(disk: Disk) -> None:
    disk.fail(write=(5, 100), sync=(28, 100))
    said = run(
        disk,
        """
file = os.open(root + "/x", os.O_WRONLY | os.O_CREAT)
for call in (lambda: os.write(file, b"x"), lambda: os.pwrite(file, b"x", 9), lambda: os.fsync(file)):
    try:
        call()
    except OSError as exc:
        print(exc.errno)
""",
    )
    assert said.split() == ["5", "5", "28"]


# the broker


def test_what_a_start_has_read_survives_a_power_cut(disk: Disk) -> None:
    """A killed process leaves commits that were written and never synced: whoever reads them must sync them first."""
    journal = f"""
from pathlib import Path
from broker.store.sqlite import SqliteDatabase
journal = SqliteDatabase(Path({str(disk.root / "journal")!r}))
journal.open()
"""
    write = "journal.write(lambda tx: tx.execute('CREATE TABLE written (x)')).result()"
    read = "print(journal.read().one('SELECT count(*) FROM sqlite_schema WHERE name=?', ('written',)))"
    run(disk, f"{journal}journal.close()")
    disk.absorb()
    run(disk, journal + write, **LYING)
    disk.absorb()
    seen = run(disk, journal + read)
    disk.cut_power(random.Random(0), chance=0.0)
    assert run(disk, journal + read) == seen == "(1,)\n"


@pytest.fixture
def seed() -> int:
    found = int(os.environ.get("BROKER_TEST_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"BROKER_TEST_SEED={found}")
    return found


def test_nothing_acknowledged_is_lost_by_any_kind_of_harm(tmp_path: Path, seed: int) -> None:
    no_disk = why_no_small_disk(tmp_path)
    kinds = [kind for kind in (*KINDS, "crash", "power") if kind != "disk" or not no_disk]
    random.Random(seed).shuffle(kinds)
    tally = play(set_up(tmp_path / "episode", str(seed), {}), KINDS, kinds, print)
    print(tally)
    assert not tally.findings.any
    assert tally.messages_acknowledged > 100, "there was no load"
    assert tally.images_acknowledged > 10, "there was no load"
    assert set(tally.rounds) == set(kinds)
    if no_disk:
        absent(f"all but the full disk was tried: {no_disk}")


def power_cuts(folder: Path, settings: dict[str, str], rounds: int = 2) -> Tally:
    return play(set_up(folder / "episode", "planted", settings), KINDS, ["power"] * rounds, print)


def test_a_disk_that_lies_is_found(tmp_path: Path) -> None:
    found = power_cuts(tmp_path, LYING).findings
    assert found.lost or found.forgotten or found.broken


def test_a_journal_that_does_not_sync_each_commit_is_found(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        """
import apsw
class Connection(apsw.Connection):
    def execute(self, sql, *rest):
        return super().execute(sql.replace("synchronous=FULL", "synchronous=NORMAL"), *rest)
apsw.Connection = Connection
"""
    )
    found = power_cuts(tmp_path, {"PYTHONPATH": str(tmp_path)}).findings
    assert found.lost or found.forgotten


def test_a_missing_sync_of_received_objects_is_found(tmp_path: Path) -> None:
    """SQLite syncs by itself: only the objects' files and names are not synced now."""
    (tmp_path / "sitecustomize.py").write_text("import os\nos.fsync = lambda _: None\n")
    # Only an object that has not left yet can be lost: of two cuts both may find none.
    found = power_cuts(tmp_path, {"PYTHONPATH": str(tmp_path)}, rounds=4).findings
    assert any(each.startswith("2.25.") for each in found.lost) or found.broken


# any engine


def prove(port: int, sink_port: int, command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.proof", "--minutes", "0.05", "--format", "json"),
            *("--engine", f"127.0.0.1:{port}", "--sink-port", str(sink_port)),
            *("--restart-command", shlex.join(command), *options),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_an_engine_that_acknowledges_before_it_stores_is_found() -> None:
    port, sink_port = free_port(), free_port()
    relay = [sys.executable, "-m", "tests.support.lossy_relay", str(port), str(sink_port)]
    finished = prove(port, sink_port, relay)
    assert finished.returncode == 1, finished.stderr
    assert json.loads(finished.stdout)["findings"]["lost"]


def test_this_broker_stands_as_any_engine(tmp_path: Path) -> None:
    broker = Broker(tmp_path, epj_port=(sink_port := free_port()))
    environment = [f"{name}={value}" for name, value in broker.environment.items()]
    command = ["env", *environment, sys.executable, "-m", "broker", "run"]
    finished = prove(broker.pas_port, sink_port, command)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert json.loads(finished.stdout)["messages_acknowledged"] > 50
