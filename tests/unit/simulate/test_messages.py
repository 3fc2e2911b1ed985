"""What the simulated systems say is taken by the shipped listeners, and the EPJ's keys are what it really hears."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from adapters.lab import INBOUND as LAB
from adapters.pas import INBOUND as PAS
from adapters.ris import INBOUND as RIS
from broker.adapter import ListenerPlace, Reception, Verdict
from broker.hl7.validate import validate
from broker.simulate import messages
from broker.simulate.messages import Order, Said, Stamp
from broker.simulate.people import People, tag
from tests.support.shared import REPOSITORY

PERSON = People(Random(3), tag(3)).new()
ORDER = Order(
    number="SIM00001", study_uid="2.25.7", modality="MR", procedure=("SAN0AG", "MR caput"), station="MR-LAB1", steps=2
)  # fmt: skip
ISSUER = "STO&2.999.7001&ISO"
NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)


def stamp(number: int = 1) -> Stamp:
    return Stamp(time="20260310090000", control_id=f"SIM{number}")


def received(said: Said) -> Reception:
    """As the shipped listener of that flow judges it."""
    spec = {"pas": PAS, "orders": RIS, "results": LAB}[said.flow]
    place = ListenerPlace(name=said.flow, site="STO", config_folder=Path(REPOSITORY / "config"))
    reader = spec.reader(spec.config(port=0, issuer=ISSUER), place)  # type: ignore[misc]
    return reader.receive(said.raw, message_id="1" * 26, now=NOW)


EVERYTHING = [
    *(messages.adt(trigger, stamp(), PERSON, visit="V1", ward="MED^12^2^STO")
      for trigger in messages.STRUCTURES if trigger not in ("A28", "A31", "A40", "A47")),
    *(messages.adt(trigger, stamp(), PERSON) for trigger in ("A28", "A31")),
    *(messages.adt(trigger, stamp(), PERSON, prior="OLD1") for trigger in ("A40", "A47")),
    *(write(stamp(), PERSON, ORDER, control, status, "20260310093000")
      for write in (messages.orm, messages.omi)
      for control, status in (("NW", "SC"), ("XO", "SC"), ("SC", "IP"), ("XO", "CM"), ("SC", "CM"))),
    messages.cancel(stamp(), PERSON, ORDER),
    messages.report(stamp(), PERSON, ORDER, "P"),
    messages.laboratory(stamp(), PERSON, "13.1"),
]  # fmt: skip


@pytest.mark.parametrize("said", EVERYTHING, ids=lambda said: said.raw.split(b"|")[8].decode())
def test_the_shipped_listener_takes_it(said: Said) -> None:
    reception = received(said)

    assert (reception.verdict, reception.answer_code, reception.control_id) == (
        Verdict.ACCEPTED,
        "AA",
        said.control_id,
    )
    assert [str(finding) for finding in validate(said.raw) if "ZDS" not in finding.text] == []


def test_a_message_under_a_lying_character_set_is_refused_and_not_due_at_the_epj() -> None:
    said = messages.lying(messages.adt("A04", stamp(), PERSON, ward="POL"), "SIMX1")

    assert (received(said).answer_code, said.control_id) == ("AE", "SIMX1")
    assert (said.refused, said.epj) == (True, ())


def test_a_merge_stands_in_the_order_of_both_patients() -> None:
    assert messages.adt("A40", stamp(), PERSON, prior="OLD1").patients == (PERSON.number, "OLD1")


def test_what_passes_whole_is_known_by_its_control_id() -> None:
    said = messages.adt("A04", stamp(), PERSON, ward="POL")

    assert messages.key_of(said.raw) == ("SIM1", said.epj[0])


def test_every_step_of_an_order_is_due_at_the_epj_once() -> None:
    said = messages.omi(stamp(), PERSON, ORDER, "NW", "SC", "20260310093000")

    assert said.epj == tuple(
        messages.status_key("PSIM00001", f"SIM00001-{step}", "SC", "20260310093000") for step in (1, 2)
    )
