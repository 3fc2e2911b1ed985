"""What a new device needs in a site's configuration: its station row, its AE title, and a test that shows its row.

Plans edits and tries them on the site's own settings; writes nothing. Lines are put in, nothing else is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from broker.create.route import Tried, Wanted, route_files, test_text, trial
from broker.create.samples import Sample, order
from broker.create.splice import Sheet, at_end_of, into_list
from broker.dicom.vr_faults import vr_faults
from broker.errors import ConfigError, did_you_mean
from broker.routing.files import RouteFiles, TableFile
from broker.runtime.configured import Configured, configure, read_files, shown
from broker.settings import Settings
from broker.yamlfile.document import Document
from broker.yamlfile.reading import load, loads

Kind = Literal["modality", "sender"]
"""`modality`: is shown worklist rows, and sends images. `sender`: only sends images."""

STATION: Final = "ScheduledStationAETitle"
POLICY: Final = "modality:"
"""Codes that stand for orders which name no station (config/stations.csv)."""
PEERS: Final = ("dicom", "peers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as its engineer knows it."""

    name: str
    """For people: `CT 3`."""
    kind: Kind
    ae: str
    station: str = ""
    """The code by which orders name it or its room."""
    modality: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Files with their new text, in the order in which they are written, and what a person should know."""

    files: Mapping[Path, str]
    notes: tuple[str, ...]


def plan(
    settings: Settings,
    env: Mapping[str, str],
    device: Device,
    clock: Callable[[], datetime],
    table: str = "stations",
) -> Plan:
    """The edits that the device needs. Raises `ConfigError` for what is taken already, saying where."""
    document = load(settings.file, env=env, name=shown(settings.file))
    files = read_files(settings)
    sheet = sheet_of(settings, files, table)
    for text in vr_faults({STATION: device.ae}):
        raise ConfigError(f"--ae: {text.text}")
    _refuse_taken(device, document, sheet)
    peers = {settings.file: into_list(document, PEERS, device.ae, env)}
    if device.kind == "sender":
        return Plan(files=peers, notes=())
    if not device.station or not device.modality:
        raise ConfigError("a modality needs --station, the code by which orders name it, and --modality")
    if re.search(r'[,|"\s#]', device.station):
        raise ConfigError("--station: a code has no comma, bar, quote, hash or space")
    rows = _with_row(device, sheet)
    listed = _shown_on(settings, env, device, replace_table(files, table, rows), clock)
    return Plan(
        files={settings.table_file(table): rows, **listed, **peers},
        notes=tuple(_notes(device, Sheet.parse(rows, sheet.file))),
    )


def sheet_of(settings: Settings, files: RouteFiles, table: str) -> Sheet:
    """The station table as lines. Raises `ConfigError` where there is none, or none of CSV."""
    if table not in settings.broker.tables:
        hint = did_you_mean(table, settings.broker.tables)
        raise ConfigError(f"{shown(settings.file)}: $.tables: there is no table '{table}'. {hint}".rstrip())
    if files.unread:
        raise ConfigError(files.unread)
    found = files.tables[table]
    if not found.file.endswith(".csv"):
        raise ConfigError(f"{found.file}: rows are put into CSV tables only; add this one by hand")
    sheet = Sheet.parse(found.text, found.file)
    if not {"code", "aets"} <= set(sheet.header):
        raise ConfigError(f"{sheet.file}: has no columns code and aets: it is no table of stations")
    return sheet


def titles(cells: Mapping[str, str]) -> list[str]:
    """The AE titles of a row."""
    return [title.strip() for title in cells.get("aets", "").split("|") if title.strip()]


def replace_table(files: RouteFiles, table: str, text: str) -> RouteFiles:
    """The same files with another text of one table."""
    changed = TableFile(file=files.tables[table].file, text=text)
    return replace(files, tables={**files.tables, table: changed})


def _refuse_taken(device: Device, document: Document, sheet: Sheet) -> None:
    places = [f"{place} ({what})" for place, what, title in _uses(document, sheet) if title == device.ae]
    if places:
        raise ConfigError(f"the AE title {device.ae} is in use: {', '.join(places)}")
    for line, cells in sheet.rows:
        if device.station and cells.get("code") == device.station:
            raise ConfigError(f"the station {device.station} is there already: {sheet.place(line)}")


def _uses(document: Document, sheet: Sheet) -> Iterator[tuple[str, str, str]]:
    """Each AE title that the configuration names: place, what it is there, title."""
    settings = document.value
    paths: list[tuple[tuple[str | int, ...], str]] = [(("dicom", "ae_title"), "the broker's own")]
    paths += [((*PEERS, n), "a peer") for n in range(len(settings["dicom"].get("peers") or ()))]
    paths += [
        (("outbound", name, "called_aet"), f"destination {name}") for name in settings.get("outbound", {})
    ]
    for path, what in paths:
        if path in document:
            yield f"{document.file}:{document.mark(path)[0]}", what, str(document.get(path))
    for line, cells in sheet.rows:
        for title in titles(cells):
            yield sheet.place(line), f"station {cells.get('code', '')}", title


def _with_row(device: Device, sheet: Sheet) -> str:
    """The table with the device's row: behind those of its modality, else behind the last that is no policy."""
    stations = [(line, cells) for line, cells in sheet.rows if not cells.get("code", "").startswith(POLICY)]
    alike = [line for line, cells in stations if cells.get("modality") == device.modality]
    lines = alike or [line for line, _ in stations]
    sites = {cells.get("site", "") for _, cells in stations}
    cells = {
        "code": device.station,
        "aets": device.ae,
        "site": sites.pop() if len(sites) == 1 else "",
        "modality": device.modality,
        "name": device.name,
        "location": device.location,
    }
    header = next(n for n, line in enumerate(sheet.lines, 1) if line.strip() and not line.startswith("#"))
    return sheet.with_row(cells, after=lines[-1] if lines else header)


