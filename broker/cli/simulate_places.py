"""Where the peers of `broker simulate` find a broker: its listeners, and where it sends to, as its settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.errors import ConfigError
from broker.settings import Settings
from broker.simulate.drills.peers import DrillPlaces
from broker.simulate.region import Places


def region(settings: Settings) -> Places:
    """Of a region. Raises `ConfigError`."""
    inbound, outbound = _found(settings, inbound=("pas", "ris", "lab"), outbound=("epj", "pacs"))
    return Places(
        host=settings.broker.bind,
        pas=inbound["pas"].port,
        orders=inbound["ris"].port,
        results=inbound["lab"].port,
        dicom=settings.broker.dicom.port,
        dicom_aet=settings.broker.dicom.ae_title,
        http=settings.broker.http.port,
        epj_host=outbound["epj"].host,
        epj=outbound["epj"].port,
        pacs_host=outbound["pacs"].host,
        pacs=outbound["pacs"].port,
        pacs_aet=outbound["pacs"].called_aet,
        patience=outbound["epj"].ack_timeout,
    )


def drill(settings: Settings) -> DrillPlaces:
    """Of a drill. Raises `ConfigError`."""
    inbound, outbound = _found(settings, inbound=("pdq", "mpps", "patient-root"), outbound=("pacs-hl7",))
    for setting in settings.outbound:
        if setting.entry.adapter == "pacs-hl7" and not setting.entry.enabled:
            raise ConfigError(
                f"{settings.file}: outbound.{setting.name} is off, so no merge reaches the PACS: set"
                " BROKER_PACS_HL7_PORT for the broker and for the drill"
            )
    if not inbound["pdq"].port:
        raise ConfigError(
            f"{settings.file}: inbound: the port of demographics queries is not fixed: set BROKER_PDQ_PORT for the"
            " broker and for the drill"
        )
    return DrillPlaces(
        region=region(settings),
        demographics=inbound["pdq"].port,
        pacs_hl7_host=outbound["pacs-hl7"].host,
        pacs_hl7=outbound["pacs-hl7"].port,
    )


def _found(
    settings: Settings, *, inbound: tuple[str, ...], outbound: tuple[str, ...]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The options of listeners and of destinations by adapter; of several the first. Raises `ConfigError`."""
    listeners: dict[str, Any] = {s.entry.adapter: s.config for s in reversed(settings.inbound)}
    destinations: dict[str, Any] = {s.entry.adapter: s.config for s in reversed(settings.outbound)}
    for group, names, found in (("inbound", inbound, listeners), ("outbound", outbound, destinations)):
        if missing := [name for name in names if name not in found]:
            raise ConfigError(f"{settings.file}: {group}: there must be an entry with adapter: {missing[0]}")
    return listeners, destinations
