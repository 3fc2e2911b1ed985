"""The statements of the shipped configuration say what it does, and no more; a changed one says something else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import adapters.modality.inbound
import adapters.modality.mapping
import adapters.modality.mpps
import adapters.pacs.availability
import adapters.pacs.inbound
import adapters.pacs.notified
import adapters.pdq.find
import broker.net.association
import broker.net.serving
from adapters.pacs.stow import STOW_OUTBOUND, WebDestination
from adapters.pas.triggers import REFUSED
from broker.cli.docs import MADE
from broker.conformance import dicom, hl7, ihe
from broker.conformance.document import Document, Section, Table, markdown
from broker.conformance.facts import Facts
from broker.dicom import keys, status
from broker.net.association import ANSWERED
from broker.net.service import STORAGE_SOP_CLASSES
from broker.net.tls import ListenerTls, PeerTls
from broker.settings import Settings
from tests.support.certificates import Authority
from tests.support.shared import REPOSITORY

STATEMENTS = {"dicom": dicom.statement, "hl7": hl7.statement, "ihe": ihe.statement}


def sections(document: Document) -> Iterator[Section]:
    waiting = list(document.sections)
    while waiting:
        one = waiting.pop(0)
        yield one
        waiting += one.sections


def titled(document: Document, beginning: str) -> Section:
    (found,) = (one for one in sections(document) if one.title.startswith(beginning))
    return found


def table(section: Section, column: str) -> Table:
    (found,) = (one for one in section.tables if column in one.columns)
    return found


def with_entry(facts: Facts, name: str, *, enabled: bool | None = None, **options: Any) -> Facts:
    """The same with one listener or destination changed."""

    def changed(setting: Any) -> Any:
        if setting.name != name:
            return setting
        entry = setting.entry if enabled is None else setting.entry.model_copy(update={"enabled": enabled})
        return replace(setting, entry=entry, config=setting.config.model_copy(update=options))

    settings: Settings = facts.configured.settings
    settings = replace(
        settings,
        inbound=tuple(map(changed, settings.inbound)),
        outbound=tuple(map(changed, settings.outbound)),
    )
    return replace(facts, configured=replace(facts.configured, settings=settings))


@pytest.mark.parametrize("which", STATEMENTS)
def test_the_page_in_the_docs_is_what_the_code_says(shipped: Facts, which: str) -> None:
    page = (REPOSITORY / "docs" / f"conformance-{which}.md").read_text(encoding="utf-8")

    assert page == f"{MADE}\n{markdown(STATEMENTS[which](shipped))}", "run: python -m broker docs"


@pytest.mark.parametrize("which", STATEMENTS)
def test_no_address_and_no_patient_stands_in_it(shipped: Facts, which: str) -> None:
    page = markdown(STATEMENTS[which](shipped))

    for told in ("127.0.0.1", "30908299902", "Sørby", "A2026000201"):
        assert told not in page


# --- DICOM ---


def test_tls_is_stated_where_it_is_spoken_and_its_files_are_not(shipped: Facts, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue()
    files = {"certificate_file": str(issued.certificate), "key_file": str(issued.key)}
    settings = shipped.configured.settings
    listener = ListenerTls.model_validate({**files, "only": True})
    secure = settings.broker.dicom.model_copy(update={"tls": listener})
    settings = replace(settings, broker=settings.broker.model_copy(update={"dicom": secure}))
    accepting = replace(shipped, configured=replace(shipped.configured, settings=settings))
    page = markdown(dicom.statement(with_entry(accepting, "pacs", tls=PeerTls.model_validate(files))))
    folded = " ".join(page.split())

    assert "Associations are not encrypted" in markdown(dicom.statement(shipped))
    assert "Associations are not encrypted" not in folded
    assert "TLS 1.2 and TLS 1.3, no older ones" in folded
    assert "port 2762, where clients need not have a certificate, and in the clear from the machine" in folded
    assert "Called in TLS, with the server's name checked: pacs." in folded
    assert str(tmp_path) not in page


def test_every_class_that_is_served_is_in_the_overview(shipped: Facts) -> None:
    overview = table(titled(dicom.statement(shipped), "Network services"), "SOP class")
    served = {row[1]: row[2:] for row in overview.rows}

    assert served["1.2.840.10008.1.1"] == ("yes", "yes")
    assert served["1.2.840.10008.5.1.4.31"] == ("no", "yes")
    assert served["1.2.840.10008.3.1.2.3.3"] == ("no", "yes")
    assert f"Storage: {len(STORAGE_SOP_CLASSES)} classes" in {row[0] for row in overview.rows}


def test_a_destination_that_is_switched_on_makes_it_an_scu(shipped: Facts) -> None:
    made = dicom.statement(with_entry(shipped, "mpps", enabled=True))
    overview = {row[1]: row[2] for row in table(titled(made, "Network services"), "SOP class").rows}

    assert overview["1.2.840.10008.3.1.2.3.3"] == "yes"
    assert titled(made, "BROKER to mpps")


def test_a_destination_that_speaks_dicomweb_is_a_user_agent_and_tells_no_secret(shipped: Facts) -> None:
    (pacs,) = (s for s in shipped.outbound if s.name == "pacs")
    config = WebDestination(url="https://pacs.example/web", token="t0ken")
    web = replace(pacs, name="web", spec=STOW_OUTBOUND, config=config)
    settings: Settings = shipped.configured.settings
    settings = replace(settings, outbound=(*settings.outbound, web))
    facts = replace(shipped, configured=replace(shipped.configured, settings=settings))
    made, page = dicom.statement(facts), markdown(dicom.statement(facts))

    said = table(titled(made, "web: Store (STOW-RS) user agent"), "HTTP status that comes back").rows
    assert {code for row in said for code in re.findall(r"\d{3}", row[0])} >= {
        "200",
        "202",
        "401",
        "409",
        "503",
    }
    assert ("token", "set") in table(titled(made, "`web`"), "option").rows
    assert "ISO_IR 100" in dict(table(titled(made, "Character sets"), "listener or destination").rows)["web"]
    assert ["RAD-108" in markdown(ihe.statement(one)) for one in (shipped, facts)] == [False, True]
    assert "t0ken" not in page
    assert "pacs.example" not in page


def test_a_listener_that_is_switched_off_serves_nothing(shipped: Facts) -> None:
    page = markdown(dicom.statement(with_entry(shipped, "worklists", enabled=False)))

    assert "1.2.840.10008.5.1.4.31" not in page
    assert "Switched off, and so not in it: worklists" in page


def test_worklist_keys_are_those_that_rows_have(shipped: Facts) -> None:
    keys = table(titled(dicom.statement(shipped), "Modality Worklist SCP"), "matching")
    found = {row[0].strip("> "): row for row in keys.rows}

    assert found["PatientName"][1:] == ("(0010,0010)", "PN", "universal, single value, list, wildcard")
    assert found["ScheduledProcedureStepStartDate"][3] == "universal, single value, list, range"
    assert "PatientAddress" not in found
    assert [row[1] for row in keys.rows if row[0][0] != ">"] == sorted(
        row[1] for row in keys.rows if row[0][0] != ">"
    )


def test_options_show_in_the_statement(shipped: Facts) -> None:
    made = dicom.statement(with_entry(shipped, "patients", max_hits=7, askers=("DX1_STO",)))
    section = titled(made, "Patient Root Query SCP")

    assert "May ask: DX1_STO." in section.points[0]
    assert any("more than 7 patients" in row[1] for row in table(section, "C-FIND status").rows)


def test_a_listener_of_several_operations_tells_each_status_once(shipped: Facts) -> None:
    section = titled(dicom.statement(shipped), "Modality Performed Procedure Step SCP")
    rows = table(section, "N-CREATE, N-SET status").rows

    assert len({row[0] for row in rows}) == len(rows)
    assert {"0000 success", "0111 duplicate SOP instance"} <= {row[0] for row in rows}


def test_what_is_asked_on_demand_is_not_tried_again(shipped: Facts) -> None:
    section = titled(dicom.statement(shipped), "BROKER to pacs: Study Root Query/Retrieve SCU")

    assert "when somebody asks" in section.text[0]
    assert "tried again" not in section.text[0]
    assert {row[0][:4] for row in table(section, "status that comes back").rows} >= {
        "A702",
        "A801",
        "B000",
        "FE00",
    }


SERVED = {
    "modality": ([adapters.modality.inbound], "worklists"),
    "mpps": ([adapters.modality.mapping, adapters.modality.mpps], "performed"),
    "patient-root": ([adapters.pdq.find], "patients"),
    "pacs": ([adapters.pacs.inbound], "images"),
    "availability": ([adapters.pacs.availability, adapters.pacs.notified], "availability"),
}


@pytest.mark.parametrize("adapter", SERVED)
def test_every_status_that_an_adapter_names_is_declared(shipped: Facts, adapter: str) -> None:
    modules, listener = SERVED[adapter]
    (setting,) = (s for s in shipped.inbound if s.name == listener)
    (service,) = setting.spec.statement(setting.config).services
    files = [Path(str(module.__file__)) for module in modules]

    of_files = {status.DATA_SET_MISMATCH} if adapter == "mpps" else set()  # its reader's, for `broker test`

    assert _named_in(*files) - of_files <= service.statuses.keys() | ANSWERED[service.operations[0]].keys()


def test_every_status_that_the_server_names_is_declared() -> None:
    files = [Path(str(m.__file__)) for m in (broker.net.association, broker.net.serving)]

    assert _named_in(*files) <= {code for statuses in ANSWERED.values() for code in statuses}


def _named_in(*files: Path) -> set[int]:
    """Statuses that a module names as `status.X`."""
    found = {
        getattr(status, node.attr)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "status"
        and node.attr.isupper()
    }
    assert found
    return found - {status.MAY_NO_LONGER_BE_UPDATED}  # an Error ID


@pytest.mark.parametrize(
    ("keyword", "kinds"),
    [
        ("PatientID", ("universal", "single value", "list", "wildcard")),
        ("StudyInstanceUID", ("universal", "single value", "list")),
        ("ScheduledProcedureStepStartTime", ("universal", "single value", "list", "range")),
        ("ScheduledProcedureStepSequence", ("universal", "sequence")),
        ("QueryRetrieveLevel", ()),
    ],
)
def test_how_a_key_is_matched(keyword: str, kinds: tuple[str, ...]) -> None:
    assert keys.kinds(keyword) == kinds


# --- HL7 ---


def test_messages_taken_and_refused_are_those_of_the_code(shipped: Facts) -> None:
    pas = titled(hl7.statement(shipped), "Listener `pas`")
    taken, refused, read, _options = pas.sections

    assert {f"ADT^{trigger}" for trigger in REFUSED} == {row[0] for row in refused.tables[0].rows}
    assert not {row[0] for row in taken.tables[0].rows} & {row[0] for row in refused.tables[0].rows}
    assert all(row[2] for row in taken.tables[0].rows), "each has a meaning"
    merges = next(row for row in read.tables[0].rows if "A40" in row[0])
    assert "MRG-1;" in merges[1]
    assert "PID-13" not in str(read), "a telephone number is not read"


def test_what_is_built_is_told_by_its_fields(shipped: Facts) -> None:
    epj = titled(hl7.statement(shipped), "Destination `epj`")
    built = dict(table(epj, "message built").rows)

    assert set(built) == {"ORM^O01", "ORU^R01"}
    assert "ORC-1, 2, 3, 5, 7" in built["ORM^O01"]
    assert "OBX-1, 2, 3, 5, 11" in built["ORU^R01"]
    for fields in built.values():
        assert "PID-1, 3, 5, 7, 8;" in fields


def test_queries_are_told_with_their_answers_and_limits(shipped: Facts) -> None:
    made = hl7.statement(with_entry(shipped, "demographics", min_letters=5))
    (answers, _options) = titled(made, "Listener `demographics`").sections

    assert ("QBP^Q22", "RSP^K22^RSP_K21") in answers.tables[0].rows
    assert "@PID.5.1," in answers.points[0]
    assert "@PID.11" not in answers.points[0]
    assert "5 letters" in answers.points[1]


def test_acknowledgements_are_those_of_the_code(shipped: Facts) -> None:
    rows = table(titled(hl7.statement(shipped), "Acknowledgement codes"), "MSH-15").rows

    assert ("empty", "empty", "AA", "AE", "AR") in rows
    assert ("AL", "NE", "CA", "CE", "CR") in rows


# --- IHE ---


def claimed(document: Document) -> set[str]:
    return {row[0] for row in table(titled(document, "Transactions"), "limits").rows}


def test_what_is_built_is_claimed_with_its_limits(shipped: Facts) -> None:
    made = ihe.statement(shipped)

    assert {"ITI-30", "ITI-31", "ITI-21", "ITI-9", "RAD-5", "RAD-6", "RAD-7", "RAD-130"} <= claimed(made)
    assert not {"RAD-8", "RAD-10", "PCD-04"} & claimed(made)
    assert all(row[-1] for section in sections(made) for one in section.tables for row in one.rows)


def test_what_is_switched_off_is_not_claimed(shipped: Facts) -> None:
    assert "ITI-21" not in claimed(ihe.statement(with_entry(shipped, "demographics", enabled=False)))
    assert "RAD-130" not in claimed(ihe.statement(with_entry(shipped, "pas", clinics="")))
