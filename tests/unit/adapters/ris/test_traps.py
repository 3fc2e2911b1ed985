"""Traps that others fell into: an order leaves every step alone that it does not name. From message to register."""

from __future__ import annotations

import pytest

from adapters.ris import INBOUND
from tests.support import golden
from tests.support.registers import Registers

IPC = {name: f"IPC|A1|R1|2.25.7|{name}|MR||||MR1_STO" for name in ("S1", "S2", "S3")}
NEW = ("ORC|NW|P1|F1^RIS||SC||^^^202603100930", "OBR|1|P1|F1^RIS|X^MR hode|||||||||||||||R1", *IPC.values())


class Ris:
    """Sends orders of one patient and looks what became of the steps."""

    def __init__(self) -> None:
        self.registers = Registers()
        self._reader = golden.reader(INBOUND)
        self._number = 0

    def sends(self, *segments: str, kind: str = "OMI^O23") -> None:
        self._number += 1
        msh = f"MSH|^~\\&|RIS||||20260309||{kind}|{self._number}|P|2.5.1"
        raw = golden.er7("\n".join((msh, "PID|1||700124||Čoahkkin^Ole", *segments)))
        reception = self._reader.receive(raw, message_id=f"M{self._number}", now=golden.NOW)
        assert reception.answer_code == "AA", reception.reason
        for event in reception.events:
            self.registers.fold(event)

    @property
    def steps(self) -> dict[str, str]:
        """Status by step id."""
        rows = self.registers.tx.rows("SELECT key, status FROM step ORDER BY key")
        return {str(key).rpartition("|")[2]: str(status) for key, status in rows}

    @property
    def starts(self) -> dict[str, str]:
        """Start date by step id."""
        rows = self.registers.tx.rows("SELECT key, json_extract(body, '$.start_date') FROM step ORDER BY key")
        return {str(key).rpartition("|")[2]: str(start) for key, start in rows}


@pytest.fixture
def ris() -> Ris:
    found = Ris()
    found.sends(*NEW)
    assert found.steps == dict.fromkeys(IPC, "SCHEDULED")
    return found


def test_an_order_that_names_fewer_steps_deletes_none(ris: Ris) -> None:
    ris.sends("ORC|XO|P1|F1^RIS||SC||^^^202603110930", NEW[1], IPC["S2"])

    assert ris.steps == dict.fromkeys(IPC, "SCHEDULED")
    assert ris.starts == {"S1": "20260310", "S2": "20260311", "S3": "20260310"}


def test_a_cancel_that_carries_one_ipc_leaves_the_siblings(ris: Ris) -> None:
    ris.sends("ORC|CA|P1|F1^RIS", NEW[1], IPC["S2"])

    assert ris.steps == {"S1": "SCHEDULED", "S2": "CANCELED", "S3": "SCHEDULED"}


@pytest.mark.parametrize("rest", [(NEW[1],), (), ('OBR|1|P1|F1^RIS||||||||||||||||R1|""',)])
def test_a_cancel_that_names_no_step_ends_them_all(ris: Ris, rest: tuple[str, ...]) -> None:
    ris.sends("ORC|CA|P1|F1^RIS", *rest)

    assert ris.steps == dict.fromkeys(IPC, "CANCELED")


def test_an_order_without_ipc_and_zds_touches_nothing_else(ris: Ris) -> None:
    ris.sends("ORC|NW|P2|F2^RIS||SC||^^^202603110930", "OBR|1|P2|F2^RIS|X|||||||||||||||R1", kind="ORM^O01")

    assert ris.steps == {**dict.fromkeys(IPC, "SCHEDULED"), "R1": "SCHEDULED"}
    assert ris.starts == {**dict.fromkeys(IPC, "20260310"), "R1": "20260311"}


def test_an_unchanged_step_does_not_stop_the_later_ones(ris: Ris) -> None:
    ris.sends(*NEW, "IPC|A1|R1|2.25.7|S4|MR||||MR1_STO")

    assert ris.steps == dict.fromkeys([*IPC, "S4"], "SCHEDULED")


def test_a_changed_order_with_an_empty_status_keeps_each_steps_own(ris: Ris) -> None:
    ris.sends("ORC|CA|P1|F1^RIS", NEW[1], IPC["S2"])
    ris.sends("ORC|XO|P1|F1^RIS||||^^^202603120930", *NEW[1:])

    assert ris.steps == {"S1": "SCHEDULED", "S2": "CANCELED", "S3": "SCHEDULED"}
    assert set(ris.starts.values()) == {"20260312"}


def test_steps_without_ids_keep_their_rows_when_the_first_is_moved() -> None:
    ris = Ris()
    orc, obr = "ORC|{}|P1|F1^RIS||SC||^^^{}", "OBR|1|P1|F1^RIS|X"
    ris.sends(orc.format("NW", "20260310"), obr, obr, kind="ORM^O01")
    ris.sends(orc.format("XO", "20260311"), obr, kind="ORM^O01")

    assert ris.starts == {"F1": "20260311", "F1.2": "20260310"}
