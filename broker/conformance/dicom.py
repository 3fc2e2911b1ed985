"""The DICOM Conformance Statement, in the structure of PS3.2 annex A. Pure.

Everything in it is declared elsewhere: SOP classes and statuses by the adapters and the association server, matching by
`broker.dicom.matching`, keys by the rows that the routes' tests make, the rest by the settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.uid import UID

from broker.conformance.document import Document, Section, Table
from broker.conformance.facts import Facts, options
from broker.dicom import attributes, charset, matching, pdu, status, uid
from broker.net import association
from broker.net.provider import REFUSALS
from broker.net.service import PRIVATE_STORAGE, STORAGE_SOP_CLASSES
from broker.settings import InboundSetting, OutboundSetting
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
    served: Served = [(None, VERIFICATION)]
    served += [(s, one) for s in facts.inbound for one in s.spec.statement(s.config).services]
    used: Used = [(s, one) for s in facts.outbound for one in s.spec.statement(s.config).services]
    return Document(
        title="DICOM Conformance Statement",
        text=(
            f"HL7/DICOM integration broker {facts.version}, as configured."
            f" Structure: PS3.2 annex A.{_off(facts)}",
        ),
        sections=(
            Section(title="Network services", tables=(_overview(served, used),)),
            _model(facts, used),
            Section(
                title="AE specifications",
                sections=(_acceptor(facts, served), *_requestors(used)),
            ),
            _network(facts),
            _configuration(facts),
            _character_sets(facts),
            _security(facts),
            _storage_classes(),
        ),
    )


Served = list[tuple[InboundSetting | None, DicomService]]
Used = list[tuple[OutboundSetting, DicomService]]


def _off(facts: Facts) -> str:
    return f" Switched off, and so not in it: {', '.join(facts.off)}." if facts.off else ""


def _name(sop_class: str) -> str:
    return str(UID(sop_class).name)


def _overview(served: Served, used: Used) -> Table:
    found: dict[tuple[str, str], set[str]] = {(_name(uid.VERIFICATION), uid.VERIFICATION): {"SCU"}}
    for _, service in (*served, *used):
        for shown in _shown_classes(service):
            found.setdefault(shown, set()).add(service.role)
    rows = tuple(
        (name, number, "yes" if "SCU" in roles else "no", "yes" if "SCP" in roles else "no")
        for (name, number), roles in found.items()
    )
    return Table(columns=("SOP class", "UID", "SCU", "SCP"), rows=rows)


def _shown_classes(service: DicomService) -> Iterator[tuple[str, str]]:
    """Name and UID of each class; those of storage are counted, and listed at the end."""
    storage = [one for one in service.sop_classes if one in STORAGE_SOP_CLASSES]
    if storage:
        yield f"Storage: {len(storage)} classes", "see the last section"
    for one in service.sop_classes:
        if one == PRIVATE_STORAGE:
            yield "Storage: every private class", "outside 1.2.840.10008"
        elif one not in STORAGE_SOP_CLASSES:
            yield _name(one), one


def _model(facts: Facts, used: Used) -> Section:
    title = facts.configured.settings.broker.dicom.ae_title
    flow = [f"`{title}` accepts associations for every service below, on one port."]
    flow += [f"`{s.name}` opens associations to {_called(s)}: {service.name}." for s, service in used]
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


def _called(setting: OutboundSetting) -> str:
    return f"`{getattr(setting.config, 'called_aet', 'its peer')}`"


def _acceptor(facts: Facts, served: Served) -> Section:
    dicom = facts.configured.settings.broker.dicom
    rejections = tuple((why, *map(str, code)) for why, code in REFUSALS.items())
    contexts = tuple(
        (name, number, _syntaxes(service), "SCP", "none")
        for _, service in served
        for name, number in _shown_classes(service)
    )
    policies = Section(
        title="Association policies",
        tables=(
            Table(
                columns=("policy", "value"),
                rows=(
                    ("application context", pdu.APPLICATION_CONTEXT),
                    ("longest PDU", f"{pdu.MAX_PDU} bytes"),
                    ("associations at once", str(dicom.max_associations)),
                    ("asynchronous operations window", "not supported: one request at a time"),
                    ("role selection, user identity, extended negotiation", "not supported"),
                    ("implementation class UID", uid.IMPLEMENTATION_CLASS_UID),
                    ("implementation version name", uid.IMPLEMENTATION_VERSION_NAME),
                    ("silence within an association", f"{association.NETWORK_TIMEOUT:g} s, then an abort"),
                    ("from connecting to A-ASSOCIATE-RQ", f"{association.NEGOTIATION_TIMEOUT:g} s"),
                ),
            ),
            Table(columns=("rejected", "result", "source", "reason"), rows=rejections),
        ),
    )
    accepted = Section(
        title="Presentation contexts accepted",
        text=(
            "Of several transfer syntaxes in one context the first of this list is taken; of storage, the first that is"
            " proposed.",
        ),
        tables=(
            Table(
                columns=("abstract syntax", "UID", "transfer syntaxes", "role", "extended negotiation"),
                rows=contexts,
            ),
        ),
    )
    services = tuple(_service(facts, setting, service) for setting, service in served)
    return Section(title=f"{dicom.ae_title}: the acceptor", sections=(policies, accepted, *services))


def _syntaxes(service: DicomService) -> str:
    if "C-STORE" in service.operations:
        return "as proposed, any"
    return ", ".join(f"{_name(one)} ({one})" for one in association.MESSAGE_SYNTAXES)


def _service(facts: Facts, setting: InboundSetting | None, service: DicomService) -> Section:
    tables = list(_statuses(service))
    if service.required:
        rows = tuple((keyword, _tag(keyword), attributes.vr_of(keyword)) for keyword in service.required)
        tables.append(Table(columns=("needed in N-CREATE", "tag", "VR"), rows=rows))
    if "C-FIND" in service.operations:
        tables.append(_keys(service.returns or facts.row_keywords(), service.looked_up))
    where = f" (listener `{setting.name}`)" if setting is not None else ""
    return Section(title=f"{service.name} SCP{where}", points=service.remarks, tables=tuple(tables))


def _statuses(service: DicomService) -> Iterator[Table]:
    """The service's own and the association server's; operations that answer alike have one table."""
    alike: dict[tuple[tuple[int, str], ...], list[str]] = {}
    for operation in service.operations:
        both = {**association.ANSWERED[operation], **service.statuses}
        alike.setdefault(tuple(sorted(both.items())), []).append(operation)
    for rows, operations in alike.items():
        yield Table(
            columns=(f"{', '.join(operations)} status", "when"),
            rows=tuple((status.describe(code), when) for code, when in rows),
        )


def _keys(paths: tuple[str, ...], looked_up: tuple[str, ...]) -> Table:
    """Of every key that an answer may hold: where it stands, and how it is matched."""
    rows = []
    for path in paths:
        keyword = path.rpartition(".")[2]
        kinds = ", ".join(matching.kinds(keyword)) or "none"
        if path in looked_up:
            kinds = "universal, looked up whole"
        rows.append(("> " * path.count(".") + keyword, _tag(keyword), attributes.vr_of(keyword), kinds))
    return Table(columns=("key, and attribute returned", "tag", "VR", "matching"), rows=tuple(rows))


def _tag(keyword: str) -> str:
    tag = attributes.tag_of(keyword)
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _requestors(used: Used) -> Iterator[Section]:
    for setting, service in used:
        contexts = tuple(
            (
                name,
                number,
                "as the object came" if "C-STORE" in service.operations else _syntaxes(service),
                "SCU",
            )
            for name, number in _shown_classes(service)
        )
        rows = tuple((status.describe(code), what) for code, what in sorted(service.statuses.items()))
        yield Section(
            title=f"{getattr(setting.config, 'calling_aet', setting.name)} to {setting.name}: {service.name} SCU",
            text=(
                f"Called AE title {_called(setting)}. An association is opened when something is to be delivered, kept"
                f" and used again; at most {setting.entry.connections} at once. Longest PDU {pdu.MAX_PDU} bytes; one"
                " transfer syntax in each context. A peer that is away is tried again, less and less often.",
            ),
            points=service.remarks,
            tables=(
                Table(
                    columns=("abstract syntax", "UID", "transfer syntaxes", "role"),
                    rows=contexts,
                ),
                Table(columns=("status that comes back", "what becomes of it"), rows=rows),
            ),
        )


def _network(facts: Facts) -> Section:
    broker = facts.configured.settings.broker
    return Section(
        title="Network interfaces",
        text=(
            f"TCP/IP (IPv4, IPv6), PS3.8. The acceptor listens on port {broker.dicom.port}. No media storage, no"
            " DICOMweb.",
        ),
    )


def _configuration(facts: Facts) -> Section:
    settings = facts.configured.settings
    who = "any calling AE title" if settings.open_ae else "only these calling AE titles"
    devices = tuple(
        (pattern, ", ".join(device.charsets) or "as it asks", str(device.name_length))
        for pattern, device in settings.broker.devices.items()
    )
    entries = [
        Section(title=f"`{s.name}`", tables=(options(s),))
        for s in facts.on
        if s.spec.statement(s.config).services
    ]
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
        (s.name, ", ".join(s.config.charsets))
        for s in facts.on
        if s.spec.statement(s.config).services and hasattr(s.config, "charsets")
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
            f"Unknown calling AE titles are {who}. Associations are not encrypted (no TLS profile of PS3.15), and users"
            " are not identified. Who asked for demographics by Patient Root is audited.",
            "No address, telephone, next of kin or employer stands in a worklist row or in an object that is sent on.",
        ),
    )


def _storage_classes() -> Section:
    rows = tuple((_name(one), one) for one in STORAGE_SOP_CLASSES)
    return Section(title="Storage SOP classes", tables=(Table(columns=("SOP class", "UID"), rows=rows),))
