"""Patient queries with clients that are not ours: the `hl7` package over MLLP and DCMTK's findscu."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hl7
import hl7.mllp
import pytest
from pydicom import Dataset

from tests.support.broker import Broker
from tests.support.flows import accepted, wait_until_routed
from tests.support.messages import NATIONAL, SITE, Person, adt, merge
from tests.support.mllp import MllpClient, field

pytestmark = pytest.mark.integration

ADDRESS = "Øvre Bakklandet 1^^Trondheim^^7013^NO||^PRN^PH^^47^99999999"
PEOPLE = [
    Person(number=f"7{n:05d}", family="Hansen", given=f"Kari{n}", birth_date=f"1980010{n}", contact=ADDRESS)
    for n in range(1, 8)
]
AASEN = Person(number="800001", national="30908299902", family="Åsen", given="Ánde", sex="M", contact=ADDRESS)
CUDI = Person(number="800002", family="Čuđi Ŋuorra", given="Áile", birth_date="19900101")


def qbp(
    control_id: str,
    *parameters: str,
    trigger: str = "Q22",
    domains: str = "",
    limit: str = "",
    pointer: str = "",
    charset: str = "UNICODE UTF-8",
    tag: str = "T1",
) -> str:
    """A query as a consumer writes it; Q23 has one identifier in place of the parameters."""
    structure, name = ("QBP_Q21", "IHE PDQ Query") if trigger == "Q22" else ("QBP_Q21", "IHE PIX Query")
    fields = "|||||" if trigger == "Q22" else "|"
    lines = [
        f"MSH|^~\\&|EPJ|STO|BROKER|STO|20260310120000||QBP^{trigger}^{structure}|{control_id}|P|2.5||||||{charset}",
        f"QPD|{name}|{tag}|{'~'.join(parameters)}{fields}{domains}",
        f"RCP|I|{limit}",
    ]
    return "\r".join([*lines, *([f"DSC|{pointer}|I"] if pointer else [])]) + "\r"


def ask(broker: Broker, *queries: str, encoding: str = "utf-8") -> list[hl7.Message]:
    """The answers to queries on one connection, parsed by the package."""

    async def talk() -> list[hl7.Message]:
        reader, writer = await hl7.mllp.open_hl7_connection("127.0.0.1", broker.pdq_port, encoding=encoding)
        answers = []
        try:
            for query in queries:
                writer.writemessage(hl7.parse(query))
                await writer.drain()
                answers.append(await asyncio.wait_for(reader.readmessage(), 20))
        finally:
            writer.close()
            await writer.wait_closed()
        return answers

    return asyncio.run(talk())


def numbers(answer: hl7.Message) -> list[str]:
    """The first identifier of each patient."""
    return [str(pid[3][0][0]) for pid in answer if str(pid[0]) == "PID"]


def said(answer: hl7.Message) -> tuple[str, str]:
    """MSA-1 and QAK-2."""
    return str(answer.segment("MSA")[1]), str(answer.segment("QAK")[2])


def counted(broker: Broker) -> dict[str, float]:
    """The metrics by name and labels."""
    lines = broker.http("/metrics")[1].decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


LOSSY = 'broker_patient_answers_lossy_total{source="demographics"}'


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker whose PAS has spoken of everybody; 800009 was merged into 800001. It is only asked."""
    broker = Broker(tmp_path_factory.mktemp("queries"))
    broker.start()
    with broker.pas() as pas:
        accepted(pas, *(adt("A04", f"P{n}", person) for n, person in enumerate([*PEOPLE, AASEN, CUDI])))
        accepted(pas, adt("A04", "P20", Person(number="800009", family="Aasen")))
        accepted(pas, merge("A40", "P21", AASEN, "800009"))
    wait_until_routed(broker)
    yield broker
    broker.stop()


def test_a_consumer_finds_a_patient_by_name_birth_date_and_identifier(register: Broker) -> None:
    by_name, by_national, by_alias, nobody = ask(
        register,
        qbp("1", "@PID.5.1^AASEN", "@PID.8^M"),
        qbp("2", "@PID.3.1^30908299902", "@PID.3.4.2^2.16.578.1.12.4.1.4.1"),
        qbp("3", "@PID.3.1^800009"),
        qbp("4", "@PID.5.1^Hansen", "@PID.7^19991231"),
    )

    for answer in (by_name, by_national, by_alias):
        assert said(answer) == ("AA", "OK")
        pid = answer.segment("PID")
        assert [(str(cx[0]), str(cx[3][0])) for cx in pid[3]] == [("30908299902", "NNNOR"), ("800001", "STO")]
        assert "800009" not in str(answer).partition("PID|")[2], "an id that a merge ended is current nowhere"
        assert (str(pid[5][0][0]), str(pid[5][0][1]), str(pid[8])) == ("Åsen", "Ánde", "M")
        assert "Bakklandet" not in str(answer)
        assert "99999999" not in str(answer)
    assert str(by_name.segment("MSH")[9]) == "RSP^K22^RSP_K21"
    assert said(nobody) == ("AA", "NF")
    assert str(nobody.segment("QPD")[2]) == "T1", "the query is echoed"


