"""The DICOM Conformance Statement, in the structure of PS3.2 annex A. Pure.

Everything in it is declared elsewhere: SOP classes and statuses by the adapters and the association server, matching by
`broker.dicom.matching`, keys by the rows that the routes' tests make, the rest by the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from broker.conformance.dicom_services import (
    Served,
    Used,
    acceptor,
    called,
    name_of,
    requestors,
    shown_classes,
)
from broker.conformance.document import Document, Section, Table
from broker.conformance.facts import Facts, Setting, options
from broker.dicom import charset, uid
from broker.net.service import STORAGE_SOP_CLASSES
from broker.net.tls import PROFILE, SUITES, VERSIONS
from broker.settings import InboundSetting
from broker.statement import DicomService

VERIFICATION: Final = DicomService(
    name="Verification",
    role="SCP",
    sop_classes=(uid.VERIFICATION,),
    operations=("C-ECHO",),
    statuses={},
    remarks=("As an SCU it is used by `broker doctor` and `broker devices verify`.",),
)
"""The association server's own."""


def statement(facts: Facts) -> Document:
    """The whole statement."""
    every: list[Used] = [(s, one) for s in facts.on for one in s.spec.statement(s.config).services]
    served: list[Served] = [(None, VERIFICATION), *(p for p in every if isinstance(p[0], InboundSetting))]
    used = [pair for pair in every if not isinstance(pair[0], InboundSetting)]
    return Document(
        title="DICOM Conformance Statement",
        text=(f"{facts.product} Structure: PS3.2 annex A.",),
        sections=(
            Section(title="Network services", tables=(_overview(served, used),)),
            _model(facts, used),
            Section(
                title="AE specifications",
                sections=(acceptor(facts, served), *requestors(used)),
            ),
            _web(facts),
            _network(facts),
            _configuration(facts),
            _character_sets(facts),
            _security(facts),
            _storage_classes(),
        ),
    )


def _overview(served: Sequence[Served], used: Sequence[Used]) -> Table:
    found: dict[tuple[str, str], set[str]] = {(name_of(uid.VERIFICATION), uid.VERIFICATION): {"SCU"}}
    for _, service in (*served, *used):
        for shown in shown_classes(service):
            found.setdefault(shown, set()).add(service.role)
    rows = tuple(
        (name, number, "yes" if "SCU" in roles else "no", "yes" if "SCP" in roles else "no")
        for (name, number), roles in found.items()
    )
    return Table(columns=("SOP class", "UID", "SCU", "SCP"), rows=rows)


def _model(facts: Facts, used: Sequence[Used]) -> Section:
    title = facts.configured.settings.broker.dicom.ae_title
    flow = [f"`{title}` accepts associations for every service below, on one port."]
    flow += [f"`{s.name}` opens associations to {called(s)}: {service.name}." for s, service in used]
    return Section(
        title="Implementation model",
        sections=(
            Section(title="Application data flow", points=tuple(flow)),
            Section(
                title="Functional definition and sequencing",
                text=(
                    "What is received is written to a journal, and synced to disk, before it is answered; routes decide"
                    " where it goes. Rows of worklists come from orders and from visits, demographics from PAS only."
                    " To a destination, deliveries of one patient leave in the order in which they came.",
                ),
            ),
        ),
    )


def _web(facts: Facts) -> Section:
    """DICOMweb: what destinations are asked for; nothing is served."""
    sections = tuple(
        Section(
            title=f"{setting.name}: {service.name} user agent",
            points=service.remarks,
            tables=(
                Table(
                    columns=("requests", "payload", "accepted"),
                    rows=((", ".join(service.requests), service.payload, service.accepts),),
                ),
                Table(
                    columns=("HTTP status that comes back", "what becomes of it"),
                    rows=tuple(service.statuses.items()),
                ),
            ),
        )
        for setting in facts.on
        for service in setting.spec.statement(setting.config).web
    )
    used = "User agent only; no DICOMweb service is offered." if sections else "None."
    return Section(title="Web services", text=(used,), sections=sections)


