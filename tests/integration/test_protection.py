"""A running broker whose patient becomes protected: what waits is withdrawn, nothing more leaves, nobody is told why.

Tokens stand in every address-like field of what is sent and are looked for in everything that a broker leaves behind
outside its journal: logs, metrics, pages, answers, commands, a backup's manifest, worklist rows, images.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dcmtk import Dcmtk
from tests.support.flows import rows_of, wait_for_rows, wait_until_routed
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm, oru
from tests.support.mllp import MllpSink, field
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

TOKEN = "QXZADR"
PERSON = Person(
    number="7990044",
    family="Prøve",
    contact=f"{TOKEN} 1^^{TOKEN}^^7013^NO^H|{TOKEN}|{TOKEN}^PRN^PH^{TOKEN}|{TOKEN}^WPN",
)
AROUND = (
    f"NK1|1|{TOKEN}^Kari|MTH|{TOKEN} 2|{TOKEN}|{TOKEN}|||||||{TOKEN}",
    f"ROL|1|AD|PP|4711^Lege||||||||{TOKEN} 3|{TOKEN}",
    f"GT1|1||{TOKEN}||{TOKEN} 4|{TOKEN}",
    f"IN1|1|P|1|{TOKEN}|{TOKEN} 5",
    f"ACC|20260309||{TOKEN}",
    f"NTE|1||bor hos {TOKEN}",
    f"ZAD|1|{TOKEN}",
)


def graded(value: str) -> str:
    return f"PD1||{TOKEN}|{TOKEN}|{TOKEN}||||||||{value}"


def admitted(control_id: str, value: str) -> bytes:
    return adt("A08", control_id, PERSON, graded(value), *AROUND, f"PV1|1|I|KIR^12^3{'|' * 34}{TOKEN}")


@pytest.fixture
def guarded(start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path) -> Broker:
    """A broker whose EPJ is not cleared for protected addresses, and away."""
    settings = changed(tmp_path / "site", {}, {"protected: allow": "protected: withhold"})
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port, settings=settings)
    epj_sink.stop()
    return broker


def test_an_address_is_graded_while_messages_wait(
    guarded: Broker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    broker = guarded
    with broker.pas() as pas, broker.orders() as orders, broker.results() as results:
        answers = [
            pas.ask(admitted("X1", "N")),
            orders.ask(orm("X2", PERSON, "971").replace(b"\rORC|", f"\rNTE|1||{TOKEN}\rORC|".encode())),
            pas.ask(admitted("X3", "Y")),
            results.ask(oru("X4", PERSON, "971")),
            pas.ask(admitted("X5", "Y").replace(b"|Pr\xc3\xb8ve^", b"|^^^^^^^^|").replace(b"7990044", b"")),
            pas.ask(adt("A08", "X6", Person(number="7990045"))),
        ]
    wait_until_routed(broker)
    epj_sink.start()
    wait_until(
        lambda: b"X6" in {field(m, b"MSH", 10) for m in epj_sink.messages}, "the other patient's arrives"
    )
    wait_until(lambda: _figures(broker)["queued"] == 0, "nothing waits any more")

    assert TOKEN not in b"".join(epj_sink.messages).decode()
    assert _figures(broker)["withheld"] == 3, "one was withdrawn; two were never made"
    file = tmp_path / "known.dcm"  # an unknown patient's is passed on unchanged
    write_image(file, PatientID="7990044", PatientAddress=TOKEN, ReferringPhysicianAddress=TOKEN)
    assert Dcmtk().store(broker.dicom_port, file).succeeded
    orthanc.wait_for_instances(1)
    wait_for_rows(broker, lambda rows: len(rows) == 1, "the row is visible")

    seen = {
        "images": b"".join(orthanc.file(instance) for instance in orthanc.instances()).decode("latin-1"),
        "rows": "\n".join(str(row) for row in rows_of(broker)),
        "answers": b"".join(answers).decode("latin-1"),
        **{path: broker.http(path)[1].decode() for path in ("/metrics", "/api/status", "/readyz")},
        **{
            " ".join(words): said(broker, *words)
            for words in (
                ("status",),
                *(("trace", f"X{number}") for number in range(1, 6)),
                ("why", "delivery", "1"),
                ("reconcile", "--registers"),
                ("tap", "--last", "50", "--raw", "--for", "1s"),
                ("backup", str(tmp_path / "backup")),
            )
        },
    }
    manifests = [p.read_text(encoding="utf-8") for p in (tmp_path / "backup").rglob("*.json")]
    seen["manifest"] = "\n".join(manifests) or "there is none"
    broker.stop()
    seen["log"] = broker.log.read_text(encoding="utf-8")

    assert [place for place, text in seen.items() if not text] == [], "there is something to look at"
    assert {place: TOKEN in text for place, text in seen.items()} == dict.fromkeys(seen, False)
    assert "withheld by policy" in seen["trace X1"]
    told = {place for place, text in seen.items() if "protect" in text.casefold() and place != "images"}
    assert told == set(), "that an address is protected is itself confidential"


def _figures(broker: Broker) -> dict[str, int]:
    (row,) = [
        d for d in json.loads(broker.http("/api/status")[1])["destinations"] if d["destination"] == "epj"
    ]
    return dict(row)


def said(broker: Broker, *words: str) -> str:
    finished = broker.command(*words)
    return finished.stdout + finished.stderr