def test_a_long_answer_comes_in_pages_and_can_be_cancelled(register: Broker) -> None:
    first, *_ = ask(register, qbp("1", "@PID.5.1^Hans*", limit="3^RD"))
    second, *_ = ask(register, qbp("2", "@PID.5.1^Hans*", limit="3^RD", pointer=str(first.segment("DSC")[1])))
    third, cancelled = ask(
        register,
        qbp("3", "@PID.5.1^Hans*", limit="3^RD", pointer=str(second.segment("DSC")[1])),
        "MSH|^~\\&|EPJ|STO|BROKER|STO|20260310120000||QCN^J01^QCN_J01|4|P|2.5\rQID|T1|IHE PDQ Query\r",
    )

    counts = [[str(page.segment("QAK")[n]) for n in (4, 5, 6)] for page in (first, second, third)]
    assert counts == [["7", "3", "4"], ["7", "3", "1"], ["7", "1", "0"]]
    assert [n for page in (first, second, third) for n in numbers(page)] == [p.number for p in PEOPLE]
    assert not [segment for segment in third if str(segment[0]) == "DSC"]
    assert (str(cancelled.segment("MSA")[1]), str(cancelled.segment("MSA")[2])) == ("AA", "4")
    assert str(cancelled.segment("MSH")[9][0][0]) == "ACK"


