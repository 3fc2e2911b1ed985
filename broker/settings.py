"""`config/broker.yaml` as typed settings: one declaration per option gives loader, JSON Schema and docs page.

An adapter declares its own options; they are checked here under the adapter's name. Reads files, opens nothing.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from broker import profiles, registry
from broker.adapter import InboundSpec, Options, OutboundSpec
from broker.bus.topology import Address, check_pattern, check_queue
from broker.delivery.pace import Window
from broker.device import AePattern, Device, find, merged
from broker.dicom.aet import AeTitle
from broker.entries import entry_model, read_entries
from broker.errors import ConfigError, Fault, did_you_mean
from broker.identity import Environment
from broker.net.tls import ListenerTlsOption
from broker.scalars import Duration, Secret, Size, Switch, Text, ZoneName
from broker.yamlfile import reading
from broker.yamlfile.check import validate
from broker.yamlfile.document import Document

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""


class CelerySettings(Options):
    """`executor: celery`: one worker process (`broker run --role deliver`)."""

    concurrency: int = Field(default=8, ge=1, le=256, description="Ways that it works off at once.")
    queues: tuple[Literal["light", "heavy"], ...] = Field(
        default=("light", "heavy"),
        min_length=1,
        description="What it works for: `heavy` are destinations that take images, `light` all others.",
    )


class DicomSettings(Options):
    """The one association server that hosts worklist, storage and verification."""

    port: int = Field(ge=0, le=65535, description="TCP port of every DICOM service.")
    ae_title: AeTitle = Field(default="BROKER", description="Called AE title.")
    open_ae: Switch | None = Field(
        default=None,
        description="Accept calling AE titles that `peers` does not name. Unset: only while bound to loopback.",
    )
    peers: tuple[AeTitle, ...] = Field(default=(), description="Calling AE titles that are known.")
    max_associations: int = Field(default=200, ge=1, description="Associations at once.")
    max_associations_per_peer: int | None = Field(
        default=None,
        ge=1,
        description="How many of them one calling AE title may have, and one host: so that a device gone wild does not"
        " shut the others out. Unset: as many as there may be, because behind a proxy all devices are one host.",
    )
    user_identity: Literal["ignore", "acknowledge"] = Field(
        default="ignore",
        description="What a device hears that names its user and wants that confirmed. Nobody checks it:"
        " `acknowledge` is for devices that do not go on without an answer.",
    )
    tls: ListenerTlsOption = Field(
        default=None,
        description="The same services over TLS, on a port of their own (docs/tls.md); unset: none.",
    )

    @model_validator(mode="after")
    def _apart(self) -> DicomSettings:
        if self.tls is not None and self.port and self.tls.port == self.port:
            raise ValueError("tls.port: TLS has a port of its own, another one than `port`")
        return self


class HttpSettings(Options):
    """Health, readiness and metrics."""

    port: int = Field(ge=0, le=65535, description="TCP port.")


class LimitsSettings(Options):
    """What the broker keeps for itself: beyond it new messages are refused, and the senders keep them."""

    min_free: Size = Field(
        default="64MiB",
        validate_default=True,
        description="What must stay free on the disks of `data` and `spool`, so that what was acknowledged can be"
        " delivered and recorded (a `spool` of its own keeps only objects out). Below it: `AR`, `CE` or `A700`, and not"
        " ready; from a tenth above it on, messages are taken again.",
    )


class RetentionSettings(Options):
    """How long the journal remembers. What still has to leave or to be decided keeps its day whole."""

    bodies: Duration = Field(
        default="90d",
        validate_default=True,
        description="How long the bytes of messages and deliveries, and files of refused objects, are kept; replay and"
        " `--payload` need them.",
    )
    ledger: Duration = Field(
        default="730d",
        validate_default=True,
        description="How long it is kept what came, when, from whom, and where it went; not shorter than `bodies`.",
    )
    max_size: Size | None = Field(
        default=None,
        description="Size of the journal, without the files of the spool, above which the oldest bodies leave early;"
        " unset: only age counts.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> RetentionSettings:
        if self.ledger < self.bodies:
            raise ValueError("ledger must not be shorter than bodies")
        return self


class StepsSettings(Options):
    """What time does to scheduled and performed steps."""

    idle: Mapping[str, Duration] = Field(
        default_factory=dict,
        description="Worklists whose rows expire, each with how long after the row's last change and the day it was to"
        " start: `{worklist: 7d}`. An order that schedules the step anew restores it. A list that is not named: never.",
    )
    mpps_overdue: Duration = Field(
        default="24h",
        validate_default=True,
        description="How long an MPPS may be in progress before it is reported (`mpps-overdue`); its step stays"
        " STARTED.",
    )


class StudiesSettings(Options):
    """When a study is complete, when archives keep it safely, and when its files are given up (docs/studies.md)."""

    quiet: Duration = Field(
        default="5m",
        validate_default=True,
        description="A study without an MPPS that lists its instances is complete when nothing of it came for so long.",
    )
    copies: int = Field(
        default=1,
        ge=1,
        le=10,
        description="How many archives must have committed to an object before it is safe: then devices that ask for"
        " storage commitment are told so, and its file may be given up.",
    )
    keep: Duration | None = Field(
        default="7d",
        validate_default=True,
        description="How long the file of an object stays after it became safe, an hour at least after it came;"
        " `null`: for ever.",
    )
    commitment_retry: Duration = Field(
        default="1h",
        validate_default=True,
        description="An archive that did not answer is asked again after so long, and then ever more seldom.",
    )
    commitment_overdue: Duration = Field(
        default="24h",
        validate_default=True,
        description="How long an archive may owe its commitment before it is reported (`commitment-overdue`), and how"
        " long a device that asks for one waits until what is undecided is told to have failed.",
    )


class TapSettings(Options):
    """What `broker tap` may show."""

    allow_phi: Switch = Field(
        default=False,
        description="Whether `broker tap --phi` may show patients' values. Off: structure, lengths and HL7's own codes"
        " only. Every use is audited either way.",
    )


class InboundEntry(Options):
    """What every inbound adapter has."""

    adapter: Text = Field(description="Name of the adapter (`broker adapters list`).")
    enabled: Switch = Field(default=True, description="Off: the listener is not opened.")


def _window(text: str) -> str:
    Window.parse(text)
    return text


class OutboundEntry(Options):
    """What every outbound adapter has."""

    adapter: Text = Field(description="Name of the adapter (`broker adapters list`).")
    enabled: Switch = Field(default=True, description="Off: routes that name it are off.")
    connections: int = Field(
        default=1, ge=1, le=64, description="Ways that are used at once; order holds per patient."
    )
    rate: float | None = Field(
        default=None, gt=0, le=10_000, description="At most so many deliveries a second; unset: no limit."
    )
    windows: tuple[Annotated[Text, AfterValidator(_window)], ...] = Field(
        default=(),
        description="Hours in which deliveries may leave, local time: [22:00-06:00]; empty: always.",
    )


def _store(url: SecretStr) -> SecretStr:
    if url.get_secret_value() and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must be empty, or a URL that begins with postgresql://")
    return url


def _bus(url: str) -> str:
    Address.parse(url)
    return url


class BrokerSettings(Options):
    """The whole file but for `inbound` and `outbound`, whose entries each have the options of their adapter."""

    site: Text = Field(min_length=1, description="Site that events carry unless a listener says otherwise.")
    time_zone: ZoneName = Field(
        default="Europe/Oslo",
        description="Where times without an offset are local; a listener may say another.",
    )
    environment: Environment = Field(
        default="mixed",
        description="Whose identity numbers are taken (docs/identifiers.md): `prod` refuses synthetic ones, `test`"
        " those that may be a living person's; `mixed` takes both and flags them.",
    )
    data: Text = Field(
        default="./data",
        description="Folder of journal and spool, this broker's alone; relative to where broker runs.",
    )
    spool: Text = Field(
        default="",
        description="Folder of the received objects where several nodes share it (a network share, say); it must be"
        " there. Empty: it is `data`.",
    )
    store: Annotated[Secret, AfterValidator(_store)] = Field(
        default=SecretStr(""),
        description="Where the journal is: `postgresql://user@host/database` (UTF8, owned by the user), so that several"
        " nodes can share it, who then need a `spool` that they share; empty: an SQLite file in `data`.",
    )
    bind: Text = Field(default="127.0.0.1", description="Address that every listener binds to.")
    routes: Text = Field(default="../routes", description="Folder of the route files; relative to this file.")
    tables: Mapping[str, Text] = Field(
        default_factory=dict, description="Code tables by name; relative to this file."
    )
    bus: Annotated[Text, AfterValidator(_bus)] = Field(
        default="memory://",
        repr=False,  # it may hold a password
        description="Where events are published (docs/bus.md): `memory://` (nowhere: nobody else could listen),"
        " `redis://…`, `amqp://…`; with TLS `rediss://…`, `amqps://…`.",
    )
    bus_queues: Mapping[
        Annotated[Text, AfterValidator(check_queue)],
        tuple[Annotated[Text, AfterValidator(check_pattern)], ...],
    ] = Field(
        default_factory=dict,
        description="Queues that the broker keeps for subscribers, by name, each with the topics that it gets:"
        " `{research: [study.*.STO, patient.#]}`. Made anew, and filled again, where the bus lost them.",
    )
    bus_repeat: Duration = Field(
        default="24h",
        validate_default=True,
        description="How far back events are published again when the bus is new or lost its data; a subscriber"
        " that was further behind needs `broker bus rewind`.",
    )
    executor: Literal["threads", "celery"] = Field(
        default="threads",
        description="What works lanes off: threads of `broker run`, or Celery workers (`broker run --role deliver`),"
        " which need `store: postgresql://…` and a `bus` of their own.",
    )
    celery: CelerySettings = Field(default_factory=CelerySettings)
    dicom: DicomSettings
    devices: Mapping[AePattern, Device] = Field(
        default_factory=dict,
        description="What devices are like that are answered, by AE title or pattern:"
        " `{DX1_STO: {charsets: [ISO_IR 100]}, US*: {name_length: 32}}`. A title of its own goes before patterns; of"
        " these the first that fits.",
    )
    http: HttpSettings
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    steps: StepsSettings = Field(default_factory=StepsSettings)
    studies: StudiesSettings = Field(default_factory=StudiesSettings)
    tap: TapSettings = Field(default_factory=TapSettings)
    inbound: Mapping[str, Any] = Field(description="Listeners by name.")
    outbound: Mapping[str, Any] = Field(description="Destinations by name.")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSetting:
    """One listener: common options, the adapter's own, and the adapter."""

    name: str
    entry: InboundEntry
    config: BaseModel
    spec: InboundSpec[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundSetting:
    """One destination: common options, the adapter's own, and the adapter."""

    name: str
    entry: OutboundEntry
    config: BaseModel
    spec: OutboundSpec[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything `config/broker.yaml` says."""

    file: Path
    broker: BrokerSettings
    inbound: tuple[InboundSetting, ...]
    outbound: tuple[OutboundSetting, ...]

    @property
    def data_folder(self) -> Path:
        return Path(self.broker.data).resolve()

    @property
    def node(self) -> str:
        """This broker among those that share a journal: one for each data folder."""
        return f"{socket.gethostname()}:{self.data_folder}"

    @property
    def spool_folder(self) -> Path:
        """Where received objects stand, every node's: paths in the journal are relative to it."""
        return Path(self.broker.spool or self.broker.data).resolve()

    @property
    def node_folder(self) -> Path:
        """On the spool's file system, for what this node alone has in hand: on its way in, or out."""
        if self.spool_folder == self.data_folder:
            return self.data_folder
        digest = hashlib.sha256(str(self.data_folder).encode()).hexdigest()[:8]
        return self.spool_folder / "nodes" / f"{socket.gethostname()}-{digest}"

    @property
    def routes_folder(self) -> Path:
        return (self.file.parent / self.broker.routes).resolve()

    @property
    def bus(self) -> Address:
        """Where events are published."""
        return Address.parse(self.broker.bus)

    def table_file(self, name: str) -> Path:
        """Where a code table stands."""
        return (self.file.parent / self.broker.tables[name]).resolve()

    def device(self, aet: str) -> Device | None:
        """What is declared of the device with this calling AE title."""
        return find(self.broker.devices, aet)

    @property
    def callers(self) -> frozenset[str]:
        """Calling AE titles that are let in by name: `dicom.peers`, and archives that call to answer what they were
        asked (a destination's `archive`)."""
        asked = (s.config for s in self.outbound if s.entry.enabled and hasattr(s.config, "archive"))
        return frozenset((*self.broker.dicom.peers, *(getattr(config, "called_aet", "") for config in asked)))

    @property
    def dicom_bind(self) -> str:
        """Where DICOM is taken in the clear: loopback where the network is to have TLS only."""
        tls = self.broker.dicom.tls
        return LOOPBACK[0] if tls is not None and tls.only else self.broker.bind

    @property
    def open_ae(self) -> bool:
        """Whether unknown calling AE titles are accepted: as told, else only on loopback."""
        told = self.broker.dicom.open_ae
        return self.broker.bind in LOOPBACK if told is None else told


def load(path: Path, *, env: Mapping[str, str]) -> Settings:
    """Reads the settings with every fault at once. Raises `ConfigError`."""
    document = reading.load(path, env=env)
    faults: list[Fault] = []
    broker: BrokerSettings | None = None
    try:
        broker = validate(document, BrokerSettings)
    except ConfigError as exc:
        faults.extend(exc.faults)
    inbound = [
        InboundSetting(name=name, entry=entry, config=config, spec=spec)
        for name, entry, config, spec in read_entries(
            document,
            "inbound",
            InboundEntry,
            registry.installed("broker.inbound"),
            registry.load_inbound,
            faults,
        )
    ]
    outbound = [
        OutboundSetting(name=name, entry=entry, config=config, spec=spec)
        for name, entry, config, spec in read_entries(
            document,
            "outbound",
            OutboundEntry,
            registry.installed("broker.outbound"),
            registry.load_outbound,
            faults,
        )
    ]
    lists = [setting.name for setting in outbound if setting.spec.kind == "worklist"]
    for name in broker.steps.idle if broker is not None else ():
        if name not in lists:
            hint = did_you_mean(name, lists) or f"There are {', '.join(lists) or 'none'}."
            faults.append(
                document.fault(("steps", "idle", name), f"no worklist is called '{name}'", hint, key=True)
            )
    takers = [setting.name for setting in outbound]
    for setting in outbound:
        archive = getattr(setting.config, "archive", None)
        if archive is not None and archive not in takers:
            hint = did_you_mean(archive, takers) or f"There are {', '.join(takers)}."
            what = f"no destination is called '{archive}'"
            faults.append(document.fault(("outbound", setting.name, "archive"), what, hint))
    devices = _with_profiles(document, path, broker.devices, faults) if broker is not None else {}
    if faults or broker is None:
        raise ConfigError(sorted(faults, key=lambda f: (f.line, f.column)))
    broker = broker.model_copy(update={"devices": devices})
    return Settings(file=path.resolve(), broker=broker, inbound=tuple(inbound), outbound=tuple(outbound))


def profiles_folder(file: Path) -> Path:
    """Where a site's own profiles of devices stand: beside its settings."""
    return file.parent / "profiles"


def _with_profiles(
    document: Document, file: Path, devices: Mapping[str, Device], faults: list[Fault]
) -> dict[str, Device]:
    """The devices with their profiles' options; profiles are read only where one is named."""
    found = dict(devices)
    if all(device.profile is None for device in devices.values()):
        return found
    try:
        known = profiles.load(profiles_folder(file))
    except ConfigError as exc:
        faults.extend(exc.faults)
        return found
    for aet, device in devices.items():
        if device.profile is None:
            continue
        if profile := known.get(device.profile):
            found[aet] = merged(device, profile.device)
        else:
            hint = did_you_mean(device.profile, known) or f"There are {', '.join(known)}."
            what = f"no profile is called '{device.profile}'"
            faults.append(document.fault(("devices", aet, "profile"), what, hint, code="wrong-value"))
    return found


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file with the options of every installed adapter, for editors."""
    schema = BrokerSettings.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for section, common, adapters, load_adapter in (
        ("inbound", InboundEntry, registry.installed("broker.inbound"), registry.load_inbound),
        ("outbound", OutboundEntry, registry.installed("broker.outbound"), registry.load_outbound),
    ):
        choices = []
        for name, point in sorted(adapters.items()):
            spec: Any = load_adapter(point)
            entry = entry_model(common, spec.config).model_json_schema(ref_template="#/$defs/{model}")
            definitions.update(entry.pop("$defs", {}))
            entry["title"], entry["description"] = name, spec.summary
            entry["properties"]["adapter"] = {"const": name}
            choices.append(entry)
        schema["properties"][section]["additionalProperties"] = {"oneOf": choices}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
