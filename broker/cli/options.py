"""What several commands share: the options `--config` and `--format`, reading the settings, opening the journal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from broker import settings as settings_module
from broker.errors import ConfigError
from broker.settings import Settings
from broker.store.sqlite import Database, Transaction

F = TypeVar("F", bound=Callable[..., Any])


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


def load_settings(config: Path) -> Settings:
    """The settings as a start would read them. Raises `ConfigError`."""
    if not config.is_file():
        raise ConfigError(f"{config}: there is no such file; run from the project's folder, or give --config")
    return settings_module.load(config, env=os.environ)


def open_journal(settings: Settings) -> Transaction:
    """The journal for reading, beside a running broker. Raises `ConfigError` when there is none yet."""
    from broker.runtime.broker import journal_file

    path = journal_file(settings.data_folder)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no journal yet; start the broker with `broker run`")
    return Database(path).read()


def print_json(value: Any) -> None:
    """A value as JSON, on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))