def _network(facts: Facts) -> Section:
    dicom = facts.configured.settings.broker.dicom
    secure = f", and in TLS on port {dicom.tls.port}" if dicom.tls is not None else ""
    return Section(
        title="Network interfaces",
        text=(
            f"TCP/IP (IPv4, IPv6), PS3.8. The acceptor listens on port {dicom.port}{secure}. No media storage.",
        ),
    )


def _dicom(facts: Facts) -> list[Setting]:
    """Listeners and destinations that speak DICOM, in whatever way."""
    return [s for s in facts.on if (said := s.spec.statement(s.config)).services or said.web]


def _configuration(facts: Facts) -> Section:
    settings = facts.configured.settings
    who = "any calling AE title" if settings.open_ae else "only these calling AE titles"
    devices = tuple(
        (pattern, ", ".join(device.charsets) or "as it asks", str(device.name_length))
        for pattern, device in settings.broker.devices.items()
    )
    entries = [Section(title=f"`{s.name}`", tables=(options(s),)) for s in _dicom(facts)]
    return Section(
        title="Configuration",
        text=(
            f"Called AE title: {settings.broker.dicom.ae_title}. Accepted: {who}. Known:"
            f" {', '.join(settings.broker.dicom.peers) or 'none'}.",
        ),
        tables=(Table(columns=("device", "character sets", "characters of a name"), rows=devices),),
        sections=tuple(entries),
    )


def _character_sets(facts: Facts) -> Section:
    ladders = tuple(
        (s.name, ", ".join(s.config.charsets)) for s in _dicom(facts) if hasattr(s.config, "charsets")
    )
    return Section(
        title="Character sets",
        text=(
            f"Written, one at a time: {', '.join(charset.TERMS)}. Read: those, with code extensions, and"
            f" {', '.join(charset.READ_ONLY_TERMS)}.",
            "An answer is in the first set, of those that the device declares, else asks in, else of the listener's,"
            " that shows all of it; what none can show is transliterated and counted. Without (0008,0005) in a query it"
            " is read as the device's first set.",
        ),
        tables=(Table(columns=("listener or destination", "in order of preference"), rows=ladders),),
    )


def _security(facts: Facts) -> Section:
    settings = facts.configured.settings
    who = "taken" if settings.open_ae else "refused"
    return Section(
        title="Security",
        text=(
            f"Unknown calling AE titles are {who}, and users are not identified. Who asked for demographics by Patient"
            " Root is audited.",
            *_tls(facts),
            "No address, telephone, next of kin or employer stands in a worklist row or in an object that is sent on.",
        ),
    )


def _tls(facts: Facts) -> Iterator[str]:
    dicom = facts.configured.settings.broker.dicom
    called = [one.name for one in facts.outbound if getattr(one.config, "tls", None) is not None]
    if dicom.tls is None and not called:
        yield f"Associations are not encrypted as configured; the {PROFILE} can be switched on."
        return
    yield (
        f"Secure transport connection profile: {PROFILE}, {' and '.join(VERSIONS)}, no older ones; cipher suites of TLS"
        f" 1.2: `{SUITES}` of OpenSSL. Certificates and keys are PEM files, read anew when they change; certificates"
        " are verified up to the configured authorities, without revocation lists."
    )
    if dicom.tls is not None:
        clients = "must" if dicom.tls.client_ca_file else "need not"
        clear = "from the machine itself only" if dicom.tls.only else f"on port {dicom.port}"
        yield (
            f"Associations are accepted in TLS on port {dicom.tls.port}, where clients {clients} have a certificate,"
            f" and in the clear {clear}. A handshake that fails ends the connection without an A-ABORT."
        )
    if called:
        yield f"Called in TLS, with the server's name checked: {', '.join(called)}."


def _storage_classes() -> Section:
    rows = tuple((name_of(one), one) for one in STORAGE_SOP_CLASSES)
    return Section(title="Storage SOP classes", tables=(Table(columns=("SOP class", "UID"), rows=rows),))
