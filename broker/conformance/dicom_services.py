"""The AE specifications of the DICOM Conformance Statement: the acceptor with its services, each requestor. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.uid import UID

from broker.conformance.document import Section, Table
from broker.conformance.facts import Facts, Setting
from broker.dicom import attributes, keys, pdu, status, uid
from broker.net import association
from broker.net.accepted import REFUSALS
from broker.net.service import PRIVATE_STORAGE, STORAGE_SOP_CLASSES
from broker.statement import DicomService

Used = tuple[Setting, DicomService]
"""A service, and the listener or destination that has it."""
Served = tuple[Setting | None, DicomService]
"""None: the association server itself has it."""


def name_of(sop_class: str) -> str:
    """As PS3.6 has it; of one that it does not know, the UID."""
    return str(UID(sop_class).name)


def shown_classes(service: DicomService) -> Iterator[tuple[str, str]]:
    """Name and UID of each class; those of storage are counted, and listed at the end."""
    storage = [one for one in service.sop_classes if one in STORAGE_SOP_CLASSES]
    if storage:
        yield f"Storage: {len(storage)} classes", "see the last section"
    for one in service.sop_classes:
        if one == PRIVATE_STORAGE:
            yield "Storage: every private class", "outside 1.2.840.10008"
        elif one not in STORAGE_SOP_CLASSES:
            yield name_of(one), one


def called(setting: Setting) -> str:
    """The AE title that is called."""
    return f"`{getattr(setting.config, 'called_aet', 'its peer')}`"


def acceptor(facts: Facts, served: Sequence[Served]) -> Section:
    """The one AE that takes associations."""
    dicom = facts.configured.settings.broker.dicom
    rejections = tuple((why, *map(str, code)) for why, code in REFUSALS.items())
    contexts = tuple(
        (name, number, _syntaxes(service), "SCP", "as above" if "C-FIND" in service.operations else "none")
        for _, service in served
        for name, number in shown_classes(service)
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
                    ("role selection", _roles(served)),
                    ("user identity", _IDENTITY[dicom.user_identity]),
                    (
                        "extended negotiation",
                        "of queries: combined matching of dates and times, nothing else",
                    ),
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


_IDENTITY = {"ignore": "passed over", "acknowledge": "acknowledged where asked for; nobody checks it"}


def _roles(served: Sequence[Served]) -> str:
    """Of which classes the requestor may be the SCP: those whose events are taken here."""
    events = [service for _, service in served if "N-EVENT-REPORT" in service.operations]
    classes = ", ".join(name_of(one) for service in events for one in service.sop_classes)
    return f"the requestor may be the SCP of {classes}" if classes else "the requestor is always the SCU"


def _syntaxes(service: DicomService) -> str:
    if "C-STORE" in service.operations:
        return "as proposed, any"
    return ", ".join(f"{name_of(one)} ({one})" for one in association.MESSAGE_SYNTAXES)


def _service(facts: Facts, setting: Setting | None, service: DicomService) -> Section:
    tables = list(_statuses(service))
    if service.required:
        rows = tuple(
            (keyword, attributes.place_of(keyword), attributes.vr_of(keyword)) for keyword in service.required
        )
        tables.append(Table(columns=(f"needed in {service.operations[0]}", "tag", "VR"), rows=rows))
    if "C-FIND" in service.operations:
        tables.append(_keys(service.returns or facts.row_keywords(), service.looked_up))
    where = f" (listener `{setting.name}`)" if setting is not None else ""
    return Section(title=f"{service.name} SCP{where}", points=service.remarks, tables=tuple(tables))


def _statuses(service: DicomService) -> Iterator[Table]:
    """The service's own and the association server's; operations that answer alike have one table."""
    alike: dict[tuple[tuple[int, str], ...], list[str]] = {}
    for operation in service.operations:
        both = {**association.ANSWERED.get(operation, {}), **service.statuses}
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
        kinds = ", ".join(keys.kinds(keyword)) or "none"
        if path in looked_up:
            kinds = "universal, looked up whole"
        rows.append(
            ("> " * path.count(".") + keyword, attributes.place_of(keyword), attributes.vr_of(keyword), kinds)
        )
    return Table(columns=("key, and attribute returned", "tag", "VR", "matching"), rows=tuple(rows))


_TRIED_AGAIN: Final = " A peer that is away is tried again, less and less often."


def requestors(used: Sequence[Used]) -> Iterator[Section]:
    """Each destination that opens associations."""
    for setting, service in used:
        contexts = tuple(
            (
                name,
                number,
                "as the object came" if "C-STORE" in service.operations else _syntaxes(service),
                "SCU" if service.role == "SCU" else "SCP, by role selection",
            )
            for name, number in shown_classes(service)
        )
        rows = tuple((status.describe(code), what) for code, what in sorted(service.statuses.items()))
        calling = getattr(setting.config, "calling_aet", setting.name)
        ways = getattr(setting.entry, "connections", 1)
        then = "kept and used again" if service.kept else "and released after the answer"
        opened, again = f"when something is to be delivered, {then}", _TRIED_AGAIN
        if service.on_demand:
            opened, again = "when somebody asks, and released after that", ""
        yield Section(
            title=f"{calling} to {setting.name}: {service.name} {service.role}",
            text=(
                f"Called AE title {called(setting)}. An association is opened {opened}; at most {ways} at once."
                f" Longest PDU {pdu.MAX_PDU} bytes; one transfer syntax a context.{again}",
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
