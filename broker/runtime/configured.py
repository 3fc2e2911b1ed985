"""Settings, tables and routes read and checked as one: what a start would use. Opens no socket and no journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.adapter import Kind, ListenerPlace, Reader, Renderer
from broker.errors import ConfigError, Fault
from broker.routing import tables
from broker.routing.engine import RouteSet
from broker.routing.files import RouteFiles, read
from broker.routing.loader import Site, load_files
from broker.runtime.encoding import renderer
from broker.settings import InboundSetting, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """Everything the configuration folder says, checked: what a start would use."""

    settings: Settings
    files: RouteFiles
    """The text that the routes were made of."""
    routes: RouteSet
    renderers: Mapping[str, Renderer]
    readers: Mapping[str, Reader]
    """Listeners whose messages can be tried without a socket, by name."""
    env: Mapping[str, str] = field(repr=False)
    """What references in route files stand for; it may hold secrets."""


def configure(settings: Settings, env: Mapping[str, str], stored: RouteFiles | None = None) -> Configured:
    """Loads tables, routes and listeners' readers. Raises `ConfigError` with every fault of all of them.

    `stored`: routes and tables out of a journal, in place of those of the folder.
    """
    faults: list[Fault] = []
    broken: list[str] = []
    readers: dict[str, Reader] = {}
    for setting in settings.inbound:
        if setting.spec.reader is not None:
            try:
                readers[setting.name] = setting.spec.reader(setting.config, place_of(settings, setting))
            except ConfigError as exc:
                _collect(exc, faults, broken)
    files = stored or read_files(settings)
    routes: RouteSet | None = None
    try:
        routes = compiled(settings, files, env, folder=None if stored else settings.routes_folder)
    except ConfigError as exc:
        _collect(exc, faults, broken)
    if faults or broken or routes is None:
        raise ConfigError(faults if faults else "\n".join(broken))
    renderers = {s.name: renderer(s) for s in settings.outbound}
    return Configured(
        settings=settings, files=files, routes=routes, renderers=renderers, readers=readers, env=env
    )


def read_files(settings: Settings) -> RouteFiles:
    """Routes and tables as they stand in the folders that the settings name."""
    paths = {name: settings.table_file(name) for name in settings.broker.tables}
    return read(
        settings.routes_folder,
        {name: (path, shown(path)) for name, path in paths.items()},
        shown_as=shown(settings.routes_folder),
    )


def compiled(
    settings: Settings, files: RouteFiles, env: Mapping[str, str], *, folder: Path | None = None
) -> RouteSet:
    """Routes and tables against these settings. Raises `ConfigError` with every fault.

    `folder`: where the routes' tests stand; None: the tests are taken as they are, because they are run elsewhere.
    """
    faults = list(files.unread)
    loaded: dict[str, tables.Table] = {}
    for name, table in files.tables.items():
        try:
            loaded[name] = tables.read_table(name, table.text, table.file)
        except ConfigError as exc:
            faults += exc.faults
            loaded[name] = tables.Table(name=name, file=table.file, rows={})
    if faults:  # what is wrong with a table must not be told again for each route that uses it
        for name, file in settings.broker.tables.items():
            loaded.setdefault(name, tables.Table(name=name, file=file, rows={}))
    kinds: dict[str, Kind] = {s.name: s.spec.kind for s in settings.outbound}
    sources = [setting.name for setting in settings.inbound]
    site = Site(
        destinations=kinds,
        tables=loaded,
        env=env,
        sources=None if folder is None else sources,
        takes={s.name: s.spec.takes for s in settings.outbound},
    )
    return load_files(files.routes, site, folder=folder, unread=faults)


def place_of(settings: Settings, setting: InboundSetting) -> ListenerPlace:
    """What a listener's reader is told of where it stands."""
    return ListenerPlace(
        name=setting.name,
        site=settings.broker.site,
        config_folder=settings.file.parent,
        time_zone=settings.broker.time_zone,
        environment=settings.broker.environment,
    )


def _collect(error: ConfigError, faults: list[Fault], broken: list[str]) -> None:
    faults.extend(error.faults)
    if not error.faults:
        broken.append(str(error))


def shown(path: Path) -> str:
    """A path as a person in the current folder would write it."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()