def _shown_on(
    settings: Settings,
    env: Mapping[str, str],
    device: Device,
    files: RouteFiles,
    clock: Callable[[], datetime],
) -> dict[Path, str]:
    """A test in the route that shows the device its rows; where none does, a route of its own."""
    sample = Sample(hl7=order(modality=device.modality, station=device.station))
    name = f"device_{re.sub('[^a-z0-9]+', '_', device.ae.lower()).strip('_')}"
    says = f"an order for {device.station} is shown on {device.ae}"
    tried = _row_for(device, configure(settings, env, files), sample, clock)
    if tried is None:
        wanted = Wanted(
            name=f"{name.replace('_', '-')}-to-worklist",
            on=("step.*",),
            to=(_worklist(settings),),
            where=f"'{device.station}' in step.station_codes",
            set={STATION: device.ae},
            description=f"{device.name} is shown the orders for {device.station}.",
            test=says,
            sample=sample,
        )
        return route_files(settings, env, wanted, clock)
    message = settings.routes_folder / "tests" / f"{name}.hl7"
    if message.exists():
        raise ConfigError(f"{shown(message)}: is there already; remove it, or choose another AE title")
    file, document = _file_of(tried.outputs[0].route, files, env)
    test = test_text(says, tried, f"tests/{message.name}")
    return {message: sample.hl7, settings.routes_folder / file: at_end_of(document, "tests", test)}


def _row_for(
    device: Device, configured: Configured, sample: Sample, clock: Callable[[], datetime]
) -> Tried | None:
    """What the sample comes to, narrowed to the route that shows it to the device."""
    tried = trial(configured, sample, "", clock)
    for output in tried.outputs if tried is not None else ():
        if output.kind == "worklist" and device.ae in _several(output.read(STATION)):
            return trial(configured, sample, output.route, clock)
    return None


def _several(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


def _worklist(settings: Settings) -> str:
    for setting in settings.outbound:
        if setting.spec.kind == "worklist" and setting.entry.enabled:
            return setting.name
    raise ConfigError(
        f"{shown(settings.file)}: there is no destination of kind worklist to show a device's rows"
    )


def _file_of(route: str, files: RouteFiles, env: Mapping[str, str]) -> tuple[str, Document]:
    for name, text in files.routes.items():
        document = loads(text, name, env=env)
        if document.value.get("route") == route:
            return Path(name).name, document
    raise ConfigError(f"no file holds the route '{route}'")


def _notes(device: Device, sheet: Sheet) -> Iterator[str]:
    """What is a decision of people, and so not made here."""
    code = f"{POLICY}{device.modality}"
    for line, cells in sheet.rows:
        if cells.get("code") == code:
            place = f"{sheet.place(line)} ({code})"
            yield f"orders that name no station go by {place}: add {device.ae} there if it shall show them"
            return
    yield f"orders that name no station are shown to no {device.modality}: {sheet.file} has no row {code}"
