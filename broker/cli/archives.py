"""What commands that ask an archive share: `--archive`, and the archive that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import rich_click as click

from broker.adapter import Archive
from broker.errors import ConfigError, did_you_mean
from broker.net.retrieve_scu import RetrieveScu
from broker.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

archive_option = click.option(
    "--archive", required=True, help="The destination that is asked: its name in `outbound`."
)


@contextmanager
def asked(settings: Settings, name: str) -> Iterator[Archive]:
    """The archive, until the block ends. Raises `ConfigError` where there is none that can be asked."""
    can = {one.name: one for one in settings.outbound if one.spec.archive is not None}
    chosen = can.get(name)
    if chosen is None or chosen.spec.archive is None:
        hint = did_you_mean(name, can) or f"These can: {', '.join(can) or 'none'}."
        raise ConfigError(f"no destination is called '{name}' that can be asked what it keeps. {hint}")
    archive = chosen.spec.archive(chosen.config)
    try:
        yield archive
    finally:
        archive.close()


@contextmanager
def retrieving(settings: Settings, name: str) -> Iterator[RetrieveScu]:
    """As `asked`, of an archive that speaks DIMSE."""
    with asked(settings, name) as archive:
        if not isinstance(archive, RetrieveScu):
            raise ConfigError(
                f"'{name}' speaks no C-FIND, C-MOVE and C-GET: `broker reconcile --archive` asks it"
            )
        yield archive