@pytest.mark.parametrize(
    ("query", "place", "code"),
    [
        (qbp("1", "@PID.5.1^Hansen", domains="^^^NOWHERE&1.2.3&ISO~^^^STO~^^^ELSEWHERE"), "QPD^1^8^1", "204"),
        (qbp("1", "@PID.5.1^Ha*"), "QPD^1^3^1^2", "102"),
        (qbp("1", "@PID.5.1^Hansen", "@PID.11.3^Trondheim"), "QPD^1^3^2^1", "103"),
        (qbp("1", "@PID.5.1^Hansen", "@PID.13^99999999"), "QPD^1^3^2^1", "103"),
        (qbp("1", "@PV1.3^OYE", "@PID.5.1^Hansen"), "QPD^1^3^1^1", "103"),
        (qbp("1", "@PID.8^F"), "QPD^1^3", "101"),
        (qbp("1", "@PID.5.1^Hansen", tag=""), "QPD^1^2", "101"),
        (qbp("1", "@PID.5.1^Hansen", limit="3^LI"), "RCP^1^2^1^2", "103"),
        (qbp("1", "@PID.5.1^Hansen", pointer="P0"), "DSC^1^1", "204"),
        (qbp("1", "800001^^^NOWHERE", trigger="Q23"), "QPD^1^3^1^4", "204"),
        (qbp("1", "999999^^^STO", trigger="Q23"), "QPD^1^3^1^1", "204"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_says_where_and_names_nobody(
    register: Broker, query: str, place: str, code: str
) -> None:
    (answer,) = ask(register, query)

    assert said(answer) == ("AE", "AE")
    err = answer.segment("ERR")
    assert (str(err[2]), str(err[3][0][0])) == (place, code)
    assert numbers(answer) == []


def test_a_manager_of_identifiers_is_told_the_others_of_the_survivor(register: Broker) -> None:
    others, of_the_alias, one_domain, none = ask(
        register,
        qbp("1", f"800001^^^{SITE}", trigger="Q23"),
        qbp("2", "800009^^^STO", trigger="Q23"),
        qbp("3", f"30908299902^^^{NATIONAL}", trigger="Q23", domains="^^^STO"),
        qbp("4", "700001^^^STO", trigger="Q23"),
    )

    assert [str(a.segment("MSH")[9]) for a in (others, none)] == ["RSP^K23^RSP_K23"] * 2
    assert numbers(others) == ["30908299902"]
    assert [str(cx[0]) for cx in of_the_alias.segment("PID")[3]] == ["30908299902", "800001"]
    assert numbers(one_domain) == ["800001"]
    assert str(one_domain.segment("PID")[5]) == "~^^^^^^S"
    assert said(none) == ("AA", "NF")


def test_letters_that_the_asker_cannot_read_are_transliterated_and_counted(register: Broker) -> None:
    before = counted(register)
    (latin,) = ask(register, qbp("1", "@PID.5.1^Cudi Nuorra", charset="8859/1"), encoding="latin-1")
    (whole,) = ask(register, qbp("2", "@PID.5.1^Čuđi Ŋuorra"))

    assert str(latin.segment("PID")[5]) == "Cudi Nuorra^Áile^^^^^L"
    assert str(whole.segment("PID")[5]) == "Čuđi Ŋuorra^Áile^^^^^L"
    after = counted(register)
    lossy, asked = LOSSY, 'broker_patient_queries_total{outcome="found",source="demographics"}'
    assert (after[lossy] - before.get(lossy, 0), after[asked] - before.get(asked, 0)) == (1, 2)
    assert after["broker_patient_feed_age_seconds"] > 0


def test_a_command_that_is_not_ours_asks_and_the_audit_knows(register: Broker, tmp_path: Path) -> None:
    (tmp_path / "query.hl7").write_text(qbp("CLI1", "@PID.3.1^700003"), encoding="utf-8")
    asked = subprocess.run(
        [sys.executable, "-c", "from hl7.client import mllp_send; mllp_send()", "--loose", "-p",
         str(register.pdq_port), "-f", tmp_path / "query.hl7", "127.0.0.1"],
        capture_output=True, timeout=30, check=True,
    )  # fmt: skip

    assert b"MSA|AA|CLI1" in asked.stdout
    assert b"Kari3" in asked.stdout
    entry = json.loads(register.command("audit", "--format", "json").stdout)[-1]
    assert (entry["who"], entry["action"]) == ("EPJ|STO", "QBP^Q22")
    assert (entry["detail"]["answers"], entry["detail"]["outcome"]) == (1, "found")
    assert "700003" not in json.dumps(entry)
    assert "Kari" not in json.dumps(entry)


@pytest.mark.parametrize(
    ("query", "code", "error"),
    [
        (b"MSH|^~\\&|EPJ|STO|||20260310||QBP^ZV1^QBP_Q21|1|P|2.5\rQPD|x|T\r", b"AR", b"201"),
        (b"MSH|^~\\&|EPJ|STO|||20260310||ADT^A01|1|P|2.5\rPID|1||1\r", b"AR", b"200"),
        (b"MSH|^~\\&|EPJ|STO|||20260310||QBP^Q22^QBP_Q21|1|P|2.5\r", b"AE", b"100"),
        (b"MSH|^~\\&|EPJ|STO|||20260310||QBP^Q22^QBP_Q21||P|2.5\rQPD|x|T\r", b"AR", b"101"),
        (b"hello", b"AR", b"207"),
    ],
)
def test_what_is_no_query_is_refused(register: Broker, query: bytes, code: bytes, error: bytes) -> None:
    with MllpClient(register.pdq_port) as client:
        answer = client.ask(query)

    assert field(answer, b"MSA", 1) == code
    assert error in b"|".join((field(answer, b"ERR", 3), field(answer, b"ERR", 1)))


# DICOM


def identifier(**keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = keys.pop("level", "PATIENT")
    wanted = {
        "PatientName": "",
        "PatientID": "",
        "PatientBirthDate": "",
        "PatientSex": "",
        "IssuerOfPatientID": "",
    }
    for keyword, value in {**wanted, "OtherPatientIDsSequence": [], "PatientAddress": "", **keys}.items():
        setattr(query, keyword, value)
    return query


def found(broker: Broker, query: Dataset) -> tuple[list[Any], str]:
    outcome = broker.modality("CT1_STO").find(broker.dicom_port, query, "-P")
    return list(outcome.responses), " ".join(outcome.statuses)


@pytest.mark.parametrize(
    ("keys", "ids"),
    [
        ({"PatientID": "800001"}, ["800001"]),
        ({"PatientID": "800009"}, ["30908299902"]),
        ({"PatientID": "30908299902", "IssuerOfPatientID": "NNNOR"}, ["30908299902"]),
        ({"PatientID": "30908299902", "IssuerOfPatientID": "STO"}, []),
        ({"PatientID": "800001", "IssuerOfPatientID": "NOWHERE"}, []),
        ({"PatientName": "AASEN^*"}, ["30908299902"]),
        ({"PatientName": "hans*^kari?"}, [person.number for person in PEOPLE]),
        ({"PatientName": "HANSEN", "PatientBirthDate": "19800103-19800105"}, ["700003", "700004", "700005"]),
        ({"PatientBirthDate": "19900101", "PatientSex": "F"}, ["800002"]),
        ({"PatientBirthDate": "19900101", "PatientSex": "M"}, []),
    ],
)
def test_findscu_finds_patients(register: Broker, keys: dict[str, str], ids: list[str]) -> None:
    answers, status = found(register, identifier(**keys))

    assert status == "Success"
    assert [answer.PatientID for answer in answers] == ids
    assert all(not answer.get("PatientAddress") and "StudyInstanceUID" not in answer for answer in answers)


def test_findscu_is_told_of_one_patient_with_all_identifiers(register: Broker) -> None:
    (answer,), _ = found(register, identifier(PatientID="800001"))

    assert (str(answer.PatientName), answer.PatientSex, answer.IssuerOfPatientID) == ("Åsen^Ánde", "M", "STO")
    (other,) = answer.OtherPatientIDsSequence
    assert (other.PatientID, other.IssuerOfPatientID) == ("30908299902", "NNNOR")


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"level": "STUDY", "PatientID": "800001"}, "DataSetDoesNotMatchSOPClass"),
        ({"PatientName": "HA*"}, "UnableToProcess"),
        ({"PatientSex": "F"}, "UnableToProcess"),
        ({"PatientID": "8000*"}, "UnableToProcess"),
    ],
)
def test_findscu_is_refused(register: Broker, keys: dict[str, str], status: str) -> None:
    answers, said_ = found(register, identifier(**keys))

    assert answers == []
    assert status in said_
