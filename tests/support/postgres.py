"""A PostgreSQL of the tests' own on a free port, with databases that cost little; never the machine's."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from broker.store.database import Database
from tests.support.needs import absent, find_program, needs
from tests.support.ports import free_port
from tests.support.processes import Program

PROGRAMS = Path("/usr/lib/postgresql")
"""Where Debian keeps the server's programs, a folder for each version; PATH leaves them out."""


class Postgres:
    """One server. Without fsync unless it is to be measured: what tests kill is the process, not the machine.

    `before`: what its command begins with, to start it in another network where it has the address `host`.
    """

    def __init__(self, *, fsync: bool = False, host: str = "127.0.0.1", before: Sequence[str] = ()) -> None:
        self._postgres, self._initdb = _program("postgres"), _program("initdb")
        # setpriv: it refuses to run as root, and it must not outlive a test run that was killed.
        as_postgres = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self._before = [*before, needs("setpriv"), *as_postgres, "--pdeathsig=INT", "--"]
        # Not pytest's own folder, which is closed to every other user.
        self._folder = Path(tempfile.mkdtemp(prefix="broker-postgres-"))
        if as_postgres:
            shutil.chown(self._folder, "postgres", "postgres")
        self._fsync = "on" if fsync else "off"
        self.host, self.port = host, free_port()
        self._process: Program | None = None
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Returns when it answers; the same data and port after `stop` or `crash`."""
        data = self._folder / "data"
        if not data.exists():
            options = ["-U", "broker", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
            made = subprocess.run(
                [*self._before, self._initdb, "-D", data, *options],
                cwd="/",
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            assert made.returncode == 0, made.stderr
            with (data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
                rules.write(f"host all all {self.host}/24 trust\n")
        settings = (
            f"fsync={self._fsync}",
            "unix_socket_directories=",
            f"listen_addresses={self.host}",
            f"port={self.port}",
        )
        self._process = Program(
            [*self._before, self._postgres, "-D", data, *(p for s in settings for p in ("-c", s))],
            self._folder / "postgres.log",
            folder=Path("/"),
        )
        self._process.wait_until(self._answers, "PostgreSQL answers")

    @property
    def pid(self) -> int:
        """The postmaster's; each session is a child of it."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def stop(self) -> None:
        """A fast shutdown, as in an administrator's restart: sessions are ended, their transactions undone."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """An immediate shutdown: the next start recovers."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Ends it and deletes its data, which it need not write down before."""
        self.crash()
        subprocess.run(
            ["rm", "-rf", self._folder], check=True
        )  # some 100,000 files, twice as fast as by shutil

    def database(self, template: str = "template1") -> str:
        """Name of a new database, empty or as the template is."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def url(self, name: str) -> str:
        return f"postgresql://broker@{self.host}:{self.port}/{name}"

    def end_sessions(self, name: str) -> None:
        """Ends every session of a database, whatever it is doing."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='{name}'")

    def execute(self, sql: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[call-overload]

    def rows(self, sql: str, database: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload,no-any-return]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate(30, number)


SESSION_WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname=current_database() AND wait_event_type='Lock'"
"""Gives a row while a session of the database waits for another."""


def waiting_for_lock(database: Database) -> None:
    """Until a session of this database waits for another."""
    while not database.read().rows(SESSION_WAITS):
        pass


def _program(name: str) -> str:
    """The newest version's; without one the test is skipped, or failed in CI."""
    found = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parents[1].name))
    path = str(found[-1]) if found else find_program(name)
    return path or absent(f"PostgreSQL's {name} is not installed; deploy/test-packages.sh installs it")
