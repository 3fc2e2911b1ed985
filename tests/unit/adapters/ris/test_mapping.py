"""Orders as RIS and EPJ send them: events, answers, worklist rows and statuses stand in tests/golden/ris."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.epj.render import render_hl7
from adapters.modality.render import render_row
from adapters.ris import INBOUND
from broker.adapter import Reception, Verdict
from broker.errors import ConfigError
from broker.event import Step
from tests.support import golden
from tests.support.shared import REPOSITORY

CASES = golden.cases("ris")
TABLE = REPOSITORY / "config" / "order-status.csv"
PAIRS = [line.split(",") for line in TABLE.read_text("utf-8").splitlines() if line and line[0] not in "#c"]
PID = "PID|1||700124^^^STO||Čoahkkin^Ole||19821030|M"


def message(*segments: str, kind: str = "ORM^O01") -> str:
    msh = f"MSH|^~\\&|RIS||||2026||{kind}|1|P|2.5.1||||||UNICODE UTF-8"
    return "\n".join((msh, PID, *segments))


def receive(*segments: str, kind: str = "ORM^O01") -> Reception:
    return golden.receive(INBOUND, message(*segments, kind=kind))


def steps(reception: Reception) -> list[Step]:
    return [event.data.step for event in reception.events if event.data.step is not None]


def types(reception: Reception) -> list[str]:
    return [event.type for event in reception.events]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_golden(case: Path) -> None:
    reception = golden.receive(INBOUND, golden.load(case))

    golden.check_reception(case, reception)
    views = [view for view in golden.views(reception) if view.step] if reception.events else []
    rows = [json.loads(render_row(view, golden.target("worklist")).payload) for view in views]
    golden.check(case, "worklist.json", golden.as_json(rows) if rows else "")
    told = [render_hl7(view, golden.target(send="ORM^O01")).payload for view in views]
    golden.check(case, "epj.hl7", golden.lines(*told))


# --- the order status table -----------------------------------------------------------------------


@pytest.mark.parametrize(("control", "status", "meaning"), PAIRS)
def test_every_pair_of_the_shipped_table(control: str, status: str, meaning: str) -> None:
    reception = receive(f"ORC|{control}|P1|F1||{status}", "OBR|1|P1|F1|X^Tæst||||||||||||||A1|R1|S1|||| CT")

    (step,) = steps(reception)
    assert step.status == (None if meaning == "keep" else meaning)
    expected = {
        "keep": "step.changed",
        "SCHEDULED": "step.scheduled" if control in ("NW", "SN", "NA") else "step.changed",
        "COMPLETED": "step.completed",
        "DISCONTINUED": "step.discontinued",
        "CANCELED": "step.cancelled",
    }
    assert types(reception)[1] == expected[meaning]


@pytest.mark.parametrize(
    ("control", "status", "place"),
    [("SC", "HD", "ORC-5"), ("PR", "", "ORC-1"), ("", "", "ORC-1"), ("NW", "CA", "ORC-5")],
)
def test_a_pair_that_is_not_listed_is_refused(control: str, status: str, place: str) -> None:
    reception = receive(f"ORC|{control}|P1|F1||{status}", "OBR|1|P1|F1")

    assert (reception.answer_code, reception.events) == ("AE", ())
    assert reception.reason.startswith(f"{place}: ")
    assert b"|103^" in reception.answers[0]


def test_null_in_orc_5_means_the_same_as_nothing() -> None:
    assert types(receive('ORC|XO|P1|F1||""', "OBR|1|P1|F1|||||||||||||||A|R|S1")) == [
        "order.changed",
        "step.changed",
    ]


def test_a_status_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "order-status.csv").write_text("control,order_status,status\nNW,,PLANNED\n")
    (tmp_path / "modalities.csv").write_text("code,modality\n")

    with pytest.raises(
        ConfigError, match=r"order-status.csv:2:1: 'PLANNED' is no status\. Write one of SCHEDULED"
    ):
        golden.receive(
            INBOUND,
            "",
            order_status=str(tmp_path / "order-status.csv"),
            modalities=str(tmp_path / "modalities.csv"),
        )


# --- the traps of others --------------------------------------------------------------------------


def test_an_order_that_names_fewer_steps_speaks_of_those_alone() -> None:
    """The register leaves what no event names, so what matters is that no event names the others."""
    ipc = [f"IPC|A1|R1|2.25.7|S{n}|MR" for n in (1, 2, 3)]
    three = receive("ORC|NW|P1|F1||SC", "OBR|1", *ipc, kind="OMI^O23")
    one = receive("ORC|XO|P1|F1||SC", "OBR|1", ipc[1], kind="OMI^O23")

    assert [step.step_id for step in steps(three)] == ["S1", "S2", "S3"]
    assert types(one) == ["order.changed", "step.changed"]
    assert [step.key for step in steps(one)] == [steps(three)[1].key]


def test_a_cancel_that_carries_one_ipc_ends_that_step_alone() -> None:
    reception = receive("ORC|CA|P1|F1", "OBR|1", "IPC|A1|R1|2.25.7|S2|MR", kind="OMI^O23")

    assert types(reception) == ["order.cancelled", "step.cancelled"]
    assert [step.step_id for step in steps(reception)] == ["S2"]
    assert all(event.data.order is not None and event.data.order.whole is None for event in reception.events)


def test_a_cancel_that_names_no_step_ends_the_order() -> None:
    for rest in (["OBR|1"], ["OBR|1|P1|F1|||||||||||||||A1|R1"], ["OBR|1", "IPC|A1|R1|2.25.7||MR"], []):
        reception = receive("ORC|CA|P1|F1", *rest, kind="OMI^O23")

        assert types(reception) == ["order.cancelled"]
        assert reception.events[0].data.order is not None
        assert reception.events[0].data.order.whole == "CANCELED"


def test_an_order_without_ipc_and_zds_is_about_its_own_step() -> None:
    first = receive("ORC|NW|P1|F1||SC", "OBR|1|P1|F1|||||||||||||||A1|R1|S1", "ZDS|2.25.7001")
    second = receive("ORC|NW|P2|F2||SC", "OBR|1|P2|F2|||||||||||||||A2|R1|S1")

    assert {step.key for step in steps(first)}.isdisjoint(step.key for step in steps(second))
    assert steps(first)[0].study_uid != steps(second)[0].study_uid


def test_an_unchanged_step_does_not_stop_the_later_ones() -> None:
    ipc = [f"IPC|A1|R1|2.25.7|S{n}|MR" for n in (1, 2)]
    before = receive("ORC|NW|P1|F1||SC", "OBR|1", *ipc, kind="OMI^O23")
    again = receive("ORC|XO|P1|F1||SC", "OBR|1", *ipc, "IPC|A1|R1|2.25.7|S3|MR", kind="OMI^O23")

    assert steps(again)[:2] == steps(before)
    assert [step.step_id for step in steps(again)] == ["S1", "S2", "S3"]


def test_nothing_is_invented() -> None:
    reception = receive("ORC|NW|P1|F1||SC", "OBR|1|P1|F1|X")

    (step,) = steps(reception)
    assert reception.verdict is Verdict.ACCEPTED
    assert (step.start_date, step.start_time, step.modality) == ("", "", "")
    assert (step.station_aets, step.station_codes, step.priority) == ((), (), "")


# --- identity of a step ---------------------------------------------------------------------------


def test_the_key_stays_while_all_else_changes() -> None:
    new = receive(
        "ORC|NW|P1|F1^RIS||SC||^^^202603100930^^R", "OBR|1|P1|F1^RIS|X^Y|||||||||||||| A1|R1|S1||||CT"
    )
    changed = receive(
        "ORC|XO|P1|F1^RIS||||^^^202603110930^^S", "OBR|1|P1|F1^RIS|Z^Y|||||||||||||| A2|R2|S1||||MR"
    )

    assert [step.key for step in steps(new)] == [step.key for step in steps(changed)] == ["RIS|F1|S1"]


def test_steps_without_ids_of_their_own_are_numbered_from_the_second_on() -> None:
    obr = "OBR|1|P1|F1"
    both = receive("ORC|NW|P1|F1||SC", obr, obr, "ORC|NW|P2|F2||SC", "OBR|1|P2|F2")
    one = receive("ORC|XO|P1|F1||SC", obr)

    assert [step.key for step in steps(both)] == ["STO|F1|F1", "STO|F1|F1.2", "STO|F2|F2"]
    assert [step.key for step in steps(one)] == ["STO|F1|F1"]


def test_steps_with_the_same_id_of_their_own_are_one_step() -> None:
    """RAD-4: an ORC and OBR for each protocol code of one step."""
    reception = receive("ORC|NW|P1|F1||SC", "OBR|1|||A|||||||||||||||R1|S1", "OBR|2|||B|||||||||||||||R1|S1")

    assert {step.key for step in steps(reception)} == {"STO|F1|S1"}


def test_a_derived_study_uid_is_the_same_every_time_and_says_so() -> None:
    segments = ("ORC|NW|P1|F1^RIS||SC", "OBR|1|P1|F1^RIS|X|||||||||||||||R1|S1")
    first, second = (steps(receive(*segments))[0] for _ in range(2))
    (rescheduled,) = steps(receive(segments[0].replace("NW", "XO") + "||^^^20260311", segments[1]))
    (other,) = steps(receive(*(segment.replace("F1", "F2") for segment in segments)))

    assert first.study_uid == second.study_uid == rescheduled.study_uid
    assert first.study_uid_derived
    assert first.study_uid.startswith("2.25.")
    assert other.study_uid != first.study_uid


def test_steps_of_one_requested_procedure_share_the_derived_study() -> None:
    reception = receive("ORC|NW|P1|F1||SC", "OBR|1", "IPC|A1|R1||S1|MR", "IPC|A1|R1||S2|MR", kind="OMI^O23")

    assert len({step.study_uid for step in steps(reception)}) == 1


@pytest.mark.parametrize(
    ("zds", "expected"),
    [
        ("2.25.7001", "2.25.7001"),
        ("2.25.7001^RIS^Application^DICOM", "2.25.7001"),
        ("2.25.7001^100^Application^DICOM", "2.25.7001"),
        ('""', None),
        ("HASTER", None),
        ("12345", None),
        ("1.5", None),
    ],
)
def test_zds(zds: str, expected: str | None) -> None:
    (step,) = steps(receive("ORC|NW|P1|F1||SC", "OBR|1|P1|F1", f"ZDS|{zds}"))

    assert step.study_uid_derived == (expected is None)
    assert expected in (None, step.study_uid)


# --- where a value comes from ---------------------------------------------------------------------

START = ("TQ1|1||||||20260310", "20260311", "^^^20260312", "20260313")


@pytest.mark.parametrize("given", range(5))
def test_the_start_is_taken_from_the_first_that_has_one(given: int) -> None:
    """TQ1-7, ORC-7.4, OBR-27.4, OBR-36: those before `given` are empty."""
    tq1, orc, obr_27, obr_36 = (text if number >= given else "" for number, text in enumerate(START))
    segments = [f"ORC|NW|P1|F1||SC||^^^{orc}", tq1, f"OBR|1|P1|F1{'|' * 24}{obr_27}{'|' * 9}{obr_36}"]

    (step,) = steps(receive(*filter(None, segments)))

    assert step.start_date == ("20260310", "20260311", "20260312", "20260313", "")[given]


@pytest.mark.parametrize(
    ("text", "date", "time"),
    [
        ("20260310093015", "20260310", "093015"),
        ("202603100930", "20260310", "0930"),
        ("2026031009", "20260310", "0900"),
        ("20260310", "20260310", ""),
        ("20260310093015.1234+0100", "20260310", "093015"),
        ("2026-03-10 09:30", "20260310", "0930"),
    ],
)
def test_forms_of_a_start(text: str, date: str, time: str) -> None:
    (step,) = steps(receive(f"ORC|NW|P1|F1||SC||^^^{text}", "OBR|1"))

    assert (step.start_date, step.start_time) == (date, time)


@pytest.mark.parametrize(
    ("tq1", "orc", "obr_27", "obr_5", "expected"),
    [
        ("S", "R", "R", "R", "STAT"),
        ("", "A", "R", "R", "HIGH"),
        ("", "", "T", "R", "MEDIUM"),
        ("", "", "", "R", "ROUTINE"),
        ("", "P", "", "", "HIGH"),
        ("", "C", "", "", "HIGH"),
        ("", "", "", "STAT", "STAT"),
        ("", "X", "", "", ""),
        ("", "", "", "", ""),
    ],
)
def test_priority(tq1: str, orc: str, obr_27: str, obr_5: str, expected: str) -> None:
    segments = [f"ORC|NW|P1|F1||SC||^^^^^{orc}", f"OBR|1||||{obr_5}{'|' * 22}^^^^^{obr_27}"]
    if tq1:
        segments.insert(1, f"TQ1|1||||||||{tq1}")

    (step,) = steps(receive(*segments))

    assert step.priority == expected


@pytest.mark.parametrize(
    ("code", "modality"),
    [
        ("CT", "CT"),
        ("ct", "CT"),
        ("NMR", "MR"),
        ("CUS", "US"),
        ("SCAN", "CT"),
        ("OPT", "OPT"),
        ("^CT", "CT"),
        ('""', ""),
    ],
)
def test_modality(code: str, modality: str) -> None:
    (step,) = steps(receive("ORC|NW|P1|F1||SC", f"OBR|1{'|' * 23}{code}"))

    assert step.modality == modality


def test_stations_are_the_most_specific_first() -> None:
    orc = "|".join(["ORC", "NW", "P1", "F1", "", "SC", *[""] * 7, "RTG^ROM4", *[""] * 4, "ENDO-1"])
    (step,) = steps(receive("PV1|1|O|MED^12", orc, f"OBR|1{'|' * 20}CT-LAB2|||CT"))

    assert step.station_codes == ("ENDO-1", "CT-LAB2", "modality:CT"), "not the ward, not the bed"


def test_a_new_order_without_obr_is_refused() -> None:
    assert receive("ORC|NW|P1|F1").answer_code == "AE"


def test_an_ipc_that_leaves_the_station_open_leaves_it_open() -> None:
    (step,) = steps(
        receive("ORC|NW|P1|F1||SC", "OBR|1", "IPC|A1|R1|2.25.7|S1|CT||CT-LAB1|ROM4|", kind="OMI^O23")
    )

    assert (step.station_aets, step.station_codes) == ((), ("CT-LAB1", "ROM4"))


@pytest.mark.parametrize(
    ("segments", "place"),
    [
        (["OBR|1|||||||||||||||||" + "A" * 17], "OBR-18"),
        (["OBR|1||||||||||||||||||" + "R" * 17], "OBR-19"),
        (["OBR|1|||||||||||||||||||" + "S" * 17], "OBR-20"),
        (["OBR|1", "IPC|" + "A" * 17], "IPC-1"),
        (["OBR|1", "IPC||" + "R" * 17], "IPC-2"),
        (["OBR|1", "IPC|||2.25.7|" + "S" * 17], "IPC-4"),
        (["OBR|1", "IPC|A1|R1|2.25.7|S1|MR||||" + "X" * 17], "IPC-9"),
        (["OBR|1", "IPC|A1|R1|2.25.7|S1|MR||||ÆØÅ"], "IPC-9"),
        (["OBR|1", "IPC|A1", "IPC|A1|||" + "S" * 17], "IPC[2]-4"),
    ],
)
def test_what_is_too_long_is_refused_and_not_cut(segments: list[str], place: str) -> None:
    reception = receive("ORC|NW|P1|F1||SC", *segments, kind="OMI^O23")

    assert (reception.answer_code, reception.events) == ("AE", ())
    assert reception.reason.startswith(f"{place}: ")
    for value in ("AAAA", "RRRR", "SSSS", "XXXX"):
        assert value not in reception.reason
        assert value.encode() not in reception.answers[0]


def test_one_bad_step_refuses_the_whole_message() -> None:
    """All or nothing: a sender that is told AE sends all of it again."""
    reception = receive(
        "ORC|NW|P1|F1||SC", "OBR|1|P1|F1|||||||||||||||A|R|S1", "ORC|NW|P2|F2||HD", "OBR|1|P2|F2"
    )

    assert (reception.answer_code, reception.events) == ("AE", ())
    assert reception.reason.startswith("ORC[2]-5: ")


def test_a_message_of_two_patients_is_refused() -> None:
    reception = receive("ORC|NW|P1|F1||SC", "OBR|1", "PID|2||700125", "ORC|NW|P2|F2||SC", "OBR|1")

    assert (reception.answer_code, reception.events) == ("AE", ())
    assert reception.reason.startswith("PID[2]: ")
