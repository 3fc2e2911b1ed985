"""What several commands share: the options `--config` and `--format`, reading the settings, opening the journal."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import rich_click as click
from pydantic import TypeAdapter, ValidationError

from broker import settings as settings_module
from broker.delivery.parked import By
from broker.errors import ConfigError
from broker.journal import audit
from broker.journal import log as journal
from broker.routing.testing import GivenError
from broker.runtime import journals
from broker.runtime.roles import EVERY
from broker.runtime.trial import Messages
from broker.scalars import Duration
from broker.settings import Settings
from broker.store.database import Database
from broker.store.schema import CURRENT
from broker.store.transaction import Transaction

F = TypeVar("F", bound=Callable[..., Any])


class Number(click.ParamType[int]):
    """The number of a route set: `42` or `v42`."""

    name = "number"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removeprefix("v")
        if not text.isdecimal():
            self.fail("is no number of a route set; write 42 or v42", param, ctx)
        return int(text)


class DurationType(click.ParamType[float]):
    """`250ms`, `30s`, `5m`, `24h`, `7d`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return TypeAdapter[float](Duration).validate_python(value)
        except ValidationError:
            self.fail("must be a duration such as 30s, 12h or 7d", param, ctx)


DURATION: Final = DurationType()


def config_option(function: F) -> F:
    """`--config`, as a path."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("config/broker.yaml"),
        envvar="BROKER_CONFIG",
        show_default=True,
        help="The settings file.",
    )(function)


def format_option(function: F) -> F:
    """`--format text|json`, as `as_json`."""
    return click.option(
        "--format",
        "as_json",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        callback=lambda _ctx, _param, value: value == "json",
        help="For people, or for programs.",
    )(function)


def role_option(help_text: str) -> Callable[[F], F]:
    """`--role`, which may stand several times, as `roles`; a frozenset, every role without it."""
    return click.option(
        "--role",
        "roles",
        type=click.Choice(sorted(EVERY)),
        multiple=True,
        callback=lambda _ctx, _param, value: frozenset(value) or EVERY,
        help=f"{help_text} (docs/cluster.md); may be given several times. Default: all of them.",
    )


def load_settings(config: Path) -> Settings:
    """The settings as a start would read them. Raises `ConfigError`."""
    if not config.is_file():
        raise ConfigError(f"{config}: there is no such file; run from the project's folder, or give --config")
    return settings_module.load(config, env=os.environ)


def journal_of(settings: Settings) -> Database:
    """The journal beside a running broker, not opened yet. Raises `ConfigError` when there is none to read."""
    database = journals.journal_of(settings)
    have = database.version()
    if not have:
        raise ConfigError(f"{database.name}: there is no journal yet; start the broker with `broker run`")
    if have != CURRENT:
        raise ConfigError(
            f"{database.name}: the journal is another version's; start this version's broker once"
        )
    return database


def open_journal(settings: Settings) -> Transaction:
    """The journal for reading. Raises `ConfigError` when there is none yet."""
    return journal_of(settings).read()


def by_options(function: F) -> F:
    """`--reason` and `--as`, as `reason` and `who`: every intervention says why and by whom."""
    return who_option(reason_option("Why; kept for ever beside what was done.")(function))


def reason_option(help_text: str = "Why; kept for ever in the audit.") -> Callable[[F], F]:
    """`--reason` of what nobody may do without one."""
    return click.option("--reason", required=True, callback=_said, help=help_text)


def _said(_context: click.Context, _option: click.Parameter, reason: str) -> str:
    if not reason.strip():
        raise click.UsageError("--reason must say something")
    return reason.strip()


def who_option(function: F) -> F:
    """`--as`, as `who`."""
    return click.option(
        "--as", "who", default=getpass.getuser, show_default="your login name", help="Who does it."
    )(function)


def login() -> str:
    """The login of this process: not the environment's word, which anybody may change."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def by(who: str, reason: str) -> By:
    """Who does it, now, and why."""
    return By(who=who, at=datetime.now(UTC).isoformat(), reason=reason)


def messages_of(settings: Settings) -> Messages:
    """Reads messages of this site's journal for tests, by their ids; it is opened for the first one."""

    def read(identity: str) -> bytes:
        try:
            raw = journal.named(open_journal(settings), identity).raw
        except ConfigError as error:
            raise GivenError(str(error)) from None
        except KeyError:
            raise GivenError(f"no message {identity} in the journal") from None
        if not raw:
            raise GivenError(f"message {identity} is in the journal, its bytes are kept no more")
        return raw

    return read


@contextmanager
def open_desk(settings: Settings) -> Iterator[Database]:
    """The journal for an intervention, beside a running broker, which notices within a second."""
    database = journal_of(settings)
    database.open()
    try:
        yield database
    finally:
        database.close()


def audited(settings: Settings, action: str, reason: str, detail: Mapping[str, Any]) -> int:
    """Writes a line of the audit and returns its number: no patient's value is shown before it is on disk."""
    with open_desk(settings) as desk:
        return desk.write(
            lambda tx: audit.note(
                tx, at=datetime.now(UTC), who=login(), action=action, reason=reason.strip(), detail=detail
            )
        ).result()


def patients_number(text: str) -> str:
    """A patient's number; from standard input (`-`) it stands in no list of processes and no shell's history."""
    return sys.stdin.readline().strip() if text == "-" else text.strip()


def text_of(payload: bytes) -> str:
    """A payload for people: a segment a line; what is not UTF-8 is read as Latin-1."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        text = payload.decode("latin-1")
    return text.replace("\r", "\n")


def progress(what: str) -> Callable[[object], None]:
    """Progress on a terminal: one line that is written over."""
    if not sys.stderr.isatty():
        return lambda _now: None
    return lambda now: click.echo(f"\r{what} {now} ", err=True, nl=False)


def print_json(value: Any) -> None:
    """A value as JSON, on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def write_new(files: Mapping[Path, str]) -> None:
    """Writes files and the folders that they need. Line ends stand as they are in the texts."""
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
