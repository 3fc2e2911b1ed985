"""A folder of route files as a route set, without settings around it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from broker.adapter import Kind
from broker.routing.engine import RouteSet
from broker.routing.files import read_folder
from broker.routing.loader import Site, load_files
from broker.routing.tables import Table


def load_folder(
    folder: Path,
    *,
    destinations: Mapping[str, Kind],
    tables: Mapping[str, Table] | None = None,
    env: Mapping[str, str] | None = None,
    sources: Collection[str] | None = None,
    shown_as: str = "",
) -> RouteSet:
    """All `*.yaml` of a folder, in the order of their names, with the blocks of its `_shared/*.yaml`.

    `shown_as` is what faults call the folder. Raises as `load_files`.
    """
    site = Site(destinations=destinations, tables=tables or {}, env=env or {}, sources=sources)
    shown = shown_as or folder.as_posix()
    texts, unread = read_folder(folder, shown)
    return load_files(texts, site, folder=folder, unread=unread)
