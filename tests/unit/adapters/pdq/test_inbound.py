"""The demographics listener: who may ask, how much is told, and that nothing is told before the audit has it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.pdq.inbound import Demographics, DemographicsListener
from broker.hl7.er7 import Message
from tests.support.mllp import MllpClient
from tests.unit.adapters.pdq.conftest import Rig

ISSUERS = ("STO&2.999.7001&ISO", "NNNOR&2.16.578.1.12.4.1.4.1&ISO")


def query(
    parameters: str, *more: str, trigger: str = "Q22", sender: str = "EPJ|STO", charset: str = ""
) -> bytes:
    lines = [
        f"MSH|^~\\&|{sender}|BROKER|STO|20260310||QBP^{trigger}^QBP_Q21|C1|P|2.5||||||{charset}",
        f"QPD|IHE PDQ Query|T1|{parameters}",
        *more,
    ]
    return "".join(f"{line}\r" for line in lines).encode()


def asked(rig: Rig, *queries: bytes, context: dict[str, Any] | None = None, **options: Any) -> list[Message]:
    """The answers of a listener with these options."""
    config = Demographics(port=0, issuers=ISSUERS, **options)
    listener = DemographicsListener(config, rig.context(**(context or {})))

    def talk(port: int) -> list[bytes]:
        with MllpClient(port) as client:
            return [client.ask(one) for one in queries]

    async def live() -> list[bytes]:
        await listener.start()
        try:
            return await asyncio.to_thread(talk, int(listener.addresses[0].rpartition(":")[2]))
        finally:
            await listener.stop()

    return [Message.parse(answer) for answer in asyncio.run(live())]


def outcomes(rig: Rig) -> list[str]:
    return [counted[2] for counted in rig.counted if counted[0] == "broker_patient_queries_total"]


def test_who_was_told_of_whom_is_audited_without_values(rig: Rig) -> None:
    asked(
        rig,
        query("@PID.3.1^700001"),
        query("@PID.5.1^Hansen"),
        query("@PID.5.1^Nobody"),
        query("@PID.5.1^H*"),
    )

    assert rig.people.told_of("700001") == [("EPJ|STO", "QBP^Q22")] * 2
    assert rig.people.told_of("700002") == [("EPJ|STO", "QBP^Q22")]
    assert rig.people.told_of("800001") == []
    entries = rig.people.audited()
    assert [(e.detail["outcome"], e.detail["answers"]) for e in entries] == [
        ("found", 1), ("found", 5), ("none", 0), ("refused", 0),
    ]  # fmt: skip
    assert outcomes(rig) == ["found", "found", "none", "refused"]
    assert "Hansen" not in str(entries)


def test_nothing_is_told_while_the_audit_cannot_be_written(rig: Rig) -> None:
    rig.people.broken = True
    (answer,) = asked(rig, query("@PID.3.1^700001"))

    assert (answer["MSA-1"], answer["MSA-2"]) == ("AR", "C1")
    assert "PID" not in answer
    assert "Hansen" not in answer.raw.decode()


def test_more_patients_than_may_be_told_of_is_said_and_nobody_is_named(rig: Rig) -> None:
    (answer,) = asked(rig, query("@PID.5.1^Hansen", "RCP|I|2^RD"), max_hits=4)

    assert (answer["MSA-1"], answer["QAK-2"]) == ("AE", "AE")
    assert "more than 4 patients" in answer["ERR-8"]
    assert "PID" not in answer


def test_the_listener_gives_no_longer_pages_than_its_own(rig: Rig) -> None:
    (answer,) = asked(rig, query("@PID.5.1^Hansen", "RCP|I|100^RD"), page=2)

    assert [answer[f"QAK-{n}"] for n in (4, 5, 6)] == ["5", "2", "3"]
    assert (len(answer.all("PID")), bool(answer["DSC-1"]), answer["DSC-2"]) == (2, True, "I")


@pytest.mark.parametrize(
    ("bind", "askers", "sender", "code"),
    [
        ("127.0.0.1", None, "ANY|WHERE", "AA"),
        ("0.0.0.0", None, "EPJ|STO", "AR"),
        ("0.0.0.0", ("EPJ|STO",), "EPJ|STO", "AA"),
        ("127.0.0.1", ("EPJ|STO",), "RIS|STO", "AR"),
        ("127.0.0.1", (), "EPJ|STO", "AR"),
    ],
)
def test_who_may_ask(rig: Rig, bind: str, askers: tuple[str, ...] | None, sender: str, code: str) -> None:
    (answer,) = asked(rig, query("@PID.3.1^700001", sender=sender), context={"bind": bind}, askers=askers)

    assert answer["MSA-1"] == code
    assert ("PID" in answer) == (code == "AA")


def test_an_asker_is_two_names() -> None:
    with pytest.raises(ValueError, match="MSH-3"):
        Demographics(port=0, issuers=ISSUERS, askers=("EPJ",))


def test_linked_patients_stand_in_a_cross_reference(rig: Rig) -> None:
    rig.people.links = {rig.people.key("800001"): [rig.people.key("700001")]}
    both, one_domain = asked(
        rig,
        query("800001^^^STO", trigger="Q23"),
        query("30908299902^^^NNNOR|^^^STO", trigger="Q23"),
    )

    assert [cx.get() for cx in both.all("PID")[0].repetitions(3)] == ["30908299902", "700001"]
    assert [cx.get() for cx in one_domain.all("PID")[0].repetitions(3)] == ["800001", "700001"]
    assert rig.people.told_of("700001") == [("EPJ|STO", "QBP^Q23")] * 2


def test_letters_that_are_lost_are_counted(rig: Rig) -> None:
    latin, whole = asked(
        rig, query("@PID.3.1^800001", charset="8859/1"), query("@PID.3.1^800001", charset="UNICODE UTF-8")
    )

    assert (latin["PID-5.1"], latin["MSH-18"]) == ("Cudi Nuorra", "8859/1")
    assert (whole["PID-5.1"], whole["MSH-18"]) == ("Čuđi Ŋuorra", "UNICODE UTF-8")
    assert [c for c in rig.counted if "lossy" in c[0]] == [("broker_patient_answers_lossy_total", "asked")]


def test_an_answer_is_in_the_character_set_of_the_listener_where_the_asker_names_none(rig: Rig) -> None:
    (answer,) = asked(rig, query("@PID.3.1^800001"), charset="UNICODE UTF-8")

    assert (answer["PID-5.1"], answer["MSH-18"]) == ("Čuđi Ŋuorra", "UNICODE UTF-8")


def test_other_separators_are_kept(rig: Rig) -> None:
    raw = b"MSH#*@!%#EPJ#STO#B#S#2026##QBP*Q22#C1#P#2.5\rQPD#x#T1#!PID.3.1*700001\r".replace(b"!PID", b"@PID")
    raw = raw.replace(b"*@!%", b"*~!%")
    (answer,) = asked(rig, raw)

    assert b"PID#1##700001***STO%2.999.7001%ISO*PI##Hansen*" in answer.raw


@pytest.mark.parametrize(
    "raw",
    [
        b"MSH|^~\\&|A|B|||2026||QCN^J01|C1|P|2.5\r",
        b"MSH|^~\\&|A|B|||2026||QCN^J01^QCN_J01|C1|P|2.5\rQID|T9|no such query\r",
    ],
)
def test_a_cancel_is_acknowledged_whatever_it_cancels(rig: Rig, raw: bytes) -> None:
    (answer,) = asked(rig, raw)

    assert (answer.header.message_code, answer["MSA-1"], answer["MSA-2"]) == ("ACK", "AA", "C1")
    assert outcomes(rig) == ["cancelled"]


def test_an_acknowledgement_is_not_answered(rig: Rig) -> None:
    ack = b"MSH|^~\\&|A|B|||2026||ACK|C0|P|2.5\rMSA|AA|1\r"
    config = Demographics(port=0, issuers=ISSUERS)

    assert DemographicsListener(config, rig.context())._answer(ack, None) == ()  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(raw=st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: query(text))))
def test_whatever_comes_is_answered_once(rig: Rig, raw: bytes) -> None:
    from broker.net.mllp_peer import Peer

    config = Demographics(port=0, issuers=ISSUERS)
    (answer,) = DemographicsListener(config, rig.context())._answer(raw, Peer("127.0.0.1", 1))

    assert Message.parse(answer)["MSA-1"] in ("AA", "AE", "AR")
